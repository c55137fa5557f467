//! The way out of a batch: every track with new packets, every subscriber of it, its packets in a
//! row, so that those of one video frame to one subscriber make one GSO run.

use std::time::{Duration, Instant};

use super::{PacketSink, WorkerCore};
use crate::bwe::PacketKind as PacketType;
use crate::connection::Waiting;
use crate::downtrack::write::MAX_HEADER;
use crate::drop_reason::DropReason;
use crate::mail::{Mail, PACKETS_PER_MAIL};
use crate::negotiated::{MAX_LAYERS, MediaKind};
use crate::pool::{PACKET_CAPACITY, PacketRef};
use crate::prefetch::prefetch;
use crate::rate::Ticks;
use crate::track::Subscriber;
use crate::transport::srtp::SRTP_MAX_OVERHEAD;

/// Space that must be free in the slab before a packet is written into it.
pub(super) const MAX_OUTGOING: usize = PACKET_CAPACITY + MAX_HEADER + SRTP_MAX_OVERHEAD;

/// Least time between two looks at what waits: what a link carries in it at the pacing rate goes out as one run.
const PACE_TICK: Duration = Duration::from_millis(5);

/// One moment in both forms.
#[derive(Clone, Copy)]
struct Moment {
    now: Instant,
    ticks: Ticks,
}

/// Packets of a frame differ by a few bytes (libwebrtc splits a frame evenly, extensions differ);
/// so much RTP padding (RFC 3550, section 5.1) is cheaper than a GSO run of its own.
const MAX_EVENING: usize = 24;

impl WorkerCore {
    /// Writes the mail of what came in since the last [`Self::flush`], which does it too: for whoever wants to post it
    /// first, so that other workers send at the same time as this one.
    pub fn write_mail(&mut self) {
        let mails = &mut self.mails;
        self.router.take_unmailed(|track, packets| {
            for worker in track.interested_workers() {
                for packets in packets.chunks(PACKETS_PER_MAIL) {
                    let mail = Mail::Packets {
                        track: track.id,
                        packets: packets.iter().cloned().collect(),
                    };
                    mails.push_back((worker, mail));
                }
            }
        });
    }

    /// Routes what came in since the last call and hands everything that is to be sent to `sink`.
    pub fn flush(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        self.last_flush = now;
        self.write_mail();
        while let Some(index) = self.router.next_dirty() {
            self.forward(now, index, sink);
        }
        self.flush_voices(now, sink);
        self.pace(now, sink);
        self.run_timers(now, sink);
        self.run_links(now, sink);
        self.send_urgent_feedback(now, sink);
        self.send(sink);
    }

    pub(super) fn send(&mut self, sink: &mut dyn PacketSink) {
        if !self.batch.is_empty() {
            sink.send(&self.batch);
            self.batch.clear();
        }
    }

    fn forward(&mut self, now: Instant, index: usize, sink: &mut dyn PacketSink) {
        let Some(track) = self.router.track_mut(index) else {
            return;
        };
        let mut pending = std::mem::take(&mut track.pending);
        track.mailed = 0;
        let changed = std::mem::take(&mut track.layers_changed);
        track.wants_allocation |= changed;
        let subscribers = std::mem::take(&mut track.subscribers);
        even_out(&pending, &mut self.paddings);
        let room = room(&pending);
        let at_now = Moment {
            now,
            ticks: self.ticks(now),
        };
        for (at, &subscriber) in subscribers.iter().enumerate() {
            self.prefetch(&subscribers[at..]);
            // A run that is cut costs as much again as one that begins in an empty slab.
            if self.batch.remaining() < room && room <= self.batch.capacity() {
                self.send(sink);
            }
            self.forward_to(at_now, index, subscriber, &pending, sink);
        }
        self.forward_over_links(now, index, &pending, sink);
        pending.clear();
        if let Some(track) = self.router.track_mut(index) {
            track.subscribers = subscribers;
            track.pending = pending;
        }
        // Only now: a key frame in this batch may be just what a slot has waited for.
        if changed {
            self.tell_layers(index);
            self.retarget(now, index);
        }
    }

    /// Begins to fetch the state of the subscribers behind the first of `subscribers`: what lies behind a
    /// pointer a step later than the pointer.
    fn prefetch(&self, subscribers: &[Subscriber]) {
        let find = |at: usize| {
            let subscriber = subscribers.get(at)?;
            Some((self.connections.get(subscriber.connection)?, subscriber.slot))
        };
        if let Some((connection, _)) = find(2) {
            prefetch(&connection.transport);
            prefetch(&connection.slots);
        }
        if let Some((connection, slot)) = find(1) {
            connection.transport.prefetch();
            if let Some(slot) = connection.slots.get(slot) {
                prefetch(slot);
            }
        }
    }

    /// One subscriber's share of a batch, written and encrypted into the slab one behind the other.
    fn forward_to(
        &mut self,
        Moment { now, ticks }: Moment,
        index: usize,
        subscriber: Subscriber,
        pending: &[PacketRef],
        sink: &mut dyn PacketSink,
    ) {
        let Some(track) = self.router.track(index) else { return };
        let Some(connection) = self.connections.get_mut(subscriber.connection) else {
            return;
        };
        // Before there are keys a slot must not begin: its first key frame would be lost.
        let Some(path) = connection.transport.media_path() else {
            return;
        };
        let Some(slot) = connection.slots.get_mut(subscriber.slot) else {
            return;
        };
        // Audio goes first: it is charged, but never left out, and waits for nothing.
        let is_video = track.kind == MediaKind::Video;
        if is_video {
            let (session, worker) = (&self.ceilings.session, &self.ceilings.worker);
            let over = if connection.egress.is_over(session, ticks) {
                Some(DropReason::OverSessionRate)
            } else if self.egress.is_over(worker, ticks) {
                Some(DropReason::OverNodeRate)
            } else if connection.sending.is_congested(now, slot.rank.is_prominent()) {
                Some(DropReason::OverPacerQueue)
            } else {
                None
            };
            if let Some(reason) = over {
                if slot.interrupt() {
                    self.counters.drops.count(reason);
                    if reason == DropReason::OverPacerQueue {
                        connection.sending.on_interrupted(now, subscriber.slot);
                        self.has_news = true;
                    }
                }
                return;
            }
            let is_tight = connection.egress.is_tight(session, ticks) || self.egress.is_tight(worker, ticks);
            if is_tight && !slot.is_forwarding() {
                return;
            }
        }
        let kind = if is_video { PacketType::Video } else { PacketType::Audio };
        let sending = &mut connection.sending;
        let mut sent = 0;
        let has_voice = slot.has_voice();
        for (packet, &padding) in pending.iter().zip(&self.paddings) {
            let decision = match has_voice {
                true => slot.rewrite_voice(packet, track),
                false => slot.rewrite(packet, track, padding),
            };
            let Some(decision) = decision else { continue };
            if is_video && !sending.pacer.is_open(ticks) {
                let waiting = Waiting::new(packet, decision, subscriber.slot, slot.ssrc, track.id);
                if !sending.hold(now, waiting, slot.rank.is_screen) {
                    self.counters.drops.count(DropReason::OverPacerQueue);
                }
                continue;
            }
            if self.batch.remaining() < MAX_OUTGOING {
                sink.send(&self.batch);
                self.batch.clear();
            }
            let out = self.batch.free();
            let Some(written) = slot.write(out, packet, &decision, track.id, sending.next_stamp(ticks)) else {
                self.counters.drops.count(DropReason::TooLarge);
                continue;
            };
            let Some(len) = connection
                .transport
                .protect_rtp(out, written.len, written.header_len, decision.seq)
            else {
                self.counters.drops.count(DropReason::SrtpNoKeys);
                continue;
            };
            if has_voice {
                slot.on_protected(decision.seq, sending.next_number(), &out[..len]);
            }
            self.batch.commit(path, len);
            if let Some(number) = sending.on_sent(now, ticks, path, len, kind, decision.stamp.is_some()) {
                slot.on_sent(false, decision.seq, number);
            }
            self.counters.rtp_packets_out += 1;
            sent += len;
        }
        if has_voice && let Some(due) = slot.voice_due() {
            self.next_voice = Some(self.next_voice.map_or(due, |next| next.min(due)));
        }
        if sending.must_be_listed() {
            self.pacing.push(subscriber.connection);
        }
        self.on_media_sent(ticks, subscriber.connection, sent);
    }

    /// So many bytes of media went out for the first time.
    pub(super) fn on_media_sent(&mut self, ticks: Ticks, connection: usize, bytes: usize) {
        if bytes > 0
            && let Some(connection) = self.connections.get_mut(connection)
        {
            self.counters.rtp_bytes_out += bytes as u64;
            connection.retransmissions.on_sent(bytes);
            connection.egress.charge(&self.ceilings.session, ticks, bytes);
            self.egress.charge(&self.ceilings.worker, ticks, bytes);
        }
    }

    /// Sends what has waited for its time.
    pub(super) fn pace(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        if now < self.next_pace || (self.pacing.is_empty() && self.probing.is_empty()) {
            return;
        }
        self.next_pace = now + PACE_TICK;
        self.send_probes(now, sink);
        let mut pacing = std::mem::take(&mut self.pacing);
        pacing.retain(|&index| self.pace_one(now, index, sink));
        pacing.append(&mut self.pacing);
        self.pacing = pacing;
    }

    /// False where nothing waits any more.
    fn pace_one(&mut self, now: Instant, index: usize, sink: &mut dyn PacketSink) -> bool {
        let ticks = self.ticks(now);
        let mut sent = 0;
        let Some(connection) = self.connections.get_mut(index) else {
            return false;
        };
        let Some(path) = connection.transport.media_path() else {
            connection.sending.clear();
            return false;
        };
        let sending = &mut connection.sending;
        while let Some(waiting) = sending.pacer.pop(ticks) {
            let slot = connection.slots.get_mut(waiting.slot);
            let Some(slot) = slot.filter(|slot| slot.ssrc == waiting.ssrc) else {
                continue;
            };
            if self.batch.remaining() < MAX_OUTGOING {
                sink.send(&self.batch);
                self.batch.clear();
            }
            let (packet, decision) = (&waiting.packet, &waiting.decision);
            let out = self.batch.free();
            let Some(written) = slot.write(out, packet, decision, waiting.track, sending.next_stamp(ticks)) else {
                self.counters.drops.count(DropReason::TooLarge);
                continue;
            };
            let transport = &mut connection.transport;
            let Some(len) = transport.protect_rtp(out, written.len, written.header_len, decision.seq) else {
                self.counters.drops.count(DropReason::SrtpNoKeys);
                continue;
            };
            self.batch.commit(path, len);
            let is_stamped = decision.stamp.is_some();
            if let Some(number) = sending.on_sent(now, ticks, path, len, PacketType::Video, is_stamped) {
                slot.on_sent(false, decision.seq, number);
            }
            self.counters.rtp_packets_out += 1;
            sent += len;
        }
        let stays = sending.stays_listed();
        self.on_media_sent(ticks, index, sent);
        stays
    }

    /// Sends one packet again; false where it is no longer at hand.
    pub(super) fn retransmit(&mut self, now: Instant, index: usize, slot: usize, seq: u16) -> bool {
        let Some(connection) = self.connections.get_mut(index) else {
            return false;
        };
        let Some(path) = connection.transport.media_path() else {
            return false;
        };
        let ticks = Ticks::since(self.epoch, now);
        if connection.egress.is_over(&self.ceilings.session, ticks) {
            return false;
        }
        let round_trip = connection
            .sending
            .response_time()
            .map_or(connection.round_trip, |time| time.max(connection.round_trip));
        let Some(downtrack) = connection.slots.get_mut(slot) else {
            return false;
        };
        if downtrack.audio_format().resend {
            return self.resend_audio(now, index, slot, seq);
        }
        // A picture that stands still goes on with a key frame, whatever came of the frames before.
        if downtrack.kind == MediaKind::Video && !downtrack.is_forwarding() {
            return false;
        }
        let Some(sent) = downtrack.retransmit(now, seq, round_trip) else {
            return false;
        };
        let Some(track) = downtrack.source().and_then(|source| self.router.by_id(source)) else {
            return false;
        };
        let Some(packet) = track
            .layers
            .get(usize::from(sent.stretch.layer))
            .and_then(|layer| layer.ring.find(sent.source))
        else {
            return false;
        };
        let percent = self.ceilings.retransmission_percent;
        let (link, payload) = (connection.sending.estimate(), packet.payload().len());
        // What was lost twice is late already: two copies are seldom lost both.
        let is_urgent = sent.is_repeated && connection.sending.is_lossy();
        let mut copies = 0;
        while copies < 1 + u8::from(is_urgent) {
            if self.batch.remaining() < MAX_OUTGOING {
                self.counters.drops.count(DropReason::SendBufferFull);
                break;
            }
            if !connection.retransmissions.take(now, percent, payload, link) {
                break;
            }
            let out = self.batch.free();
            let stamp = connection.sending.next_stamp(ticks);
            let written = downtrack.write_again(out, packet, &sent, track.id, stamp);
            let Some((written, seq, is_stamped)) = written else {
                break;
            };
            let protected = connection
                .transport
                .protect_rtp(out, written.len, written.header_len, seq);
            let Some(len) = protected else { break };
            self.batch.commit(path, len);
            let kind = PacketType::Retransmission;
            if let Some(number) = connection.sending.on_sent(now, ticks, path, len, kind, is_stamped) {
                downtrack.on_sent(true, seq, number);
            }
            connection.egress.charge(&self.ceilings.session, ticks, len);
            self.egress.charge(&self.ceilings.worker, ticks, len);
            self.counters.retransmissions_sent += 1;
            copies += 1;
        }
        copies > 0
    }
}

/// Bytes that the slab must have free for all of `pending`, at most.
fn room(pending: &[PacketRef]) -> usize {
    let payloads: usize = pending.iter().map(|packet| packet.payload().len()).sum();
    payloads + pending.len() * (MAX_HEADER + MAX_EVENING) + MAX_OUTGOING
}

/// Padding for each of `pending`, so that the packets of a frame are as long as the longest of them.
fn even_out(pending: &[PacketRef], paddings: &mut Vec<u8>) {
    let mut longest = [0; MAX_LAYERS];
    for packet in pending {
        if let Some(longest) = longest.get_mut(usize::from(packet.layer)) {
            *longest = packet.payload().len().max(*longest);
        }
    }
    paddings.clear();
    paddings.extend(pending.iter().map(|packet| {
        let own = packet.payload().len();
        let missing = longest
            .get(usize::from(packet.layer))
            .map_or(0, |longest| longest - own);
        if own > 0 && missing <= MAX_EVENING {
            missing as u8
        } else {
            0
        }
    }));
    // The last one may be shorter: a GSO run ends with it anyway.
    if let Some(last) = paddings.last_mut() {
        *last = 0;
    }
}
