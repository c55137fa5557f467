//! RTCP of a lean client: reports by the second, feedback at once.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use rand::Rng;
use tianqiao_sfu_core::ntp::NtpClock;
use tianqiao_sfu_core::packet::rtcp::{ReportBlock, RtcpPacket, RtcpPackets, write};
use tianqiao_sfu_core::transport::SRTP_MAX_OVERHEAD;
use tianqiao_sfu_core::units::Ssrc;

use super::receiver::Wish;
use super::sender::HEADER_ROOM;
use super::{LeanPeer, MAX_PACKET};
use crate::client::peer::PeerEvent;

/// About as often as browsers (libwebrtc: video every second).
const INTERVAL: Duration = Duration::from_secs(1);
/// Report blocks of one packet, so that it fits.
const BLOCKS: usize = 24;
const ROOM: usize = 1200;
pub(super) const CNAME: &str = "loadtest";

pub(super) struct Reports {
    next: Option<Instant>,
    /// Whom reports are from where nothing is sent.
    ssrc: Ssrc,
}

impl Reports {
    pub fn new() -> Self {
        Self {
            next: None,
            ssrc: Ssrc(rand::random()),
        }
    }

    /// There is somebody to report to.
    pub fn begin(&mut self, now: Instant) {
        self.next = Some(now + interval());
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }
}

/// RFC 3550, section 6.2, varies it by half.
fn interval() -> Duration {
    INTERVAL.mul_f64(rand::rng().random_range(0.5..1.5))
}

/// One for all clients of the process.
fn ntp_at(now: Instant) -> u64 {
    static CLOCK: OnceLock<NtpClock> = OnceLock::new();
    let clock = CLOCK.get_or_init(|| {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        NtpClock::new(now, since_epoch.unwrap_or_default())
    });
    clock.at(now)
}

impl LeanPeer {
    pub(super) fn on_rtcp(&mut self, now: Instant, compound: &[u8]) {
        for packet in RtcpPackets::new(compound) {
            let Ok(packet) = packet else { return };
            match packet {
                RtcpPacket::SenderReport(report) => {
                    self.receiver.on_sender_report(now, report.ssrc, &report.info);
                    report.blocks.for_each(|block| self.on_block(&block));
                }
                RtcpPacket::ReceiverReport(report) => report.blocks.for_each(|block| self.on_block(&block)),
                RtcpPacket::Nack(nack) if self.repair => {
                    for seq in nack.seqs {
                        let room = MAX_PACKET + HEADER_ROOM;
                        self.send_packet(room, |sender, buffer| sender.write_again(seq, buffer), nack.media.0);
                    }
                }
                RtcpPacket::Pli(pli) => self.on_keyframe_request(pli.media),
                RtcpPacket::Fir(fir) => fir.entries.for_each(|(ssrc, _)| self.on_keyframe_request(ssrc)),
                _ => {}
            }
        }
    }

    fn on_block(&mut self, block: &ReportBlock) {
        let reported = self
            .senders
            .iter_mut()
            .find(|sender| sender.stream().ssrc == block.ssrc.0);
        if let Some(sender) = reported {
            sender.on_acknowledged();
        }
    }

    fn on_keyframe_request(&mut self, ssrc: Ssrc) {
        if self.senders.iter().any(|sender| sender.stream().ssrc == ssrc.0) {
            self.events.push_back(PeerEvent::KeyframeRequested { ssrc: ssrc.0 });
        }
    }

    pub(super) fn send_due_rtcp(&mut self, now: Instant) {
        if self.reports.next.is_some_and(|due| due <= now) {
            self.reports.next = Some(now + interval());
            self.send_reports(now);
        }
        if self.receiver.poll_timeout().is_some_and(|due| due <= now) {
            let mut wishes = Vec::new();
            let rtt = self.transport.ice.rtt();
            self.receiver.poll_wishes(now, rtt, |wish| wishes.push(wish));
            for wish in wishes {
                match wish {
                    Wish::Keyframe { ssrc } => self.send_pli(ssrc),
                    Wish::Packets { ssrc, seqs } => self.send_nack(ssrc, &seqs),
                }
            }
            self.send_arrivals(now);
        }
    }

    fn send_arrivals(&mut self, now: Instant) {
        let mut feedback = [0; ROOM];
        let own = self.reports.ssrc;
        while let Some(len) = self.receiver.poll_arrivals(now, &mut feedback, own) {
            self.send_rtcp(|buffer| {
                buffer.get_mut(..len)?.copy_from_slice(&feedback[..len]);
                Some(len)
            });
        }
    }

    /// A sender report for each stream that is sent, and report blocks for all that came.
    fn send_reports(&mut self, now: Instant) {
        let ntp = ntp_at(now);
        let infos: Vec<_> = self
            .senders
            .iter()
            .filter_map(|sender| Some((Ssrc(sender.stream().ssrc), sender.info(now, ntp)?)))
            .collect();
        let blocks: Vec<ReportBlock> = self.receiver.report(now).collect();
        for (ssrc, info) in &infos {
            self.send_rtcp(|buffer| {
                let len = write::sender_report(*ssrc, info, &[], buffer)?;
                Some(len + write::sdes_cname(*ssrc, CNAME, &mut buffer[len..])?)
            });
        }
        let ssrc = infos.first().map_or(self.reports.ssrc, |(ssrc, _)| *ssrc);
        for blocks in blocks.chunks(BLOCKS) {
            self.send_rtcp(|buffer| {
                let len = write::receiver_report(ssrc, blocks, buffer)?;
                Some(len + write::sdes_cname(ssrc, CNAME, &mut buffer[len..])?)
            });
        }
    }

    pub(super) fn send_pli(&mut self, ssrc: u32) {
        let own = self.reports.ssrc;
        self.send_rtcp(|buffer| write::pli(own, Ssrc(ssrc), buffer));
    }

    pub(super) fn send_nack(&mut self, ssrc: u32, seqs: &[u16]) {
        let own = self.reports.ssrc;
        self.send_rtcp(|buffer| write::nack(own, Ssrc(ssrc), seqs.iter().copied(), buffer));
    }

    fn send_rtcp(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let (Some(to), Some(srtp)) = (self.transport.ice.remote_addr(), self.transport.srtp()) else {
            return;
        };
        self.out.write(to, ROOM + SRTP_MAX_OVERHEAD, |buffer| {
            let len = write(&mut buffer[..ROOM])?;
            srtp.outbound.protect_rtcp(buffer, len)
        });
    }
}
