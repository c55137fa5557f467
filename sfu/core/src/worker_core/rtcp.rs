//! RTCP from clients: reports of publishers, requests of subscribers.

use std::time::Instant;

use super::WorkerCore;
use crate::connection::Cause;
use crate::drop_reason::DropReason;
use crate::mail::Mail;
use crate::packet::rtcp::{ReportBlock, RtcpPacket, RtcpPackets, SenderInfo};
use crate::units::{Bitrate, Ssrc};

/// What an RTCP packet costs at least, in bytes: to decrypt it and to look for whom it means.
const MIN_COST: usize = 100;

impl WorkerCore {
    pub(super) fn handle_rtcp(&mut self, now: Instant, index: usize, packet: &mut [u8]) -> Result<(), DropReason> {
        self.counters.rtcp_packets_in += 1;
        let ticks = self.ticks(now);
        let connection = &mut self.connections[index];
        // As with RTP: not even decrypted above the ceiling, and only what is authentic is charged.
        if connection.rtcp.is_over(&self.ceilings.rtcp, ticks) {
            return Err(DropReason::OverRtcpRate);
        }
        let cost = packet.len().max(MIN_COST);
        let len = connection.transport.unprotect_rtcp(packet)?;
        connection.rtcp.charge(&self.ceilings.rtcp, ticks, cost);
        let packet = packet.get(..len).ok_or(DropReason::RtcpMalformed)?;
        for part in RtcpPackets::new(packet) {
            match part? {
                RtcpPacket::SenderReport(report) => {
                    self.on_sender_report(now, index, report.ssrc, &report.info);
                    self.on_report_blocks(now, index, report.blocks);
                }
                RtcpPacket::ReceiverReport(report) => self.on_report_blocks(now, index, report.blocks),
                RtcpPacket::Nack(nack) => self.on_nack(now, index, nack.media, nack.seqs),
                RtcpPacket::Pli(pli) => self.on_keyframe_request(now, index, pli.media),
                RtcpPacket::Fir(fir) => {
                    for (media, _) in fir.entries {
                        self.on_keyframe_request(now, index, media);
                    }
                }
                RtcpPacket::TransportFeedback(feedback) => self.on_transport_feedback(now, index, &feedback),
                RtcpPacket::CongestionFeedback(feedback) => self.on_congestion_feedback(now, index, &feedback),
                RtcpPacket::Remb(remb) => self.on_remb(now, index, Bitrate(remb.bitrate)),
                RtcpPacket::Sdes(_) | RtcpPacket::Bye(_) | RtcpPacket::Unknown { .. } => {}
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
        self.report_to_links(id, layer, report);
    }

    fn on_report_blocks(&mut self, now: Instant, index: usize, blocks: impl Iterator<Item = ReportBlock>) {
        for block in blocks {
            self.connections[index].on_report_block(now, &block);
        }
    }

    fn on_nack(&mut self, now: Instant, index: usize, media: Ssrc, seqs: impl Iterator<Item = u16>) {
        let Some(slot) = self.connections[index].slots.iter().position(|slot| slot.ssrc == media) else {
            return;
        };
        for seq in seqs {
            self.counters.nacked_packets_received += 1;
            // Those that are not at hand cost a look for them too.
            if !self.connections[index].retransmissions.may_ask(now) {
                self.counters.retransmissions_missed += 1;
                continue;
            }
            if !self.retransmit(now, index, slot, seq) {
                self.counters.retransmissions_missed += 1;
            }
        }
    }

    fn on_keyframe_request(&mut self, now: Instant, index: usize, media: Ssrc) {
        self.counters.keyframe_requests_received += 1;
        let slot = self.connections[index].slots.iter().position(|slot| slot.ssrc == media);
        if let Some(at) = slot
            && let slot = &self.connections[index].slots[at]
            && let (Some(source), Some(layer)) = (slot.source(), slot.keyframe_layer())
            && let Some(track) = self.router.find(source)
            && !self.ask_keyframe(now, track, layer, index, Cause::Request)
        {
            self.counters.keyframe_requests_deferred += 1;
            self.connections[index].slots[at].owe_keyframe(now);
        }
    }
}
