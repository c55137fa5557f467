//! Writers of the RTCP packets that we send. Each writes one packet at the start of `buffer` and
//! returns its length, or `None` where there is no room; a compound is one behind the other.

use super::report::{ReportBlock, SenderInfo};
use super::{format, packet_type};
use crate::packet::bytes::Appender;
use crate::units::Ssrc;

/// Report blocks that one SR or RR holds at most.
pub const MAX_BLOCKS: usize = 31;
const SDES_CNAME: u8 = 1;

/// SR (RFC 3550, section 6.4.1).
pub fn sender_report(sender: Ssrc, info: &SenderInfo, blocks: &[ReportBlock], buffer: &mut [u8]) -> Option<usize> {
    packet(packet_type::SR, block_count(blocks)?, buffer, |out| {
        out.u32(sender.0)?;
        out.u64(info.ntp)?;
        out.u32(info.rtp)?;
        out.u32(info.packets)?;
        out.u32(info.octets)?;
        report_blocks(blocks, out)
    })
}

/// RR (RFC 3550, section 6.4.2).
pub fn receiver_report(sender: Ssrc, blocks: &[ReportBlock], buffer: &mut [u8]) -> Option<usize> {
    packet(packet_type::RR, block_count(blocks)?, buffer, |out| {
        out.u32(sender.0)?;
        report_blocks(blocks, out)
    })
}

/// SDES with a CNAME of at most 255 bytes (RFC 3550, section 6.5.1).
pub fn sdes_cname(ssrc: Ssrc, cname: &str, buffer: &mut [u8]) -> Option<usize> {
    packet(packet_type::SDES, 1, buffer, |out| {
        out.u32(ssrc.0)?;
        out.u8(SDES_CNAME)?;
        out.u8(u8::try_from(cname.len()).ok()?)?;
        out.put(cname.as_bytes())?;
        // The chunk ends with at least one zero.
        out.u8(0)
    })
}

/// BYE without a reason (RFC 3550, section 6.6), of at most 31 sources.
pub fn bye(ssrcs: &[Ssrc], buffer: &mut [u8]) -> Option<usize> {
    packet(packet_type::BYE, block_count(ssrcs)?, buffer, |out| {
        ssrcs.iter().try_for_each(|ssrc| out.u32(ssrc.0))
    })
}

/// Generic NACK (RFC 4585, section 6.2.1) of ascending sequence numbers (wraps allowed). `None`
/// also without any.
pub fn nack(sender: Ssrc, media: Ssrc, seqs: impl IntoIterator<Item = u16>, buffer: &mut [u8]) -> Option<usize> {
    let mut seqs = seqs.into_iter().peekable();
    seqs.peek()?;
    packet(packet_type::RTPFB, format::NACK, buffer, |out| {
        out.u32(sender.0)?;
        out.u32(media.0)?;
        while let Some(pid) = seqs.next() {
            let mut following: u16 = 0;
            while let Some(distance) = seqs.peek().map(|seq| seq.wrapping_sub(pid)) {
                match distance {
                    0 => {}
                    1..=16 => following |= 1 << (distance - 1),
                    _ => break,
                }
                seqs.next();
            }
            out.u16(pid)?;
            out.u16(following)?;
        }
        Some(())
    })
}

/// Picture loss indication (RFC 4585, section 6.3.1).
pub fn pli(sender: Ssrc, media: Ssrc, buffer: &mut [u8]) -> Option<usize> {
    packet(packet_type::PSFB, format::PLI, buffer, |out| {
        out.u32(sender.0)?;
        out.u32(media.0)
    })
}

/// Full intra request for one source (RFC 5104, section 4.3.1). `seq` goes up with each new
/// command and stays in a repetition.
pub fn fir(sender: Ssrc, media: Ssrc, seq: u8, buffer: &mut [u8]) -> Option<usize> {
    packet(packet_type::PSFB, format::FIR, buffer, |out| {
        out.u32(sender.0)?;
        out.u32(0)?;
        out.u32(media.0)?;
        out.put(&[seq, 0, 0, 0])
    })
}

/// REMB of `bitrate` in bit/s, rounded down to 18 significant bits, for at most 255 sources.
pub fn remb(sender: Ssrc, bitrate: u64, ssrcs: &[Ssrc], buffer: &mut [u8]) -> Option<usize> {
    let exponent = (64 - bitrate.leading_zeros()).saturating_sub(18);
    let mantissa = (bitrate >> exponent) as u32;
    packet(packet_type::PSFB, format::AFB, buffer, |out| {
        out.u32(sender.0)?;
        out.u32(0)?;
        out.put(b"REMB")?;
        out.u8(u8::try_from(ssrcs.len()).ok()?)?;
        out.u24(exponent << 18 | mantissa)?;
        ssrcs.iter().try_for_each(|ssrc| out.u32(ssrc.0))
    })
}

/// The fixed fields of transport-cc feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportFeedbackHead {
    pub sender: Ssrc,
    pub media: Ssrc,
    pub base_seq: u16,
    pub packet_count: u16,
    /// In units of 64 ms, of which the low 24 bits are written.
    pub reference_time: i32,
    pub feedback_count: u8,
}

/// Transport-cc feedback of finished status chunks and receive deltas.
pub fn transport_feedback(
    head: &TransportFeedbackHead,
    chunks: &[u16],
    deltas: &[u8],
    buffer: &mut [u8],
) -> Option<usize> {
    packet(packet_type::RTPFB, format::TRANSPORT_CC, buffer, |out| {
        out.u32(head.sender.0)?;
        out.u32(head.media.0)?;
        out.u16(head.base_seq)?;
        out.u16(head.packet_count)?;
        out.u24(head.reference_time as u32)?;
        out.u8(head.feedback_count)?;
        chunks.iter().try_for_each(|&chunk| out.u16(chunk))?;
        out.put(deltas)
    })
}

/// Congestion control feedback (RFC 8888, section 3.1): SSRC, first sequence number and packet metrics of each stream,
/// and the middle 32 bits of the NTP time of the report.
pub fn congestion_feedback(
    sender: Ssrc,
    streams: &[(Ssrc, u16, &[u16])],
    timestamp: u32,
    buffer: &mut [u8],
) -> Option<usize> {
    packet(packet_type::RTPFB, format::CCFB, buffer, |out| {
        out.u32(sender.0)?;
        for &(ssrc, begin_seq, metrics) in streams {
            out.u32(ssrc.0)?;
            out.u16(begin_seq)?;
            out.u16(u16::try_from(metrics.len()).ok()?)?;
            metrics.iter().try_for_each(|&metric| out.u16(metric))?;
            out.pad()?;
        }
        out.u32(timestamp)
    })
}

fn block_count<T>(items: &[T]) -> Option<u8> {
    (items.len() <= MAX_BLOCKS).then_some(items.len() as u8)
}

fn report_blocks(blocks: &[ReportBlock], out: &mut Appender<'_>) -> Option<()> {
    for block in blocks {
        out.u32(block.ssrc.0)?;
        out.u8(block.fraction_lost)?;
        out.u24(block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32)?;
        out.u32(block.highest_seq)?;
        out.u32(block.jitter)?;
        out.u32(block.last_sr)?;
        out.u32(block.delay_since_last_sr)?;
    }
    Some(())
}

/// Writes head, body and zeros up to 32 bits, then the length.
fn packet(
    packet_type: u8,
    count: u8,
    buffer: &mut [u8],
    body: impl FnOnce(&mut Appender<'_>) -> Option<()>,
) -> Option<usize> {
    let mut out = Appender::new(buffer);
    out.put(&[0x80 | count, packet_type, 0, 0])?;
    body(&mut out)?;
    out.pad()?;
    let words = u16::try_from(out.len() / 4 - 1).ok()?;
    out.written()[2..4].copy_from_slice(&words.to_be_bytes());
    Some(out.len())
}
