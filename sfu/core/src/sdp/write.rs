//! The text of an answer. Formatting into a `String` does not fail, so its results are dropped.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::answer::{AnswerParams, AnsweredSection};
use super::candidate::write_candidates;
use super::codecs::rtpmap;
use super::offer::{Offer, Section};
use super::streams::Direction;
use crate::negotiated::{
    DtlsRole, Fingerprint, FingerprintAlgorithm, MediaKind, NegotiatedCodec, NegotiatedMedia, SendMedia,
};

/// The RTCP CNAME of everything that the server sends: all slots are on the server's one clock.
const CNAME: &str = "s";

/// Lines end in CRLF. ICE and DTLS attributes stand once, at session level; so do the candidates, in
/// the section that BUNDLE tags.
pub(super) fn answer(
    offer: &Offer,
    params: &AnswerParams<'_>,
    dtls_role: DtlsRole,
    sections: &[AnsweredSection],
) -> String {
    let mut out = String::with_capacity(1024 + 512 * offer.sections.len());
    let answered: BTreeSet<_> = sections.iter().map(AnsweredSection::mid).collect();
    let bundle: Vec<&str> = offer
        .bundle
        .iter()
        .filter(|&mid| answered.contains(mid))
        .map(|mid| mid.as_str())
        .collect();
    let _ = write!(
        out,
        "v=0\r\no=- {} {} IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
         a=group:BUNDLE {}\r\na=ice-lite\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        params.session_id & (u64::MAX >> 1),
        params.version,
        bundle.join(" "),
        params.local_ice.ufrag,
        params.local_ice.pwd,
    );
    if !offer.transport.sped.is_empty() {
        let _ = write!(out, "a=ice-options:{}\r\n", offer.transport.sped.join(" "));
    }
    write_fingerprint(&mut out, params.fingerprint);
    if offer.allow_mixed {
        out.push_str("a=extmap-allow-mixed\r\n");
    }

    let mut answered = sections.iter();
    for offered in &offer.sections {
        if offered.accepted.is_none() {
            write_rejection(&mut out, offered);
            continue;
        }
        let section = answered.next().expect("each accepted section is answered");
        write_section(&mut out, offered, section, dtls_role);
        if bundle.first() == Some(&section.mid().as_str()) {
            write_candidates(&mut out, params.candidates);
        }
    }
    out
}

fn write_fingerprint(out: &mut String, fingerprint: &Fingerprint) {
    let hash = match fingerprint.algorithm {
        FingerprintAlgorithm::Sha256 => "sha-256",
        FingerprintAlgorithm::Sha384 => "sha-384",
        FingerprintAlgorithm::Sha512 => "sha-512",
    };
    let _ = write!(out, "a=fingerprint:{hash} ");
    for (index, byte) in fingerprint.digest.iter().enumerate() {
        let _ = write!(out, "{}{byte:02X}", if index > 0 { ":" } else { "" });
    }
    out.push_str("\r\n");
}

fn write_rejection(out: &mut String, section: &Section) {
    let Section {
        media, proto, format, ..
    } = section;
    let _ = write!(out, "m={media} 0 {proto} {format}\r\n");
    if let Some(mid) = section.mid {
        let _ = write!(out, "a=mid:{mid}\r\n");
    }
    out.push_str("a=inactive\r\n");
}

fn write_section(out: &mut String, offered: &Section, section: &AnsweredSection, dtls_role: DtlsRole) {
    let media = &section.media;
    let _ = write!(out, "m={} 9 {}", offered.media, offered.proto);
    for codec in &media.codecs {
        let _ = write!(out, " {}", codec.payload_type);
        if let Some(rtx) = codec.rtx {
            let _ = write!(out, " {rtx}");
        }
    }
    let setup = match dtls_role {
        DtlsRole::Active => "active",
        DtlsRole::Passive => "passive",
    };
    let direction = section.direction.name();
    let _ = write!(
        out,
        "\r\na=mid:{}\r\na=setup:{setup}\r\na=rtcp-mux\r\na={direction}\r\n",
        media.mid
    );
    if media.reduced_size_rtcp {
        out.push_str("a=rtcp-rsize\r\n");
    }
    for (codec, fmtp) in media.codecs.iter().zip(&section.fmtps) {
        write_codec(out, codec, fmtp.as_deref());
    }
    // RFC 8888, section 6: with the wildcard alone.
    if media.codecs.iter().any(|codec| codec.feedback.ccfb) {
        out.push_str("a=rtcp-fb:* ack ccfb\r\n");
    }
    if let Some(ptime) = section.ptime {
        let _ = write!(out, "a=ptime:{ptime}\r\n");
    }
    if section.allow_mixed {
        out.push_str("a=extmap-allow-mixed\r\n");
    }
    for accepted in &section.extensions {
        let _ = write!(out, "a=extmap:{}", accepted.id);
        if accepted.direction != Direction::SendRecv {
            let _ = write!(out, "/{}", accepted.direction.reversed().name());
        }
        let _ = write!(out, " {}\r\n", accepted.extension.uri());
    }
    if let Some(receive) = &media.receive
        && !receive.rids.is_empty()
    {
        for rid in &receive.rids {
            let _ = write!(out, "a=rid:{rid} recv\r\n");
        }
        let _ = write!(out, "a=simulcast:recv {}\r\n", receive.rids.join(";"));
    }
    if let (Some(send), Some(index)) = (media.send, section.slot) {
        write_slot(out, media, send, index);
    }
}

fn write_codec(out: &mut String, codec: &NegotiatedCodec, fmtp: Option<&str>) {
    let payload_type = codec.payload_type;
    let _ = write!(out, "a=rtpmap:{payload_type} {}\r\n", rtpmap(codec.codec));
    if let Some(fmtp) = fmtp {
        let _ = write!(out, "a=fmtp:{payload_type} {fmtp}\r\n");
    }
    let feedback = codec.feedback;
    for (is_agreed, name) in [
        (feedback.nack, "nack"),
        (feedback.pli, "nack pli"),
        (feedback.fir, "ccm fir"),
        (feedback.transport_cc, "transport-cc"),
        (feedback.remb, "goog-remb"),
    ] {
        if is_agreed {
            let _ = write!(out, "a=rtcp-fb:{payload_type} {name}\r\n");
        }
    }
    if let Some(rtx) = codec.rtx {
        let clock_rate = codec.codec.clock_rate();
        let _ = write!(
            out,
            "a=rtpmap:{rtx} rtx/{clock_rate}\r\na=fmtp:{rtx} apt={payload_type}\r\n"
        );
    }
}

/// Audio and video slot of one index are one stream, whose tracks browsers keep in lip-sync.
fn write_slot(out: &mut String, media: &NegotiatedMedia, send: SendMedia, index: u32) {
    let kind = match media.kind {
        MediaKind::Audio => 'a',
        MediaKind::Video => 'v',
    };
    let SendMedia { ssrc, rtx_ssrc } = send;
    // The msid stands before the SSRCs: some parsers take it up from there.
    let _ = write!(out, "a=msid:s{index} {kind}{index}\r\n");
    let has_rtx = media.codecs.iter().any(|codec| codec.rtx.is_some());
    if has_rtx {
        let _ = write!(out, "a=ssrc-group:FID {} {}\r\n", ssrc.0, rtx_ssrc.0);
    }
    let _ = write!(out, "a=ssrc:{} cname:{CNAME}\r\n", ssrc.0);
    if has_rtx {
        let _ = write!(out, "a=ssrc:{} cname:{CNAME}\r\n", rtx_ssrc.0);
    }
}
