//! What is done by the clock: transport timers, feedback, sender reports, audio levels, layer choices.

use std::time::{Duration, Instant};

use super::{PacketSink, TICK, WorkerCore};
use crate::connection::Connection;
use crate::negotiated::MediaKind;
use crate::send_batch::SendBatch;
use crate::track::Track;
use crate::worker_api::{AUDIO_LEVEL_INTERVAL, AudioLevel, WorkerEvent};

/// How often layers are chosen anew and due sender reports are looked for.
const REPORT_TICK: Duration = Duration::from_millis(100);
/// So long that is put off until packets come, with which it costs no wake-up of its own.
const REPORT_SLACK: Duration = Duration::from_millis(45);

/// Everything that has its own time is looked through at least so often.
const MAX_DEADLINE: Duration = Duration::from_secs(1);

/// Room for a compound of feedback or a sender report with SRTCP's trailer.
const RTCP_ROOM: usize = 1_200;

impl WorkerCore {
    /// Transport timers; the rest of what is due happens with the next flush.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.next_deadline {
            return;
        }
        // Those that are handled now tell their next one.
        self.next_deadline = now + MAX_DEADLINE;
        for index in 0..self.deadlines.len() {
            let Some(due) = self.deadlines[index] else { continue };
            if due > now {
                self.next_deadline = self.next_deadline.min(due);
            } else if let Some(connection) = self.connections.get_mut(index) {
                connection.transport.handle_timeout(now);
                self.drain_transport(now, index);
            }
        }
    }

    /// When to call [`Self::handle_timeout`] and flush although nothing came; `None` while there is
    /// nothing to wait for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let links = self.links.poll_timeout(self.last_flush);
        if self.connections.is_empty() {
            return self.wanting.poll_timeout().into_iter().chain(links).min();
        }
        let feedback = if self.has_news {
            self.next_tick
        } else {
            self.next_feedback.max(self.next_tick)
        };
        let levels = (!self.heard.is_empty()).then_some(self.next_levels);
        let reports = self.next_reports + REPORT_SLACK;
        let paces = !(self.pacing.is_empty() && self.probing.is_empty());
        let pace = paces.then_some(self.next_pace);
        let others = [self.next_deadline, reports]
            .into_iter()
            .chain(levels)
            .chain(links)
            .chain(self.next_voice)
            .chain(pace);
        Some(others.fold(feedback, Instant::min))
    }

    pub(super) fn run_timers(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        if now >= self.next_tick && (self.has_news || now >= self.next_feedback) {
            self.next_tick = now + TICK;
            self.has_news = false;
            // Those that are looked at now tell their next time.
            self.next_feedback = now + MAX_DEADLINE;
            self.poll_keyframes(now);
            self.adapt_all(now);
            self.report_changed_wants(now);
            self.update_asks(now);
            for at in 0..self.publishers.len() {
                self.send_feedback(now, self.publishers[at], sink);
            }
        }
        if now >= self.next_levels {
            self.next_levels = now + AUDIO_LEVEL_INTERVAL;
            self.report_levels();
        }
        if now >= self.next_reports {
            self.next_reports = now + REPORT_TICK;
            for (_, track) in self.router.iter_mut() {
                track.update_meters(now);
            }
            self.retarget_all(now);
            self.report_wants(now);
            self.update_asks(now);
            self.expire_packets(now);
            self.send_sender_reports(now, sink);
            if now >= self.next_quality {
                self.grade_links(now);
            }
            self.update_gauges();
            if self.connections.is_empty() {
                self.pool.trim(usize::MAX);
            }
        }
    }

    pub(super) fn send_urgent_feedback(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        while let Some(index) = self.urgent.pop() {
            self.send_feedback(now, index, sink);
        }
    }

    fn send_feedback(&mut self, now: Instant, index: usize, sink: &mut dyn PacketSink) {
        if self.batch.remaining() < RTCP_ROOM {
            self.send(sink);
        }
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let Some(path) = connection.transport.media_path() else {
            return;
        };
        let out = self.batch.free();
        let len = connection.poll_feedback(now, out, &mut self.counters);
        if let Some(due) = connection.feedback_timeout() {
            self.next_feedback = self.next_feedback.min(due);
        }
        if len > 0
            && let Some(len) = connection.transport.protect_rtcp(out, len)
        {
            self.batch.commit(path, len);
            self.counters.rtcp_packets_out += 1;
        }
        let lost = std::mem::take(&mut connection.lost_keyframes);
        for (track, layer) in lost {
            if let Some(track) = self.router.find(track) {
                self.request_keyframe(now, track, layer);
            }
        }
    }

    fn send_sender_reports(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        for (_, track) in self.router.iter() {
            for &subscriber in &track.subscribers {
                if self.batch.remaining() < RTCP_ROOM {
                    sink.send(&self.batch);
                    self.batch.clear();
                }
                let Some(connection) = self.connections.get_mut(subscriber.connection) else {
                    continue;
                };
                if write_sender_report(now, connection, subscriber.slot, track, &mut self.batch).is_some() {
                    self.counters.rtcp_packets_out += 1;
                }
            }
        }
    }

    /// Layers may have fallen silent.
    fn retarget_all(&mut self, now: Instant) {
        for index in 0..self.router.slots() {
            if self
                .router
                .track(index)
                .is_some_and(|track| track.kind == MediaKind::Video || track.has_low_voice())
            {
                self.retarget(now, index);
            }
        }
    }

    /// A publisher that has stopped does not keep its last packets in memory.
    fn expire_packets(&mut self, now: Instant) {
        for (_, track) in self.router.iter_mut() {
            for layer in &mut track.layers {
                layer.ring.expire(now);
            }
        }
    }

    /// Requests for key frames that had to wait, or were not answered.
    fn poll_keyframes(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (index, track) in self.router.iter_mut() {
            for (number, layer) in (0u8..).zip(&mut track.layers) {
                if layer.last_packet.is_none() {
                    continue;
                }
                if layer.keyframes.poll(now) {
                    due.push((index, number));
                }
                if let Some(next) = layer.keyframes.poll_timeout() {
                    self.next_feedback = self.next_feedback.min(next);
                }
            }
        }
        for (index, layer) in due {
            self.send_keyframe_request(index, layer);
        }
    }

    fn report_levels(&mut self) {
        let mut levels = Vec::with_capacity(self.heard.len());
        for index in self.heard.drain(..) {
            if let Some(track) = self.router.track_mut(index)
                && let Some((level, voice)) = track.heard.take()
                && !track.muted
            {
                levels.push(AudioLevel {
                    track: track.id,
                    level,
                    voice,
                });
            }
        }
        if !levels.is_empty() {
            self.events.push_back(WorkerEvent::AudioLevels { levels });
        }
    }

    fn update_gauges(&mut self) {
        let (relayed, links_up) = self.links.stats();
        self.counters.links_up = links_up;
        self.counters.relayed = relayed;
        self.counters.connections = self.connections.len() as u64;
        self.counters.uptracks = self
            .publishers
            .iter()
            .filter_map(|&index| self.connections.get(index))
            .map(|connection| connection.uptracks.len() as u64)
            .sum();
        self.counters.downtracks = self
            .router
            .iter()
            .map(|(_, track)| track.subscribers.len() as u64)
            .sum();
    }
}

/// Puts the sender report of a slot into the batch, if it is due.
fn write_sender_report(
    now: Instant,
    connection: &mut Connection,
    slot: usize,
    track: &Track,
    batch: &mut SendBatch,
) -> Option<()> {
    let path = connection.transport.media_path()?;
    let out = batch.free();
    let len = connection.poll_sender_report(now, slot, track, out)?;
    let len = connection.transport.protect_rtcp(out, len)?;
    batch.commit(path, len);
    Some(())
}
