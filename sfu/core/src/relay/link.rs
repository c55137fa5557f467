//! The link itself: orders the parts.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::channel::{Channel, MAX_MESSAGE};
use super::clock::PeerClock;
use super::congestion::Congestion;
use super::message::{LinkMessage, LinkSignal};
use super::repair::SentRing;
use super::seal::{LinkKeys, Sealer, Seen, TAG_LEN};
use super::wire::{Reader, Writer, kind, read_media, write_media};
use super::{HEADER_LEN, LinkId};
use crate::bwe::PacketKind;
use crate::drop_reason::DropReason;
use crate::negotiated::MediaKind;
use crate::packet::rtcp::{RtcpPacket, RtcpPackets};
use crate::path::Path;
use crate::pool::{PacketInfo, PacketRef};
use crate::twcc::FeedbackGenerator;
use crate::units::{Bitrate, ExtendedSeq, Ssrc, TrackId};
use crate::uptrack::nack_generator::{NackGenerator, NackLimits};

/// Something is sent at least so often, so that both know that the other lives.
const ALIVE_INTERVAL: Duration = Duration::from_millis(500);
/// Without a datagram for so long the link counts as cut.
const DOWN_AFTER: Duration = Duration::from_secs(2);
/// Longest datagram of the link's own.
const MAX_OWN: usize = 1_200;
/// Signals that wait; a newer one of the same kind takes an older one's place.
const MAX_SIGNALS: usize = 1_024;
/// Packets that are to be sent again.
const MAX_REPAIRS: usize = 2_048;
/// Until a round trip is known.
const ASSUMED_ROUND_TRIP: Duration = Duration::from_millis(20);

const NACK_LIMITS: NackLimits = NackLimits {
    max_missing: 2_000,
    max_requests: 5,
    max_age: Duration::from_millis(800),
};

pub struct LinkConfig {
    pub id: LinkId,
    pub keys: LinkKeys,
    /// Where the peer is; none: it comes first. What is authentic and new moves it.
    pub peer: Option<Path>,
}

#[derive(Clone, Debug)]
pub enum LinkEvent {
    Message(LinkMessage),
    Signal(LinkSignal),
    /// The first datagram has come, or one after [`Self::Down`].
    Up,
    /// Nothing has come for [`DOWN_AFTER`].
    Down,
}

/// A media packet in a datagram that [`Link::handle_datagram`] was given.
#[derive(Debug)]
pub struct Media {
    pub track: TrackId,
    pub info: PacketInfo,
    /// Where they lie in the datagram.
    pub payload: Range<usize>,
    pub descriptor: Range<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    pub media_in: u64,
    pub media_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Packets that the peer lacked and that went out again.
    pub repairs_out: u64,
    pub repairs_in: u64,
}

impl LinkStats {
    pub fn add(&mut self, other: &Self) {
        self.media_in += other.media_in;
        self.media_out += other.media_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.repairs_in += other.repairs_in;
        self.repairs_out += other.repairs_out;
    }
}

pub struct Link {
    id: LinkId,
    peer: Option<Path>,
    sealer: Sealer,
    clock: PeerClock,
    channel: Channel,
    sent: SentRing,
    repairs: VecDeque<u64>,
    nacks: NackGenerator,
    /// Those that came as repairs: what only came late is not taken as well.
    repaired: Option<Seen>,
    feedback: FeedbackGenerator,
    congestion: Congestion,
    signals: VecDeque<LinkSignal>,
    events: VecDeque<LinkEvent>,
    /// The highest number that has come.
    highest: Option<u64>,
    heard: Option<Instant>,
    is_up: bool,
    spoke: Option<Instant>,
    stats: LinkStats,
}

impl Link {
    pub fn new(config: LinkConfig, now: Instant) -> Self {
        Self {
            sealer: Sealer::new(config.id, &config.keys, now),
            id: config.id,
            peer: config.peer,
            clock: PeerClock::new(now),
            channel: Channel::default(),
            sent: SentRing::default(),
            repairs: VecDeque::new(),
            nacks: NackGenerator::new(NACK_LIMITS),
            repaired: None,
            feedback: FeedbackGenerator::new(),
            congestion: Congestion::new(now),
            signals: VecDeque::new(),
            events: VecDeque::new(),
            highest: None,
            heard: None,
            is_up: false,
            spoke: None,
            stats: LinkStats::default(),
        }
    }

    pub fn id(&self) -> LinkId {
        self.id
    }

    pub fn peer(&self) -> Option<Path> {
        self.peer
    }

    /// Where the peer is said to be; what was heard from it counts for more.
    pub fn set_peer(&mut self, path: Path) {
        if self.highest.is_none() {
            self.peer = Some(path);
        }
    }

    pub fn rekey(&mut self, now: Instant, keys: &LinkKeys) {
        self.sealer.rekey(now, keys);
    }

    pub fn is_up(&self) -> bool {
        self.is_up
    }

    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    pub fn estimate(&self) -> Bitrate {
        self.congestion.estimate()
    }

    pub fn round_trip(&self) -> Option<Duration> {
        self.congestion.round_trip()
    }

    /// A datagram that names this link; decrypted where it lies. A media packet in it is for the caller.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: Path,
        datagram: &mut [u8],
    ) -> Result<Option<Media>, DropReason> {
        let (number, end) = self.sealer.open(datagram)?;
        self.stats.bytes_in += datagram.len() as u64;
        self.on_heard(now, from, number);
        let body = &datagram[HEADER_LEN..end];
        match body.first() {
            Some(&(kind::MEDIA | kind::REPAIR)) => self.on_media(now, number, body).map(Some),
            Some(_) => {
                self.on_own(now, body).ok_or(DropReason::LinkMalformed)?;
                Ok(None)
            }
            None => Err(DropReason::LinkMalformed),
        }
    }

    fn on_heard(&mut self, now: Instant, from: Path, number: u64) {
        self.heard = Some(now);
        if !self.is_up {
            self.is_up = true;
            self.events.push_back(LinkEvent::Up);
        }
        if self.highest.is_none_or(|highest| number > highest) {
            self.highest = Some(number);
            self.peer = Some(from);
        }
        self.nacks.on_packet(now, ExtendedSeq(number));
        self.feedback.on_packet(now, number as u16);
    }

    fn on_media(&mut self, now: Instant, number: u64, body: &[u8]) -> Result<Media, DropReason> {
        let media = read_media(body, now)?;
        if let Some(number) = media.repairs {
            if !self.nacks.is_missing(ExtendedSeq(number)) {
                return Err(DropReason::LinkDuplicate);
            }
            self.nacks.on_packet(now, ExtendedSeq(number));
            match &mut self.repaired {
                Some(repaired) => repaired.insert(number),
                None => self.repaired = Some(Seen::new(number)),
            }
            self.stats.repairs_in += 1;
        } else if self.repaired.as_ref().is_some_and(|repaired| !repaired.is_new(number)) {
            return Err(DropReason::LinkDuplicate);
        }
        self.stats.media_in += 1;
        let shift = |range: Range<usize>| range.start + HEADER_LEN..range.end + HEADER_LEN;
        Ok(Media {
            track: media.track,
            info: media.info,
            payload: shift(media.payload),
            descriptor: shift(media.descriptor),
        })
    }

    /// `None`: malformed.
    fn on_own(&mut self, now: Instant, body: &[u8]) -> Option<()> {
        let mut reader = Reader::new(body);
        let kind = reader.u8()?;
        self.clock.on_stamp(now, reader.u64()?);
        match kind {
            kind::CONTROL => {
                let (clock, events) = (&self.clock, &mut self.events);
                self.channel.read(&mut reader, |bytes| {
                    // What a later version says besides is passed over.
                    events.extend(LinkMessage::read(clock, bytes).map(LinkEvent::Message));
                })?;
            }
            kind::SIGNAL => {
                while let Some(signal) = LinkSignal::read(&self.clock, &mut reader) {
                    self.events.push_back(LinkEvent::Signal(signal));
                }
            }
            kind::FEEDBACK => {
                for part in RtcpPackets::new(reader.rest()) {
                    if let RtcpPacket::TransportFeedback(feedback) = part.ok()? {
                        self.congestion.on_feedback(now, &feedback);
                    }
                }
            }
            kind::NACK => {
                while let Some(low) = reader.u16() {
                    let number = self.sent_number(low);
                    if let Some(number) = number
                        && self.repairs.len() < MAX_REPAIRS
                    {
                        self.repairs.push_back(number);
                    }
                }
            }
            _ => {}
        }
        Some(())
    }

    /// The latest number that has been given and ends so.
    fn sent_number(&self, low: u16) -> Option<u64> {
        let next = self.sealer.next_number();
        let back = u64::from((next as u16).wrapping_sub(low));
        let back = if back == 0 { 1 << 16 } else { back };
        next.checked_sub(back)
    }

    /// Whether a packet of a layer may go out now. Voices always may.
    pub fn admits(&mut self, track: TrackId, kind: MediaKind, packet: &PacketRef) -> bool {
        kind == MediaKind::Audio || self.congestion.admits((track, packet.layer), packet.payload().len())
    }

    /// Writes one datagram with a media packet into `out`, `padding` bytes longer than it need be; `None` without a peer or
    /// room for it.
    pub fn send_media(
        &mut self,
        now: Instant,
        track: TrackId,
        packet: &PacketRef,
        padding: u8,
        out: &mut [u8],
    ) -> Option<(Path, usize)> {
        let sent = self.write_media(now, track, packet, None, padding, out)?;
        self.stats.media_out += 1;
        Some(sent)
    }

    fn write_media(
        &mut self,
        now: Instant,
        track: TrackId,
        packet: &PacketRef,
        repairs: Option<u64>,
        padding: u8,
        out: &mut [u8],
    ) -> Option<(Path, usize)> {
        let path = self.peer?;
        let body = write_media(out.get_mut(HEADER_LEN..)?, track, packet, repairs, padding)?;
        let kind = match packet.codec.kind() {
            _ if repairs.is_some() => PacketKind::Retransmission,
            MediaKind::Audio => PacketKind::Audio,
            MediaKind::Video => PacketKind::Video,
        };
        // A repair that is lost is asked for by the number that it repairs.
        let kept = repairs.is_none().then_some((track, packet));
        let len = self.seal(now, out, body, kind, kept)?;
        Some((path, len))
    }

    fn seal(
        &mut self,
        now: Instant,
        out: &mut [u8],
        body: usize,
        kind: PacketKind,
        media: Option<(TrackId, &PacketRef)>,
    ) -> Option<usize> {
        let number = self.sealer.next_number();
        let len = self.sealer.seal(now, out, HEADER_LEN + body)?;
        self.sent.push(now, number, media);
        self.congestion.on_sent(now, len, kind);
        self.spoke = Some(now);
        self.stats.bytes_out += len as u64;
        Some(len)
    }

    /// Of two with the same key of which the first has not gone out, the later one goes.
    pub fn send_message(&mut self, message: &LinkMessage) {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut writer = Writer::new(&mut bytes);
        message.write(&self.clock, &mut writer);
        if let Some(len) = writer.finish() {
            bytes.truncate(len);
            self.channel.push(message.key(), bytes);
        }
    }

    pub fn send_signal(&mut self, signal: LinkSignal) {
        match self.signals.iter().position(|other| other.key() == signal.key()) {
            Some(at) => self.signals[at] = signal,
            None if self.signals.len() < MAX_SIGNALS => self.signals.push_back(signal),
            None => {}
        }
    }

    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Writes the next datagram of the link's own, or a repair, into `out`; call until it is `None`.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<(Path, usize)> {
        let path = self.peer?;
        while let Some(number) = self.repairs.pop_front() {
            let Some(kept) = self.sent.find(now, number).cloned() else {
                continue;
            };
            if self.congestion.leaves_behind((kept.track, kept.packet.layer)) {
                continue;
            }
            self.stats.repairs_out += 1;
            return self.write_media(now, kept.track, &kept.packet, Some(number), 0, out);
        }
        let body = self.write_own(now, out)?;
        let len = self.seal(now, out, body, PacketKind::Padding, None)?;
        Some((path, len))
    }

    /// The next body of the link's own.
    fn write_own(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let room = out.len().saturating_sub(TAG_LEN).min(MAX_OWN);
        let out = out.get_mut(HEADER_LEN..room)?;
        let stamp = self.clock.stamp(now);
        let round_trip = self.round_trip();
        let mut writer = Writer::new(out);
        let room = room - HEADER_LEN - 9;
        let begin = |writer: &mut Writer<'_>, kind| {
            writer.u8(kind);
            writer.u64(stamp);
        };
        let missing = self.nacks.poll(now, round_trip.unwrap_or(ASSUMED_ROUND_TRIP));
        if !missing.is_empty() {
            begin(&mut writer, kind::NACK);
            missing.iter().for_each(|&number| writer.u16(number));
            return writer.finish();
        }
        if !self.signals.is_empty() {
            begin(&mut writer, kind::SIGNAL);
            for signal in self.signals.drain(..self.signals.len().min(32)) {
                signal.write(&self.clock, &mut writer);
            }
            return writer.finish();
        }
        if self.channel.poll_timeout(now, round_trip).is_some_and(|due| due <= now) {
            begin(&mut writer, kind::CONTROL);
            self.channel.write(now, round_trip, room, &mut writer);
            return writer.finish();
        }
        if self.feedback.poll_timeout().is_some_and(|due| due <= now) {
            begin(&mut writer, kind::FEEDBACK);
            let start = writer.finish()?;
            let len = self.feedback.poll(now, &mut out[start..], Ssrc(0), Ssrc(0))?;
            return Some(start + len);
        }
        if self
            .spoke
            .is_none_or(|spoke| now.saturating_duration_since(spoke) >= ALIVE_INTERVAL)
        {
            begin(&mut writer, kind::ALIVE);
            return writer.finish();
        }
        None
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_transmit`] although nothing came.
    pub fn poll_timeout(&self, now: Instant) -> Instant {
        let alive = self.spoke.map_or(now, |spoke| spoke + ALIVE_INTERVAL);
        let down = self.heard.filter(|_| self.is_up).map(|heard| heard + DOWN_AFTER);
        let waiting = (!self.repairs.is_empty() || !self.signals.is_empty()).then_some(now);
        let own = [
            down,
            waiting,
            self.channel.poll_timeout(now, self.round_trip()),
            self.nacks.poll_timeout(),
            self.feedback.poll_timeout(),
            self.congestion.poll_timeout(),
        ];
        if self.peer.is_none() {
            return down.unwrap_or(now + ALIVE_INTERVAL);
        }
        own.into_iter().flatten().fold(alive, Instant::min)
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.sealer.handle_timeout(now);
        self.congestion.handle_timeout(now);
        self.sent.expire(now);
        let is_silent = self
            .heard
            .is_none_or(|heard| now.saturating_duration_since(heard) >= DOWN_AFTER);
        if self.is_up && is_silent {
            self.is_up = false;
            self.events.push_back(LinkEvent::Down);
        }
    }

    /// What a peer can make this link keep is within bounds.
    ///
    /// # Panics
    /// Where it is not.
    #[doc(hidden)]
    pub fn check_bounds(&self) {
        self.nacks.check_bounds();
        assert!(self.repairs.len() <= MAX_REPAIRS && self.signals.len() <= MAX_SIGNALS);
        assert!(self.sent.len() <= 4_096 && self.congestion.layers_kept() <= 16_384);
        assert!(self.channel.waiting() <= 100_000);
    }
}
