//! Reads offers and answers of any server that bundles: what is missing in one section may stand in
//! another or at session level, and what is not understood is passed over.

use anyhow::{Context, Result, bail};
use tianqiao_protocol::MediaKind;
use tianqiao_sfu_core::negotiated::{Fingerprint, FingerprintAlgorithm, IceCredentials};

use super::super::transport::RemoteTransport;
use super::{Direction, clock_rate};
use crate::client::sdp::first_udp_candidate;

/// Chromium's largest offers are some 100 kB.
const MAX_BYTES: usize = 1 << 20;
const MAX_SECTIONS: usize = 512;
/// Lines of one kind that are kept of a section.
const MAX_LINES: usize = 64;

/// `a=setup` (RFC 8842).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Setup {
    ActPass,
    Active,
    Passive,
}

/// The other side's description.
#[derive(Clone, Debug)]
pub(in super::super) struct Remote {
    pub transport: RemoteTransport,
    pub setup: Setup,
    pub is_lite: bool,
    /// Every m-line, in order.
    pub sections: Vec<RemoteSection>,
}

#[derive(Clone, Debug)]
pub(in super::super) struct RemoteSection {
    /// First and third word of the m-line.
    pub media: String,
    pub proto: String,
    pub mid: String,
    pub is_rejected: bool,
    pub direction: Direction,
    /// In the order of the m-line.
    formats: Vec<u8>,
    codecs: Vec<RemoteCodec>,
    /// Id and URI.
    extensions: Vec<(u8, String)>,
    /// SSRC and SSRC of its RTX stream.
    pub repairs: Vec<(u32, u32)>,
    /// The first SSRCs that are declared.
    pub ssrcs: Vec<u32>,
}

/// A payload type.
#[derive(Clone, Debug)]
struct RemoteCodec {
    payload_type: u8,
    /// In lower case.
    name: String,
    clock_rate: u32,
    /// The payload type that an RTX stream repairs.
    apt: Option<u8>,
}

impl Remote {
    /// # Errors
    /// For what has no media section, no ICE credentials, no fingerprint by SHA-2 or no UDP candidate.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_BYTES {
            bail!("a description of {} bytes", text.len());
        }
        let mut sections: Vec<RemoteSection> = Vec::new();
        let mut session_direction = Direction::SendRecv;
        for line in text.lines().map(str::trim_end) {
            if let Some(media) = line.strip_prefix("m=") {
                if sections.len() == MAX_SECTIONS {
                    bail!("more than {MAX_SECTIONS} media sections");
                }
                sections.push(RemoteSection::parse(media, session_direction)?);
            } else if let Some(attribute) = line.strip_prefix("a=") {
                match sections.last_mut() {
                    Some(section) => section.on_attribute(attribute),
                    None => session_direction = Direction::parse(attribute).unwrap_or(session_direction),
                }
            }
        }
        if sections.is_empty() {
            bail!("no media section");
        }
        Ok(Self {
            transport: transport(text)?,
            setup: match value(text, "setup:") {
                Some("active") => Setup::Active,
                Some("passive") => Setup::Passive,
                _ => Setup::ActPass,
            },
            is_lite: text.lines().any(|line| line.trim_end() == "a=ice-lite"),
            sections,
        })
    }
}

impl RemoteSection {
    fn parse(media: &str, direction: Direction) -> Result<Self> {
        let mut words = media.split_ascii_whitespace();
        let (Some(media), Some(port), Some(proto)) = (words.next(), words.next(), words.next()) else {
            bail!("an m-line that says too little");
        };
        Ok(Self {
            media: media.to_owned(),
            proto: proto.to_owned(),
            mid: String::new(),
            is_rejected: port == "0",
            direction,
            formats: words.filter_map(payload_type).take(MAX_LINES).collect(),
            codecs: Vec::new(),
            extensions: Vec::new(),
            repairs: Vec::new(),
            ssrcs: Vec::new(),
        })
    }

    fn on_attribute(&mut self, attribute: &str) {
        let (key, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match key {
            "mid" => self.mid = value.trim().to_owned(),
            // RFC 9143, section 6: port 0 means something else here.
            "bundle-only" => self.is_rejected = false,
            "rtpmap" if self.codecs.len() < MAX_LINES => self.codecs.extend(rtpmap(value)),
            "fmtp" => self.on_fmtp(value),
            "extmap" if self.extensions.len() < MAX_LINES => self.extensions.extend(extmap(value)),
            "ssrc" => self.on_ssrc(value),
            "ssrc-group" if self.repairs.len() < MAX_LINES => self.repairs.extend(repair(value)),
            _ => {
                if let Some(direction) = Direction::parse(key) {
                    self.direction = direction;
                }
            }
        }
    }

    fn on_fmtp(&mut self, value: &str) {
        let Some((format, parameters)) = value.split_once(' ') else {
            return;
        };
        let apt = parameters
            .split(';')
            .find_map(|parameter| payload_type(parameter.trim().strip_prefix("apt=")?));
        let codec = self
            .codecs
            .iter_mut()
            .find(|codec| payload_type(format) == Some(codec.payload_type));
        if let (Some(codec), Some(apt)) = (codec, apt) {
            codec.apt = Some(apt);
        }
    }

    fn on_ssrc(&mut self, value: &str) {
        let ssrc = value.split(' ').next().and_then(|ssrc| ssrc.parse().ok());
        if let Some(ssrc) = ssrc
            && self.ssrcs.len() < MAX_LINES
            && !self.ssrcs.contains(&ssrc)
        {
            self.ssrcs.push(ssrc);
        }
    }

    /// `None` for what is neither audio nor video.
    pub fn kind(&self) -> Option<MediaKind> {
        match self.media.as_str() {
            "audio" => Some(MediaKind::Audio),
            "video" => Some(MediaKind::Video),
            _ => None,
        }
    }

    /// The payload type of the codec that lean clients speak in such a section: Opus or VP8.
    pub fn codec(&self) -> Option<u8> {
        let kind = self.kind()?;
        let name = match kind {
            MediaKind::Audio => "opus",
            MediaKind::Video => "vp8",
        };
        let codec = |format: &u8| {
            self.codecs
                .iter()
                .find(|codec| codec.payload_type == *format && codec.name == name)
                .filter(|codec| codec.clock_rate == clock_rate(kind))
        };
        Some(self.formats.iter().find_map(codec)?.payload_type)
    }

    /// The payload type of the RTX stream of `payload_type`.
    pub fn rtx(&self, payload_type: u8) -> Option<u8> {
        let is_rtx = |codec: &&RemoteCodec| codec.name == "rtx" && codec.apt == Some(payload_type);
        Some(self.codecs.iter().find(is_rtx)?.payload_type)
    }

    /// The id of a header extension (RFC 8285).
    pub fn extension(&self, uri: &str) -> Option<u8> {
        Some(self.extensions.iter().find(|(_, offered)| offered == uri)?.0)
    }
}

/// What BUNDLE makes common: the first values that stand anywhere.
fn transport(text: &str) -> Result<RemoteTransport> {
    let ice = IceCredentials {
        ufrag: value(text, "ice-ufrag:").context("no ice-ufrag")?.to_owned(),
        pwd: value(text, "ice-pwd:").context("no ice-pwd")?.to_owned(),
    };
    Ok(RemoteTransport {
        ice,
        fingerprint: text
            .lines()
            .filter_map(|line| line.trim_end().strip_prefix("a=fingerprint:"))
            .find_map(fingerprint)
            .context("no fingerprint by SHA-256, SHA-384 or SHA-512")?,
        addr: first_udp_candidate(text).context("no UDP candidate")?,
    })
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("a=")?.strip_prefix(key))?;
    Some(value.trim())
}

fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (hash, digest) = value.split_once(' ')?;
    let (algorithm, len) = match hash.to_ascii_lowercase().as_str() {
        "sha-256" => (FingerprintAlgorithm::Sha256, 32),
        "sha-384" => (FingerprintAlgorithm::Sha384, 48),
        "sha-512" => (FingerprintAlgorithm::Sha512, 64),
        _ => return None,
    };
    let byte = |text: &str| {
        let is_hex = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u8::from_str_radix(text, 16).ok()).flatten()
    };
    let digest: Vec<u8> = digest.trim().split(':').map(byte).collect::<Option<_>>()?;
    (digest.len() == len).then_some(Fingerprint { algorithm, digest })
}

fn payload_type(text: &str) -> Option<u8> {
    text.parse().ok().filter(|payload_type| *payload_type < 128)
}

/// `96 VP8/90000`
fn rtpmap(value: &str) -> Option<RemoteCodec> {
    let (format, encoding) = value.split_once(' ')?;
    let mut parts = encoding.trim().split('/');
    Some(RemoteCodec {
        payload_type: payload_type(format)?,
        name: parts.next()?.to_ascii_lowercase(),
        clock_rate: parts.next()?.parse().ok()?,
        apt: None,
    })
}

/// `4/recvonly urn:… …`
fn extmap(value: &str) -> Option<(u8, String)> {
    let mut words = value.split_ascii_whitespace();
    let id = words.next()?.split('/').next()?.parse().ok()?;
    // 15 and 0 are not used; 256 does not fit.
    (1..=14).contains(&id).then_some(())?;
    Some((id, words.next()?.to_owned()))
}

/// `FID 1 2`
fn repair(value: &str) -> Option<(u32, u32)> {
    let mut words = value.split_ascii_whitespace();
    if words.next()? != "FID" {
        return None;
    }
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Janus 1.1 answers a publisher: attributes in each section, candidates at its end.
    const JANUS: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=VideoRoom 1\r\nt=0 0\r\na=group:BUNDLE 0 v1\r\n\
        a=ice-options:trickle\r\na=fingerprint:sha-256 \
        D2:B9:31:8F:DF:24:D8:0E:ED:D2:EF:25:9E:AF:6F:B8:34:AE:53:9C:E6:F3:8F:F2:64:15:FA:E8:7F:53:2D:38\r\n\
        a=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 10.0.0.1\r\n\
        a=recvonly\r\na=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:2sUC\r\na=ice-pwd:tJfkDcUoh5bCfyWUDwjCjq\r\n\
        a=ice-options:trickle\r\na=setup:active\r\na=rtpmap:111 opus/48000/2\r\n\
        a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
        a=candidate:1 1 udp 2015363327 10.0.0.1 49152 typ host\r\na=end-of-candidates\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 100 101\r\nc=IN IP4 10.0.0.1\r\na=recvonly\r\na=mid:v1\r\na=rtcp-mux\r\n\
        a=setup:active\r\na=rtpmap:100 VP8/90000\r\na=rtcp-fb:100 nack\r\na=rtpmap:101 rtx/90000\r\n\
        a=fmtp:101 apt=100\r\na=ssrc-group:FID 7 8\r\na=ssrc:7 cname:janus\r\na=ssrc:8 cname:janus\r\n\
        a=extmap:4/sendonly urn:ietf:params:rtp-hdrext:sdes:mid\r\nm=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n";

    #[test]
    fn an_answer_of_janus_is_read() {
        let remote = Remote::parse(JANUS).unwrap();
        assert_eq!(remote.transport.ice.ufrag, "2sUC");
        assert_eq!(remote.transport.addr.to_string(), "10.0.0.1:49152");
        assert_eq!(remote.transport.fingerprint.digest.len(), 32);
        assert_eq!((remote.setup, remote.is_lite), (Setup::Active, false));
        let [audio, video, data] = remote.sections.as_slice() else {
            panic!("{:?}", remote.sections);
        };
        assert_eq!(
            (audio.codec(), audio.direction, audio.mid.as_str()),
            (Some(111), Direction::RecvOnly, "0")
        );
        assert_eq!(audio.extension(super::super::AUDIO_LEVEL_URI), Some(1));
        assert_eq!(
            (video.codec(), video.rtx(100), video.rtx(96)),
            (Some(100), Some(101), None)
        );
        assert_eq!(video.extension(super::super::MID_URI), Some(4));
        assert_eq!((&video.repairs[..], &video.ssrcs[..]), (&[(7, 8)][..], &[7, 8][..]));
        assert!(data.is_rejected && data.kind().is_none() && data.codec().is_none());
    }

    #[test]
    fn what_lacks_something_is_an_error_that_names_it() {
        for (line, missing) in [
            ("a=ice-ufrag", "ice-ufrag"),
            ("a=ice-pwd", "ice-pwd"),
            ("a=fingerprint", "fingerprint"),
            ("a=candidate", "candidate"),
            ("m=", "media section"),
        ] {
            let lines: Vec<_> = JANUS.lines().filter(|found| !found.starts_with(line)).collect();
            let error = Remote::parse(&lines.join("\r\n")).unwrap_err();
            assert!(error.to_string().contains(missing), "{error}");
        }
        assert!(Remote::parse("").is_err());
    }

    #[test]
    fn cut_and_garbled_descriptions_do_not_panic() {
        for len in 0..JANUS.len() {
            let _ = Remote::parse(&JANUS[..len]);
            let mut garbled = JANUS.as_bytes().to_vec();
            garbled[len] = garbled[len].wrapping_add(len as u8) & 0x7f;
            let _ = Remote::parse(&String::from_utf8(garbled).unwrap());
        }
    }
}
