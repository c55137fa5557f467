//! Writes offers and answers. Formatting into a `String` does not fail, so its results are dropped.

use std::fmt::Write;

use tianqiao_protocol::MediaKind;
use tianqiao_sfu_core::negotiated::{Fingerprint, FingerprintAlgorithm, IceCredentials};

use super::{AUDIO_LEVEL_URI, Direction, MID_URI, REPAIRED_RID_URI, RID_URI, TRANSPORT_CC_URI};

/// All that a client says.
pub(in super::super) struct Description<'a> {
    /// Of the `o=` line: the same in all of a session.
    pub session_id: u64,
    /// Of the `o=` line: grows.
    pub version: u64,
    pub ice: &'a IceCredentials,
    pub fingerprint: &'a Fingerprint,
    /// `actpass`, `active` or `passive`.
    pub setup: &'static str,
    pub cname: &'a str,
    pub media: Vec<Media<'a>>,
}

/// A media section.
pub(in super::super) struct Media<'a> {
    pub mid: &'a str,
    /// First and third word of the m-line.
    pub media: &'a str,
    pub proto: &'a str,
    pub direction: Direction,
    /// `None`: rejected.
    pub codecs: Option<Codecs>,
    pub encodings: &'a [Encoding],
}

/// Payload types and ids of header extensions of a section.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Codecs {
    pub kind: MediaKind,
    pub payload_type: u8,
    pub rtx: Option<u8>,
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub repaired_rid: Option<u8>,
    pub audio_level: Option<u8>,
    pub transport_cc: Option<u8>,
}

/// A stream that is sent.
#[derive(Clone, Debug)]
pub(in super::super) struct Encoding {
    pub ssrc: u32,
    /// Of its RTX stream.
    pub rtx: Option<u32>,
    /// Of its simulcast layer.
    pub rid: Option<String>,
}

impl Description<'_> {
    pub fn write(&self) -> String {
        let mut out = String::with_capacity(512 + 512 * self.media.len());
        let accepted = self.media.iter().filter(|media| media.codecs.is_some());
        let mids: Vec<_> = accepted.map(|media| media.mid).collect();
        let _ = write!(
            out,
            "v=0\r\no=- {} {} IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=extmap-allow-mixed\r\n",
            self.session_id >> 1,
            self.version,
            mids.join(" ")
        );
        self.write_fingerprint(&mut out);
        for media in &self.media {
            self.write_media(&mut out, media);
        }
        out
    }

    fn write_fingerprint(&self, out: &mut String) {
        let hash = match self.fingerprint.algorithm {
            FingerprintAlgorithm::Sha256 => "sha-256",
            FingerprintAlgorithm::Sha384 => "sha-384",
            FingerprintAlgorithm::Sha512 => "sha-512",
        };
        let digest: Vec<_> = self
            .fingerprint
            .digest
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        let _ = write!(out, "a=fingerprint:{hash} {}\r\n", digest.join(":"));
    }

    fn write_media(&self, out: &mut String, media: &Media<'_>) {
        let Media {
            mid,
            media: name,
            proto,
            direction,
            ..
        } = media;
        let Some(codecs) = &media.codecs else {
            let _ = write!(out, "m={name} 0 {proto} 0\r\na=mid:{mid}\r\na=inactive\r\n");
            return;
        };
        let _ = write!(out, "m={name} 9 {proto} {}", codecs.payload_type);
        if let Some(rtx) = codecs.rtx {
            let _ = write!(out, " {rtx}");
        }
        let _ = write!(
            out,
            "\r\nc=IN IP4 0.0.0.0\r\na=setup:{}\r\na=mid:{mid}\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
             a=rtcp-mux\r\na=rtcp-rsize\r\na={}\r\n",
            self.setup,
            self.ice.ufrag,
            self.ice.pwd,
            direction.name()
        );
        codecs.write(out);
        if direction.sends() {
            self.write_encodings(out, codecs.kind, media.encodings);
        }
    }

    fn write_encodings(&self, out: &mut String, kind: MediaKind, encodings: &[Encoding]) {
        let track = match kind {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
        };
        let _ = write!(out, "a=msid:loadtest {track}\r\n");
        let rids: Vec<_> = encodings
            .iter()
            .filter_map(|encoding| encoding.rid.as_deref())
            .collect();
        if !rids.is_empty() {
            for rid in &rids {
                let _ = write!(out, "a=rid:{rid} send\r\n");
            }
            let _ = write!(out, "a=simulcast:send {}\r\n", rids.join(";"));
            return;
        }
        for Encoding { ssrc, rtx, .. } in encodings {
            if let Some(rtx) = rtx {
                let _ = write!(out, "a=ssrc-group:FID {ssrc} {rtx}\r\n");
            }
            for ssrc in [Some(ssrc), rtx.as_ref()].into_iter().flatten() {
                let _ = write!(out, "a=ssrc:{ssrc} cname:{}\r\n", self.cname);
                let _ = write!(out, "a=ssrc:{ssrc} msid:loadtest {track}\r\n");
            }
        }
    }
}

impl Codecs {
    fn write(&self, out: &mut String) {
        let payload_type = self.payload_type;
        match self.kind {
            MediaKind::Audio => {
                let _ = write!(
                    out,
                    "a=rtpmap:{payload_type} opus/48000/2\r\na=fmtp:{payload_type} minptime=10;useinbandfec=1\r\n"
                );
            }
            MediaKind::Video => {
                let _ = write!(out, "a=rtpmap:{payload_type} VP8/90000\r\n");
                for feedback in ["nack", "nack pli", "ccm fir"] {
                    let _ = write!(out, "a=rtcp-fb:{payload_type} {feedback}\r\n");
                }
            }
        }
        if self.transport_cc.is_some() {
            let _ = write!(out, "a=rtcp-fb:{payload_type} transport-cc\r\n");
        }
        if let Some(rtx) = self.rtx {
            let _ = write!(out, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={payload_type}\r\n");
        }
        for (id, uri) in [
            (self.audio_level, AUDIO_LEVEL_URI),
            (self.mid, MID_URI),
            (self.rid, RID_URI),
            (self.repaired_rid, REPAIRED_RID_URI),
            (self.transport_cc, TRANSPORT_CC_URI),
        ] {
            if let Some(id) = id {
                let _ = write!(out, "a=extmap:{id} {uri}\r\n");
            }
        }
    }
}
