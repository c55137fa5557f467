//! What a slot does with a voice: which packets go, when, and as what.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::resend_ring::{Repeats, ResendRing};
use super::{AudioFormat, FRAME, LatestSound, RedFormat, Resend, Voice};
use crate::downtrack::layers::DescriptorEdit;
use crate::downtrack::{Decision, Downtrack, Flow, SeqMap, Stretch};
use crate::negotiated::MediaKind;
use crate::packet::opus;
use crate::pool::{Packet, PacketRef};
use crate::track::Track;
use crate::units::{ExtendedSeq, PayloadType};
use crate::uptrack::retransmission_ring::RetransmissionRing;

/// Packets of 20 ms that have come before one of 60 of the same time, and one for its being late.
const MAX_MISSED: usize = 4;

/// The packets that follow on one another up to `packet`, which has so much sound; the newest first.
fn before<'a>(ring: &'a RetransmissionRing, packet: &Packet, duration: u32) -> impl Iterator<Item = &'a PacketRef> {
    let (seq, timestamp) = (packet.seq, packet.timestamp);
    (1..=MAX_MISSED as u32).map_while(move |age| {
        let found = ring.find(ExtendedSeq(seq.0.checked_sub(age.into())?))?;
        let is_next = found.timestamp == timestamp.wrapping_sub(age * duration) && !found.payload().is_empty();
        is_next.then_some(found)
    })
}

impl Downtrack {
    /// How the voice in this slot is sent from the next packet on, whoever's it is; choose its layer anew then
    /// ([`Self::retarget`]). Values beyond their ranges are brought into them.
    pub fn set_audio(&mut self, format: AudioFormat) {
        let format = format.bounded();
        let is_plain = format == AudioFormat::default();
        if self.kind != MediaKind::Audio || (self.voice.is_none() && is_plain) {
            return;
        }
        let is_settled = !matches!(self.flow, Flow::Forwarding { layer, .. } if layer != 0);
        match &self.voice {
            Some(voice) if is_plain && is_settled && voice.held.is_empty() => self.voice = None,
            _ => self.voice_mut().set_format(format),
        }
    }

    pub fn audio_format(&self) -> AudioFormat {
        self.voice.as_ref().map(|voice| voice.format).unwrap_or_default()
    }

    /// Its packets go through [`Self::rewrite_voice`], not [`Self::rewrite`].
    pub fn has_voice(&self) -> bool {
        self.voice.is_some()
    }

    fn voice_mut(&mut self) -> &mut Voice {
        let (format, last) = (&self.format, self.timeline.last());
        self.voice.get_or_insert_with(|| {
            let latest = last.map(|(arrival, timestamp)| LatestSound {
                arrival,
                end: timestamp.wrapping_add(FRAME),
                duration: FRAME,
            });
            Box::new(Voice::new(RedFormat::of(format), latest))
        })
    }

    pub(in crate::downtrack) fn renegotiate_voice(&mut self) {
        if let Some(voice) = &mut self.voice {
            voice.red = RedFormat::of(&self.format);
            voice.let_go();
            voice.frames.clear();
        }
    }

    pub(in crate::downtrack) fn end_voice(&mut self) {
        if let Some(voice) = &mut self.voice {
            voice.end();
        }
    }

    /// Chooses the layer anew. A voice has no key frames to ask for.
    pub(in crate::downtrack) fn retarget_voice(&mut self, track: &Track) -> Option<u8> {
        let wanted = track.voice_layer(self.audio_format().layer);
        match &mut self.flow {
            Flow::Paused => {}
            Flow::Waiting { target } => *target = Some(wanted),
            Flow::Forwarding { layer, target, .. } => {
                *target = wanted;
                if *layer != wanted {
                    self.voice_mut();
                } else if let Some(voice) = &mut self.voice {
                    voice.cutover.clear();
                }
            }
        }
        None
    }

    /// As [`Self::rewrite`]. `None` also where the packet waits for the next one; see [`Self::voice_due`].
    // Not inlined: the common way does not make room for it.
    #[inline(never)]
    pub fn rewrite_voice(&mut self, packet: &PacketRef, track: &Track) -> Option<Decision> {
        let mut voice = self.voice.take()?;
        let decision = self.rewrite_with(&mut voice, packet, track);
        self.voice = Some(voice);
        decision
    }

    fn rewrite_with(&mut self, voice: &mut Voice, packet: &PacketRef, track: &Track) -> Option<Decision> {
        if self.starts_at(packet, track) {
            voice.end();
            self.switch_to(packet, track);
            // The packet before may hold more sound than the time that has passed since.
            if let Some(end) = voice.latest.as_ref().map(|latest| latest.end)
                && (self.timeline.map(packet.timestamp).wrapping_sub(end) as i32) < 0
            {
                self.timeline.join(packet.timestamp, end);
            }
        }
        self.cut_over(voice, packet, track);
        let Flow::Forwarding { layer, map, .. } = &mut self.flow else {
            return None;
        };
        if packet.layer != *layer {
            return None;
        }
        if map.is_restart(packet.seq) {
            voice.end();
            self.flow = Flow::Waiting {
                target: Some(packet.layer),
            };
            return None;
        }
        if packet.payload().is_empty() {
            map.skip(packet.seq, false);
            return None;
        }
        let timestamp = self.timeline.map(packet.timestamp);
        let duration = opus::duration(packet.payload()).unwrap_or(FRAME);
        if voice.newest.is_some_and(|newest| packet.seq <= newest) {
            // It fills the gap that it left.
            let seq = map.map(packet.seq)?;
            return self.decide(packet, seq, timestamp, None);
        }
        if voice.cutover.withholds(timestamp, duration) {
            map.skip(packet.seq, false);
            return None;
        }
        voice.newest = Some(packet.seq);
        voice.latest = Some(LatestSound {
            arrival: packet.arrival,
            end: timestamp.wrapping_add(duration),
            duration,
        });
        let is_held = voice.holds(packet, timestamp, duration);
        if voice.keeps_frames() {
            voice.frames.push(packet, timestamp, voice.number);
        }
        if is_held {
            voice.hold(packet);
            return None;
        }
        self.send_voice(voice, packet, timestamp)
    }

    /// When frames that wait are to go without the next one, by [`Self::flush_voice`]; `None` while none waits.
    pub fn voice_due(&self) -> Option<Instant> {
        self.voice.as_ref()?.due
    }

    /// The packet of the frames that have waited for too long: its publisher has stopped, or its next frame is lost.
    pub fn flush_voice(&mut self, now: Instant) -> Option<(PacketRef, Decision)> {
        if self.voice_due().is_none_or(|due| due > now) {
            return None;
        }
        let mut voice = self.voice.take()?;
        let flushed = self.flush_with(&mut voice);
        voice.let_go();
        self.voice = Some(voice);
        flushed
    }

    fn flush_with(&mut self, voice: &mut Voice) -> Option<(PacketRef, Decision)> {
        let newest = voice.held.last().copied()?;
        let frame = voice.frames.newest().filter(|frame| frame.packet.seq == newest)?;
        let (packet, timestamp) = (frame.packet.clone(), frame.timestamp);
        let decision = self.send_voice(voice, &packet, timestamp)?;
        Some((packet, decision))
    }

    /// A packet goes out, and with it what waits.
    fn send_voice(&mut self, voice: &mut Voice, packet: &Packet, timestamp: u32) -> Option<Decision> {
        let Flow::Forwarding { map, .. } = &mut self.flow else {
            return None;
        };
        // Numbers of frames that are sent in another's packet are left out, or they would look lost.
        for &held in voice.held.iter().filter(|&&held| held != packet.seq) {
            map.skip(held, false);
        }
        voice.let_go();
        let seq = map.map(packet.seq)?;
        let red = voice.red.filter(|_| {
            let format = &voice.format;
            voice.blocks = voice.frames.choose(packet, timestamp, voice.number, format);
            !voice.blocks.is_empty()
        });
        voice.number = voice.number.wrapping_add(1);
        let red = red.map(|red| (red.red, voice.blocks.payload_len));
        self.decide(packet, seq, timestamp, red)
    }

    /// `red`: payload type and length of the payload, where it is RED.
    fn decide(
        &mut self,
        packet: &Packet,
        seq: ExtendedSeq,
        timestamp: u32,
        red: Option<(PayloadType, usize)>,
    ) -> Option<Decision> {
        let opus = self.format.outgoing(packet.codec)?;
        let (payload_type, len) = red.unwrap_or((opus.payload_type, packet.payload().len()));
        self.timeline.on_sent(packet.arrival, timestamp);
        self.latest = self.latest.max(seq);
        // What is not the publisher's packet as it came could not be written again as it was.
        if red.is_none() {
            self.history.insert(packet.arrival, seq, packet.seq, || Stretch {
                layer: packet.layer,
                generation: self.generation,
                timestamp_offset: self.timeline.offset(),
                ..Stretch::default()
            });
        }
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(len as u32);
        Some(Decision {
            seq,
            timestamp,
            payload_type,
            vp8: None,
            red: red.is_some(),
            padding: 0,
            marker: packet.marker,
            descriptor: DescriptorEdit::default(),
            stamp: opus.stamp,
        })
    }

    /// Goes over to the layer that is wanted, where this packet of it is where the voice goes on.
    fn cut_over(&mut self, voice: &mut Voice, packet: &Packet, track: &Track) {
        let Flow::Forwarding { layer, target, .. } = self.flow else {
            return;
        };
        if layer == target || packet.layer != target || packet.recovered || packet.payload().is_empty() {
            return;
        }
        if !self.join_layer(voice, packet, track, layer) {
            return;
        }
        voice.cutover.clear();
        // Frames of the other layer that wait go with the next packet.
        voice.let_go();
        voice.newest = None;
        self.history.end_stretch();
        let map = SeqMap::starting(packet.seq, ExtendedSeq(self.latest.0 + 1));
        self.flow = Flow::whole(target, target, map);
        self.next_report = None;
    }

    /// Brings the packet of another layer than `own` into the slot's time, if that layer can go on with it.
    fn join_layer(&mut self, voice: &mut Voice, packet: &Packet, track: &Track, own: u8) -> bool {
        let Some(latest) = &voice.latest else {
            self.timeline.switch(packet.arrival, packet.timestamp, None);
            return true;
        };
        let layer = |layer: u8| track.layers.get(usize::from(layer));
        let (Some(own), Some(wanted)) = (layer(own), layer(packet.layer)) else {
            return false;
        };
        let duration = opus::duration(packet.payload()).unwrap_or(FRAME);
        let reports = own.report.zip(wanted.report);
        let mapped = self
            .timeline
            .related(packet.arrival, packet.timestamp, reports)
            .unwrap_or_else(|| latest.start_at(packet.arrival, duration));
        let at_hand = match voice.red {
            Some(_) => before(&wanted.ring, packet, duration).count() as u32,
            None => 0,
        };
        let Some(out) = voice.cutover.on_target(latest, packet, duration, mapped, at_hand) else {
            return false;
        };
        let missed = (out.wrapping_sub(latest.end) / duration).min(at_hand) as usize;
        let missed: ArrayVec<_, MAX_MISSED> = before(&wanted.ring, packet, duration).take(missed).collect();
        for (newer, packet) in missed.into_iter().enumerate().rev() {
            let timestamp = out.wrapping_sub((newer as u32 + 1) * duration);
            voice.frames.push(packet, timestamp, voice.number);
        }
        self.timeline.join(packet.timestamp, out);
        true
    }

    /// A packet went out as `datagram`, encrypted, under `seq` and a transport-wide `number`.
    #[inline(never)]
    pub fn on_protected(&mut self, seq: ExtendedSeq, number: u16, datagram: &[u8]) {
        let Some(voice) = &mut self.voice else { return };
        if let Some(resend) = &mut voice.resend {
            let repeats = match voice.blocks.is_empty() {
                true => Repeats::default(),
                false => voice.format.repeats(),
            };
            resend.insert(seq, number, repeats, datagram);
        }
    }

    /// What was sent of the voice, where it is kept ([`AudioFormat::resend`]).
    pub fn resend_ring(&mut self) -> Option<&mut ResendRing> {
        self.voice.as_mut()?.resend.as_mut()
    }

    /// Whether what is lost of the voice is to be sent again, for who waits for it.
    pub fn set_resend(&mut self, resend: bool) {
        let format = self.audio_format();
        if format.resend != resend {
            self.set_audio(AudioFormat { resend, ..format });
        }
    }

    /// The datagram that went out under `seq`, to send it again as it was: SRTP index, transport-wide number and
    /// all. `None` where it is not kept ([`AudioFormat::resend`]) or was sent again less than `interval` ago.
    pub fn resend_audio(&mut self, now: Instant, seq: u16, interval: Duration) -> Option<Resend<'_>> {
        self.resend_ring()?.resend(now, seq, interval)
    }
}
