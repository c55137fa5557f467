//! What voices need of a worker beyond the way of other packets: frames that redundancy brought, frames that wait
//! for others, packets that are sent again as they were.

use std::time::{Duration, Instant};

use super::forward::MAX_OUTGOING;
use super::{PacketSink, WorkerCore};
use crate::bwe::PacketKind as PacketType;
use crate::connection::Received;
use crate::downtrack::history::RESEND_INTERVAL;
use crate::downtrack::voice::{AudioFormat, Resend};
use crate::drop_reason::DropReason;
use crate::negotiated::MediaKind;
use crate::pool::PacketInfo;
use crate::rate::Ticks;
use crate::track::Subscriber;
use crate::uptrack::red_recovery::recover;
use crate::worker_api::SetAudio;

/// Until then who is silent may want to say something; the page waits as long before it holds sound back.
const SILENT_FOR: Duration = Duration::from_secs(30);

/// Feedback comes every 50 to 250 ms, and waits behind media.
const FEEDBACK_WITHIN: Duration = Duration::from_millis(250);

impl WorkerCore {
    /// Routes the frames in a RED packet that were lost on their way here, before the packet's own.
    pub(super) fn recover_frames(&mut self, index: usize, received: &Received, packet: &[u8]) {
        let info = &received.info;
        let Some(layer) = self
            .router
            .track(received.route)
            .and_then(|track| track.layers.get(usize::from(info.layer)))
        else {
            return;
        };
        let Some(uptrack) = self.connections[index].uptracks.get_mut(received.uptrack) else {
            return;
        };
        let Some(opus) = uptrack.opus() else { return };
        let payload = &packet[received.red.clone()];
        for frame in recover(&layer.ring, info.seq, info.timestamp, payload, opus) {
            if !uptrack.on_redundant(info.arrival, info.layer, frame.seq) {
                continue;
            }
            let info = PacketInfo {
                seq: frame.seq,
                timestamp: frame.timestamp,
                marker: false,
                recovered: true,
                ..*info
            };
            if let Some(filled) = self.pool.fill(info, &payload[frame.range], &[]) {
                self.counters.red_frames_recovered += 1;
                self.router.route(received.route, filled);
            }
        }
    }

    pub(super) fn on_set_audio(&mut self, now: Instant, set: &SetAudio) {
        if let Some(&index) = self.ids.get(&set.connection)
            && let Some(slot) = self.connections[index].slot(set.mid)
        {
            self.set_audio(now, index, slot, set.format);
        }
    }

    /// How the voice in a slot is sent from now on.
    pub(super) fn set_audio(&mut self, now: Instant, index: usize, slot: usize, format: AudioFormat) {
        let Some(downtrack) = self
            .connections
            .get_mut(index)
            .and_then(|connection| connection.slots.get_mut(slot))
        else {
            return;
        };
        downtrack.set_audio(format);
        if let Some(track) = downtrack.source().and_then(|source| self.router.find(source)) {
            let subscriber = Subscriber {
                connection: index,
                slot,
            };
            self.retarget_one(now, track, subscriber);
        }
    }

    /// Sends the frames that have waited for others for too long.
    pub(super) fn flush_voices(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        if self.next_voice.is_none_or(|due| due > now) {
            return;
        }
        let mut next = None::<Instant>;
        for index in 0..self.router.slots() {
            let Some(track) = self.router.track(index).filter(|track| track.kind == MediaKind::Audio) else {
                continue;
            };
            for at in 0..track.subscribers.len() {
                next = self.flush_voice(now, index, at, sink).into_iter().chain(next).min();
            }
        }
        self.next_voice = next;
    }

    /// Of one subscriber; when its frames that still wait are due.
    fn flush_voice(&mut self, now: Instant, index: usize, at: usize, sink: &mut dyn PacketSink) -> Option<Instant> {
        let track = self.router.track(index)?;
        let subscriber = track.subscribers.get(at)?;
        let connection = self.connections.get_mut(subscriber.connection)?;
        let slot = connection.slots.get_mut(subscriber.slot)?;
        let Some((packet, decision)) = slot.flush_voice(now) else {
            return slot.voice_due();
        };
        let path = connection.transport.media_path()?;
        if self.batch.remaining() < MAX_OUTGOING {
            sink.send(&self.batch);
            self.batch.clear();
        }
        let out = self.batch.free();
        let ticks = Ticks::since(self.epoch, now);
        let (number, stamp) = (connection.sending.next_number(), connection.sending.next_stamp(ticks));
        let written = slot.write(out, &packet, &decision, track.id, stamp)?;
        let len = connection
            .transport
            .protect_rtp(out, written.len, written.header_len, decision.seq)?;
        slot.on_protected(decision.seq, number, &out[..len]);
        self.batch.commit(path, len);
        let is_stamped = decision.stamp.is_some();
        let number = connection
            .sending
            .on_sent(now, ticks, path, len, PacketType::Audio, is_stamped);
        if let Some(number) = number {
            slot.on_sent(false, decision.seq, number);
        }
        self.counters.rtp_packets_out += 1;
        let index = subscriber.connection;
        self.on_media_sent(ticks, index, len);
        None
    }

    /// Sends a packet of a voice again as it was, to the bit. False where it is not at hand, went out just now, or
    /// is above what the subscriber may have sent again.
    pub(super) fn resend_audio(&mut self, now: Instant, index: usize, slot: usize, seq: u16) -> bool {
        let ticks = Ticks::since(self.epoch, now);
        let Some(connection) = self.connections.get_mut(index) else {
            return false;
        };
        let Some(path) = connection.transport.media_path() else {
            return false;
        };
        if connection.egress.is_over(&self.ceilings.session, ticks) {
            return false;
        }
        let interval = RESEND_INTERVAL.max(connection.round_trip / 2);
        let Some(Resend { datagram, number }) = connection
            .slots
            .get_mut(slot)
            .and_then(|slot| slot.resend_audio(now, seq, interval))
        else {
            return false;
        };
        let (len, percent) = (datagram.len(), self.ceilings.retransmission_percent);
        let link = connection.sending.estimate();
        if !connection.retransmissions.take(now, percent, len, link) {
            return false;
        }
        if !self.batch.push(path, datagram) {
            self.counters.drops.count(DropReason::SendBufferFull);
            return false;
        }
        connection.sending.on_resent(ticks, path, len, number);
        connection.egress.charge(&self.ceilings.session, ticks, len);
        self.egress.charge(&self.ceilings.worker, ticks, len);
        self.counters.retransmissions_sent += 1;
        true
    }

    /// Sends again what a client's feedback says it lost of its voices, and nothing else brought.
    pub(super) fn resend_lost_voices(&mut self, now: Instant, index: usize) {
        for slot in 0..self
            .connections
            .get(index)
            .map_or(0, |connection| connection.slots.len())
        {
            while let Some(seq) = self.next_missing(now, index, slot) {
                self.resend_audio(now, index, slot, seq);
            }
        }
    }

    fn next_missing(&mut self, now: Instant, index: usize, slot: usize) -> Option<u16> {
        let connection = self.connections.get_mut(index)?;
        let bwe = &connection.sending.adaptation.as_ref()?.bwe;
        let again = connection.round_trip + FEEDBACK_WITHIN;
        connection
            .slots
            .get_mut(slot)?
            .resend_ring()?
            .next_missing(now, again, |number| bwe.fate(now, number))
    }

    /// Who loses much and cannot be waiting to answer is sent it again: the page holds its sound back then.
    pub(super) fn wants_resends(&self, now: Instant, index: usize) -> bool {
        let Some(connection) = self.connections.get(index) else {
            return false;
        };
        let adaptation = connection.sending.adaptation.as_ref();
        if !adaptation.is_some_and(|adaptation| adaptation.loses_much()) {
            return false;
        }
        let voices = connection
            .uptracks
            .iter()
            .filter(|uptrack| uptrack.kind == MediaKind::Audio);
        let mut tracks = voices.filter_map(|uptrack| self.router.by_id(uptrack.track));
        tracks.all(|track| track.muted || !track.spoke_within(now, SILENT_FOR))
    }
}
