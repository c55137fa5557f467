//! What a subscriber's link carries, and what follows from it: the layer of each slot, the pace, probes.

use std::time::{Duration, Instant};

use super::{PacketSink, WorkerCore};
use crate::bwe::{BweStats, PacketKind};
use crate::connection::Probe;
use crate::downtrack::Downtrack;
use crate::negotiated::MediaKind;
use crate::packet::rtcp::congestion_feedback::CongestionFeedback;
use crate::packet::rtcp::transport_feedback::TransportFeedback;
use crate::rate::Ticks;
use crate::track::Subscriber;
use crate::units::{Bitrate, ConnectionId};
use crate::worker_api::WorkerEvent;

impl WorkerCore {
    /// What is known of the link of a client; `None` where it is not estimated.
    pub fn link_stats(&self, connection: ConnectionId) -> Option<BweStats> {
        let connection = self.connections.get(*self.ids.get(&connection)?)?;
        Some(connection.sending.adaptation.as_ref()?.bwe.stats())
    }

    /// Packets that wait for their time to be sent to a client, and for how long the last of them will.
    #[doc(hidden)]
    pub fn waiting(&self, connection: ConnectionId) -> (usize, Duration) {
        let connection = self.ids.get(&connection).and_then(|&index| self.connections.get(index));
        connection.map_or((0, Duration::ZERO), |connection| {
            let pacer = &connection.sending.pacer;
            (pacer.len(), pacer.delay())
        })
    }

    /// What a client says of the packets that were sent to it.
    pub(super) fn on_transport_feedback(&mut self, now: Instant, index: usize, feedback: &TransportFeedback<'_>) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if let Some(adaptation) = &mut connection.sending.adaptation {
            adaptation.on_transport_feedback(now, feedback);
            self.on_feedback_taken(now, index);
        }
    }

    /// What a client says of the packets that were sent to it, by SSRC and sequence number (RFC 8888).
    pub(super) fn on_congestion_feedback(&mut self, now: Instant, index: usize, feedback: &CongestionFeedback<'_>) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let slots = &connection.slots;
        if let Some(adaptation) = &mut connection.sending.adaptation {
            let packets = feedback.streams().flat_map(|stream| {
                let slot = slots
                    .iter()
                    .find(|slot| [slot.ssrc, slot.rtx_ssrc].contains(&stream.ssrc));
                let number = move |seq| slot?.number_of(stream.ssrc, seq);
                stream
                    .packets()
                    .filter_map(move |(seq, fate)| Some((number(seq)?, fate)))
            });
            adaptation.on_congestion_feedback(now, feedback.timestamp, packets);
            self.on_feedback_taken(now, index);
        }
    }

    /// Sends again, or anew, what feedback said to be lost.
    fn on_feedback_taken(&mut self, now: Instant, index: usize) {
        self.has_news = true;
        self.resend_lost_voices(now, index);
        let adaptation = self
            .connections
            .get_mut(index)
            .and_then(|connection| connection.sending.adaptation.as_mut());
        // A receiver finds out by itself after seconds.
        if adaptation.is_some_and(|adaptation| adaptation.bwe.take_resumed()) {
            self.resume_slots(now, index);
        }
    }

    /// What a client estimates of its link itself.
    pub(super) fn on_remb(&mut self, now: Instant, index: usize, remb: Bitrate) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if let Some(adaptation) = &mut connection.sending.adaptation {
            self.has_news |= adaptation.on_remb(now, remb);
        }
    }

    /// Lets estimators and allocators do what is due.
    pub(super) fn adapt_all(&mut self, now: Instant) {
        for at in 0..self.adaptive.len() {
            self.adapt(now, self.adaptive[at]);
        }
    }

    /// Chooses the layers of a connection's slots anew at the next look.
    pub(super) fn want_allocation(&mut self, index: usize) {
        if let Some(adaptation) = self
            .connections
            .get_mut(index)
            .and_then(|connection| connection.sending.adaptation.as_mut())
        {
            adaptation.next_allocation = None;
            self.has_news = true;
        }
    }

    fn adapt(&mut self, now: Instant, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if connection.transport.media_path().is_none() {
            return;
        }
        let Some(adaptation) = &mut connection.sending.adaptation else {
            return;
        };
        if adaptation.bwe.poll_timeout().is_some_and(|due| due <= now) {
            adaptation.bwe.handle_timeout(now);
            adaptation.is_stale = true;
        }
        if adaptation.is_due(now) {
            self.allocate(now, index);
        }
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        connection.sending.begin_probe(now);
        if connection.sending.probe.is_some() && !self.probing.contains(&index) {
            self.probing.push(index);
        }
        if let Some(adaptation) = &connection.sending.adaptation {
            self.next_feedback = self.next_feedback.min(adaptation.next_look(now));
        }
    }

    /// Shares the estimate out among the slots of a connection.
    fn allocate(&mut self, now: Instant, index: usize) {
        let resend = self.wants_resends(now, index);
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let Some(adaptation) = &mut connection.sending.adaptation else {
            return;
        };
        adaptation.allocate(now, &connection.slots, &self.router, self.speech, resend);
        let rate = adaptation.bwe.pacing_rate();
        connection.sending.pacer.set_rate(rate);
        let mut changed = std::mem::take(&mut self.retargets);
        if let Some(adaptation) = &mut connection.sending.adaptation {
            let voices = connection.slots.iter_mut().filter(|slot| slot.kind == MediaKind::Audio);
            voices.for_each(|slot| slot.set_resend(resend));
            for (at, (slot, allocated)) in connection.slots.iter_mut().zip(adaptation.choices()).enumerate() {
                if slot.apply(allocated.target()) {
                    changed.push(at);
                }
            }
            for slot in adaptation.take_changed_wishes() {
                if let Some(source) = connection.slots.get(slot).and_then(Downtrack::source) {
                    self.wanting.on_change(source);
                    self.has_news = true;
                }
            }
            let pauses = adaptation.pauses(&connection.slots);
            if !pauses.is_empty() {
                let connection = connection.id;
                self.events.push_back(WorkerEvent::SlotsPaused { connection, pauses });
            }
        }
        for slot in changed.drain(..) {
            let source = self.connections[index].slots[slot].source();
            if let Some(track) = source.and_then(|source| self.router.find(source)) {
                let connection = index;
                self.retarget_one(now, track, Subscriber { connection, slot });
            }
        }
        self.retargets = changed;
    }

    /// Sends what is due of probes: padding at the rate that is asked after.
    pub(super) fn send_probes(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        if self.probing.is_empty() {
            return;
        }
        let ticks = self.ticks(now);
        let mut probing = std::mem::take(&mut self.probing);
        probing.retain(|&index| self.send_probe(now, ticks, index, sink));
        self.probing = probing;
    }

    /// False where the probe is over.
    fn send_probe(&mut self, now: Instant, ticks: Ticks, index: usize, sink: &mut dyn PacketSink) -> bool {
        let Some(connection) = self.connections.get_mut(index) else {
            return false;
        };
        let sending = &mut connection.sending;
        let Some(path) = connection.transport.media_path() else {
            sending.probe = None;
            return false;
        };
        let slot = connection.slots.iter_mut().find(|slot| slot.takes_padding());
        let Some(slot) = slot else {
            sending.probe = None;
            return false;
        };
        while sending.probe.as_ref().is_some_and(|probe| probe.is_due(now)) {
            if self.batch.remaining() < super::PADDING_ROOM {
                sink.send(&self.batch);
                self.batch.clear();
            }
            let out = self.batch.free();
            let written = slot.write_padding(out, Probe::PADDING, sending.next_stamp(ticks));
            let Some((written, seq)) = written else { break };
            let protected = connection
                .transport
                .protect_rtp(out, written.len, written.header_len, seq);
            let Some(len) = protected else { break };
            self.batch.commit(path, len);
            if let Some(number) = sending.on_sent(now, ticks, path, len, PacketKind::Padding, true) {
                slot.on_sent(true, seq, number);
            }
            connection.egress.charge(&self.ceilings.session, ticks, len);
            self.egress.charge(&self.ceilings.worker, ticks, len);
            self.counters.probe_packets_out += 1;
        }
        sending.continue_probe(now)
    }
}
