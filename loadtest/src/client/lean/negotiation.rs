//! What a lean client offers, and what it makes of answers and offers.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use tianqiao_protocol::MediaKind;
use tianqiao_sfu_core::negotiated::{DtlsRole, IceCredentials};
use tianqiao_sfu_core::units::{Mid, Rid};

use super::LeanPeer;
use super::ice::Ice;
use super::receiver::Payload;
use super::rtcp::CNAME;
use super::sdp::{
    AUDIO_LEVEL_URI, Codecs, Description, Direction, Encoding, MID_URI, Media, REPAIRED_RID_URI, RID_URI, Remote,
    RemoteSection, Setup, TRANSPORT_CC_URI,
};
use super::sender::{SendFormat, Sender};
use super::transport::{RemoteTransport, certificate};
use crate::client::peer::{PeerConfig, SendStream};

/// Payload type of all audio, as Chromium has it.
pub const OPUS: u8 = 111;
const VP8: u8 = 96;
const VP8_RTX: u8 = 97;
const PROTO: &str = "UDP/TLS/RTP/SAVPF";
/// Ids of header extensions in offers, as Chromium has them.
const AUDIO_LEVEL_ID: u8 = 1;
const MID_ID: u8 = 4;
const TRANSPORT_CC_ID: u8 = 3;
const RID_ID: u8 = 10;
const REPAIRED_RID_ID: u8 = 11;

/// The sections of a session, and how far its negotiation is.
pub(super) struct Negotiation {
    /// Those of the client's offers, or those that it took of the server's.
    sections: Vec<Section>,
    /// What the client would send, for the next section that takes it.
    sources: Vec<(MediaKind, Vec<Encoding>)>,
    /// Asks for transport-wide sequence numbers in what is received.
    arrival_feedback: bool,
    session_id: u64,
    version: u64,
    restart: bool,
    agreed: Option<(Instant, DtlsRole)>,
}

#[derive(Clone, Debug)]
struct Section {
    mid: String,
    media: String,
    proto: String,
    direction: Direction,
    codecs: Option<Codecs>,
    encodings: Vec<Encoding>,
}

/// What both sides said.
pub(super) struct Agreed {
    transport: RemoteTransport,
    role: DtlsRole,
    is_controlling: bool,
    senders: Vec<SendFormat>,
    payloads: Vec<(u8, Payload)>,
    repairs: Vec<(u32, u32)>,
    transport_cc: Option<u8>,
}

impl Negotiation {
    pub fn new(config: &PeerConfig) -> Result<Self> {
        let mut sources = Vec::new();
        if config.microphone {
            sources.push((MediaKind::Audio, vec![encoding(None, None)]));
        }
        if config.low_voice {
            sources.push((MediaKind::Audio, vec![encoding(None, None)]));
        }
        if config.camera {
            let rids = config.rids.iter().map(|rid| encoding(Some(rand::random()), Some(rid)));
            let encodings: Vec<_> = match config.rids.is_empty() {
                true => vec![encoding(Some(rand::random()), None)],
                false => rids.collect(),
            };
            sources.push((MediaKind::Video, encodings));
        }
        let mut negotiation = Self {
            sections: Vec::new(),
            sources: Vec::new(),
            arrival_feedback: config.arrival_feedback,
            session_id: rand::random(),
            version: 0,
            restart: false,
            agreed: None,
        };
        for (kind, encodings) in &sources {
            negotiation.add_section(*kind, Direction::SendOnly, encodings.clone());
        }
        negotiation.sources = sources;
        for _ in 0..config.audio_slots {
            negotiation.add_section(MediaKind::Audio, Direction::RecvOnly, vec![]);
        }
        negotiation.add_video_slots(config.video_slots);
        Ok(negotiation)
    }

    pub fn add_video_slots(&mut self, count: usize) {
        for _ in 0..count {
            self.add_section(MediaKind::Video, Direction::RecvOnly, vec![]);
        }
    }

    fn add_section(&mut self, kind: MediaKind, direction: Direction, encodings: Vec<Encoding>) {
        let is_simulcast = encodings.iter().any(|encoding| encoding.rid.is_some());
        let (media, payload_type, rtx) = match kind {
            MediaKind::Audio => ("audio", OPUS, None),
            MediaKind::Video => ("video", VP8, Some(VP8_RTX)),
        };
        self.sections.push(Section {
            mid: self.sections.len().to_string(),
            media: media.to_owned(),
            proto: PROTO.to_owned(),
            direction,
            codecs: Some(Codecs {
                kind,
                payload_type,
                rtx,
                mid: Some(MID_ID),
                rid: is_simulcast.then_some(RID_ID),
                repaired_rid: is_simulcast.then_some(REPAIRED_RID_ID),
                audio_level: (kind == MediaKind::Audio).then_some(AUDIO_LEVEL_ID),
                transport_cc: (self.arrival_feedback && direction.receives()).then_some(TRANSPORT_CC_ID),
            }),
            encodings,
        });
    }

    pub fn restart_ice(&mut self) {
        self.restart = true;
    }

    /// When the other side's description came first or last.
    pub fn agreed_at(&self) -> Option<Instant> {
        self.agreed.map(|(at, _)| at)
    }

    pub fn offer(&mut self, ice: &mut Ice) -> Result<String> {
        if std::mem::take(&mut self.restart) {
            ice.renew();
        }
        self.describe(ice.local(), "actpass")
    }

    fn describe(&mut self, ice: &IceCredentials, setup: &'static str) -> Result<String> {
        self.version += 1;
        fn media(section: &Section) -> Media<'_> {
            Media {
                mid: &section.mid,
                media: &section.media,
                proto: &section.proto,
                direction: section.direction,
                codecs: section.codecs,
                encodings: &section.encodings,
            }
        }
        let description = Description {
            session_id: self.session_id,
            version: self.version,
            ice,
            fingerprint: certificate()?.fingerprint(),
            setup,
            cname: CNAME,
            media: self.sections.iter().map(media).collect(),
        };
        Ok(description.write())
    }

    /// Reads the answer to the last offer.
    pub fn set_answer(&self, answer: &str) -> Result<Agreed> {
        let remote = Remote::parse(answer).context("the answer cannot be used")?;
        if remote.sections.len() < self.sections.len() {
            let (answered, offered) = (remote.sections.len(), self.sections.len());
            bail!("the answer has {answered} media sections of {offered}");
        }
        let role = match remote.setup {
            Setup::Active => DtlsRole::Passive,
            // actpass is no answer; whoever gives it is taken to wait.
            Setup::Passive | Setup::ActPass => DtlsRole::Active,
        };
        self.agree(remote, role, true)
    }

    /// Takes the other side's offer in place of all own sections.
    pub fn accept_offer(&mut self, ice: &IceCredentials, offer: &str) -> Result<(Agreed, String)> {
        let remote = Remote::parse(offer).context("the offer cannot be used")?;
        let mut sources = self.sources.clone();
        self.sections = remote
            .sections
            .iter()
            .map(|section| answer_section(section, &mut sources))
            .collect();
        if self.sections.iter().all(|section| section.codecs.is_none()) {
            bail!("the offer has neither Opus nor VP8");
        }
        // A role that is settled stays (RFC 8842, section 5.3).
        let role = match (self.agreed, remote.setup) {
            (Some((_, role)), _) => role,
            (None, Setup::Active) => DtlsRole::Passive,
            (None, Setup::Passive | Setup::ActPass) => DtlsRole::Active,
        };
        let setup = match role {
            DtlsRole::Active => "active",
            DtlsRole::Passive => "passive",
        };
        // RFC 8445, section 6.1.1: the offerer controls, but a lite agent never does.
        let is_controlling = remote.is_lite;
        let agreed = self.agree(remote, role, is_controlling)?;
        Ok((agreed, self.describe(ice, setup)?))
    }

    fn agree(&self, remote: Remote, role: DtlsRole, is_controlling: bool) -> Result<Agreed> {
        let mut agreed = Agreed {
            transport: remote.transport,
            role,
            is_controlling,
            senders: Vec::new(),
            payloads: Vec::new(),
            repairs: Vec::new(),
            transport_cc: None,
        };
        for (own, other) in self.sections.iter().zip(&remote.sections) {
            let (Some(kind), Some(payload_type), false) = (other.kind(), other.codec(), other.is_rejected) else {
                continue;
            };
            let rtx = other.rtx(payload_type);
            agreed.payloads.push((payload_type, Payload::Media(kind)));
            agreed.payloads.extend(rtx.map(|rtx| (rtx, Payload::Rtx(payload_type))));
            agreed.repairs.extend(&other.repairs);
            if self.arrival_feedback && own.direction.receives() {
                agreed.transport_cc = other.extension(TRANSPORT_CC_URI).or(agreed.transport_cc);
            }
            if own.direction.sends() && other.direction.receives() {
                if own.encodings.len() > 1 && other.extension(RID_URI).is_none() {
                    bail!("the answer takes no simulcast");
                }
                for encoding in &own.encodings {
                    let stream = SendStream {
                        kind,
                        ssrc: encoding.ssrc,
                        payload_type,
                    };
                    agreed.senders.push(send_format(own, other, encoding, stream, rtx)?);
                }
            }
        }
        Ok(agreed)
    }
}

impl LeanPeer {
    pub(super) fn apply(&mut self, now: Instant, agreed: Agreed) -> Result<()> {
        let Agreed { role, .. } = agreed;
        self.transport
            .set_remote(now, agreed.transport, role, agreed.is_controlling)?;
        self.negotiation.agreed = Some((now, role));
        for (payload_type, payload) in agreed.payloads {
            self.receiver.set_payload(payload_type, payload);
        }
        self.receiver.add_repairs(&agreed.repairs);
        self.receiver.set_transport_cc(agreed.transport_cc);
        for format in agreed.senders {
            let known = |sender: &&mut Sender| sender.stream().ssrc == format.stream.ssrc;
            match self.senders.iter_mut().find(known) {
                Some(sender) => sender.set_format(format),
                None => self.senders.push(Sender::new(format, self.repair)),
            }
        }
        Ok(())
    }
}

fn encoding(rtx: Option<u32>, rid: Option<&String>) -> Encoding {
    Encoding {
        ssrc: rand::random(),
        rtx,
        rid: rid.cloned(),
    }
}

fn send_format(
    own: &Section,
    other: &RemoteSection,
    encoding: &Encoding,
    stream: SendStream,
    rtx: Option<u8>,
) -> Result<SendFormat> {
    let rid = encoding.rid.as_deref().map(Rid::from).transpose();
    let rid = rid.ok().context("a rid of more than 16 characters")?;
    Ok(SendFormat {
        stream,
        rtx: encoding.rtx.zip(rtx),
        mid: Mid::from(&own.mid).ok().context("a mid of more than 16 characters")?,
        mid_id: other.extension(MID_URI),
        rid_id: rid.and(other.extension(RID_URI)),
        repaired_rid_id: rid.and(other.extension(REPAIRED_RID_URI)),
        audio_level_id: other.extension(AUDIO_LEVEL_URI),
        rid,
    })
}

/// Receives what is offered, and sends a source of its own where one is asked for.
fn answer_section(offered: &RemoteSection, sources: &mut Vec<(MediaKind, Vec<Encoding>)>) -> Section {
    let mut section = Section {
        mid: offered.mid.clone(),
        media: offered.media.clone(),
        proto: offered.proto.clone(),
        direction: Direction::Inactive,
        codecs: None,
        encodings: vec![],
    };
    let (Some(kind), Some(payload_type), false) = (offered.kind(), offered.codec(), offered.is_rejected) else {
        return section;
    };
    let source = sources.iter().position(|(source, _)| *source == kind);
    if offered.direction.receives()
        && let Some(index) = source
    {
        section.encodings = sources.remove(index).1;
    }
    section.direction = Direction::of(!section.encodings.is_empty(), offered.direction.sends());
    section.codecs = Some(Codecs {
        kind,
        payload_type,
        rtx: offered.rtx(payload_type),
        mid: offered.extension(MID_URI),
        rid: None,
        repaired_rid: None,
        audio_level: offered.extension(AUDIO_LEVEL_URI).filter(|_| kind == MediaKind::Audio),
        transport_cc: None,
    });
    section
}
