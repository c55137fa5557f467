//! RTCP from clients: reports of publishers, requests of subscribers.

use std::time::Instant;

use super::WorkerCore;
use crate::drop_reason::DropReason;
use crate::mail::Mail;
use crate::packet::rtcp::{RtcpPacket, RtcpPackets, SenderInfo};
use crate::units::Ssrc;

impl WorkerCore {
    pub(super) fn handle_rtcp(&mut self, now: Instant, index: usize, packet: &mut [u8]) -> Result<(), DropReason> {
        self.counters.rtcp_packets_in += 1;
        let len = self.connections[index].transport.unprotect_rtcp(packet)?;
        let packet = packet.get(..len).ok_or(DropReason::RtcpMalformed)?;
        for part in RtcpPackets::new(packet) {
            match part? {
                RtcpPacket::SenderReport(report) => self.on_sender_report(now, index, report.ssrc, &report.info),
                RtcpPacket::Nack(nack) => self.on_nack(now, index, nack.media, nack.seqs),
                RtcpPacket::Pli(pli) => self.on_keyframe_request(now, index, pli.media),
                RtcpPacket::Fir(fir) => {
                    for (media, _) in fir.entries {
                        self.on_keyframe_request(now, index, media);
                    }
                }
                RtcpPacket::ReceiverReport(_)
                | RtcpPacket::Sdes(_)
                | RtcpPacket::Bye(_)
                | RtcpPacket::Remb(_)
                | RtcpPacket::TransportFeedback(_)
                | RtcpPacket::Unknown { .. } => {}
            }
        }
        Ok(())
    }

    fn on_sender_report(&mut self, now: Instant, index: usize, ssrc: Ssrc, info: &SenderInfo) {
        let Some((id, layer, report)) = self.connections[index].on_sender_report(now, ssrc, info) else {
            return;
        };
        let Some(track) = self.router.by_id_mut(id) else { return };
        if let Some(state) = track.layers.get_mut(usize::from(layer)) {
            state.report = Some(report);
        }
        for worker in track.interested_workers() {
            self.mails.push_back((
                worker,
                Mail::SenderReport {
                    track: id,
                    layer,
                    report,
                },
            ));
        }
    }

    fn on_nack(&mut self, now: Instant, index: usize, media: Ssrc, seqs: impl Iterator<Item = u16>) {
        let Some(slot) = self.connections[index].slots.iter().position(|slot| slot.ssrc == media) else {
            return;
        };
        for seq in seqs {
            self.counters.nacked_packets_received += 1;
            if !self.retransmit(now, index, slot, seq) {
                self.counters.retransmissions_missed += 1;
            }
        }
    }

    fn on_keyframe_request(&mut self, now: Instant, index: usize, media: Ssrc) {
        self.counters.keyframe_requests_received += 1;
        let slot = self.connections[index].slots.iter().find(|slot| slot.ssrc == media);
        if let Some(slot) = slot
            && let (Some(source), Some(layer)) = (slot.source(), slot.keyframe_layer())
            && let Some(track) = self.router.find(source)
        {
            self.request_keyframe(now, track, layer);
        }
    }
}
