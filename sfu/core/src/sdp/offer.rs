use std::collections::{BTreeMap, BTreeSet};

use arrayvec::ArrayVec;

use super::codecs::{self, OfferedCodec};
use super::extensions::{self, IdTable, OfferedExtension};
use super::reader::{Attributes, Description, Key, Media};
use super::streams::{self, Direction};
use super::transport::{RemoteTransport, has_ice};
use super::{SdpError, SdpLimits, is_token};
use crate::negotiated::{IceCredentials, MAX_CODECS, MAX_LAYERS, MediaKind};
use crate::units::{Mid, Rid, Ssrc};

/// A client's offer, read into what an answer needs. Its sections are bundled on one transport.
#[derive(Clone, Debug)]
pub struct Offer {
    pub(super) transport: RemoteTransport,
    /// Every m-line, in order.
    pub(super) sections: Vec<Section>,
    /// The mids of the BUNDLE group, in its order.
    pub(super) bundle: Vec<Mid>,
    /// `a=extmap-allow-mixed` at session level (RFC 8285, section 6).
    pub(super) allow_mixed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Section {
    /// `None` for a stopped section that says none.
    pub mid: Option<Mid>,
    /// First and third word of the m-line, which the answer repeats.
    pub media: String,
    pub proto: String,
    /// The m-line's first format, for a rejection to repeat.
    pub format: String,
    /// `None`: to be rejected, as it is stopped or carries nothing that this server forwards.
    pub accepted: Option<AcceptedSection>,
}

#[derive(Clone, Debug)]
pub(super) struct AcceptedSection {
    pub mid: Mid,
    pub kind: MediaKind,
    /// The client's.
    pub direction: Direction,
    pub codecs: ArrayVec<OfferedCodec, MAX_CODECS>,
    pub extensions: Vec<OfferedExtension>,
    pub rids: ArrayVec<Rid, MAX_LAYERS>,
    /// Empty with `rids`.
    pub ssrcs: ArrayVec<(Ssrc, Option<Ssrc>), MAX_LAYERS>,
    pub reduced_size_rtcp: bool,
    /// `a=extmap-allow-mixed` of the section.
    pub allow_mixed: bool,
}

impl Offer {
    /// The client sends on one of the sections.
    pub fn sends(&self) -> bool {
        let mut accepted = self.sections.iter().filter_map(|section| section.accepted.as_ref());
        accepted.any(|section| section.direction.sends())
    }

    /// Reads an offer. All sections that carry media must be in one BUNDLE group (RFC 9143) with RTCP
    /// multiplexed onto RTP (RFC 5761).
    ///
    /// # Errors
    /// [`SdpError::TooLarge`] past `limits`; [`SdpError::Invalid`] for what is not SDP, and where mids, ICE credentials
    /// or the fingerprint are missing or malformed; [`SdpError::Unsupported`] for an offer without BUNDLE or
    /// rtcp-mux, or with nothing in it that this server forwards.
    pub fn parse(text: &str, limits: &SdpLimits) -> Result<Self, SdpError> {
        let sdp = Description::read(text, limits)?;
        let session = Session {
            attributes: &sdp.attributes,
            extensions: extensions::parse(&sdp.attributes),
            limits,
        };
        let bundle = bundle_group(session.attributes, limits.max_sections)?;
        let bundled: BTreeSet<Mid> = bundle.iter().copied().collect();
        if bundled.len() < bundle.len() {
            return Err(SdpError::Invalid("a mid occurs twice in the BUNDLE group"));
        }

        let tagged = tagged_section(&bundle, &sdp.media, session.attributes)?;
        if !tagged.attributes.has(Key::RtcpMux) {
            return Err(SdpError::Unsupported("no rtcp-mux"));
        }
        let transport = RemoteTransport::parse(&tagged.attributes, session.attributes)?;

        let mut ids = IdTable::default();
        let mut mids = BTreeSet::new();
        let mut sections = Vec::with_capacity(sdp.media.len());
        for media in &sdp.media {
            let section = Section::parse(media, &session, &mut ids)?;
            if section.mid.is_some_and(|mid| !mids.insert(mid)) {
                return Err(SdpError::Invalid("a mid occurs twice"));
            }
            let accepted = section.accepted.as_ref();
            if accepted.is_some_and(|accepted| !bundled.contains(&accepted.mid)) {
                return Err(SdpError::Unsupported("a media section outside of the BUNDLE group"));
            }
            sections.push(section);
        }
        if sections.iter().all(|section| section.accepted.is_none()) {
            return Err(SdpError::Unsupported("no media section with a known codec"));
        }
        Ok(Self {
            transport,
            sections,
            bundle,
            allow_mixed: sdp.attributes.has(Key::ExtmapAllowMixed),
        })
    }

    /// The client's ICE credentials. Other ones than [`crate::negotiated::Negotiated::remote_ice`] of a
    /// running session restart ICE: answer with new local credentials (RFC 8839, section 4.4.1.1.1).
    pub fn remote_ice(&self) -> &IceCredentials {
        &self.transport.ice
    }
}

/// What stands above all sections.
struct Session<'a> {
    attributes: &'a Attributes<'a>,
    extensions: Vec<OfferedExtension>,
    limits: &'a SdpLimits,
}

impl Section {
    fn parse(media: &Media<'_>, session: &Session<'_>, ids: &mut IdTable) -> Result<Self, SdpError> {
        let format = media.formats.first().copied().unwrap_or("0");
        if !is_token(media.media) || !media.proto.split('/').all(is_token) || !is_token(format) {
            return Err(SdpError::Invalid("m-line"));
        }
        let mid = mid(media)?;
        let accepted = match media_kind(media) {
            Some(kind) if is_live(media) => {
                let mid = mid.ok_or(SdpError::Unsupported("a media section without mid"))?;
                AcceptedSection::parse(mid, kind, media, session, ids)?
            }
            _ => None,
        };
        Ok(Self {
            mid,
            media: media.media.to_owned(),
            proto: media.proto.to_owned(),
            format: format.to_owned(),
            accepted,
        })
    }
}

impl AcceptedSection {
    fn parse(
        mid: Mid,
        kind: MediaKind,
        media: &Media<'_>,
        session: &Session<'_>,
        ids: &mut IdTable,
    ) -> Result<Option<Self>, SdpError> {
        let attributes = &media.attributes;
        let codecs = codecs::parse(kind, &media.formats, attributes);
        if codecs.is_empty() {
            return Ok(None);
        }
        let extensions = extensions::of_section(extensions::parse(attributes), &session.extensions, ids);
        let is_offered = |wanted| extensions.iter().any(|offered| offered.extension == wanted);
        // Without the extension that names a packet's layer there is no telling them apart.
        let rids = match is_offered(extensions::Extension::Rid) {
            true => streams::rids(attributes, session.limits.max_rids)?,
            false => ArrayVec::new(),
        };
        let ssrcs = match rids.is_empty() {
            true => streams::ssrcs(attributes),
            false => ArrayVec::new(),
        };
        Ok(Some(Self {
            mid,
            kind,
            direction: Direction::of(attributes, session.attributes),
            codecs,
            extensions,
            rids,
            ssrcs,
            reduced_size_rtcp: attributes.has(Key::RtcpRsize),
            allow_mixed: attributes.has(Key::ExtmapAllowMixed),
        }))
    }
}

/// Port 0 stops a section, but for `a=bundle-only` (RFC 9143, section 6).
fn is_live(media: &Media<'_>) -> bool {
    media.port != 0 || media.attributes.has(Key::BundleOnly)
}

/// The kind of an RTP section over DTLS-SRTP.
fn media_kind(media: &Media<'_>) -> Option<MediaKind> {
    let mut protos = media.proto.rsplit('/');
    let (profile, rtp) = (protos.next(), protos.next());
    if rtp != Some("RTP") || !matches!(profile, Some("SAVPF" | "SAVP")) {
        return None;
    }
    match media.media {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    }
}

fn mid(media: &Media<'_>) -> Result<Option<Mid>, SdpError> {
    media.attributes.first(Key::Mid).map(parse_mid).transpose()
}

fn parse_mid(text: &str) -> Result<Mid, SdpError> {
    if !is_token(text) {
        return Err(SdpError::Invalid("mid"));
    }
    Mid::from(text).map_err(|_| SdpError::Unsupported("a mid of more than 16 characters"))
}

/// The mids of the session's first `a=group:BUNDLE`.
fn bundle_group(session: &Attributes<'_>, max_mids: usize) -> Result<Vec<Mid>, SdpError> {
    let groups = session.all(Key::Group).iter();
    let mut mids = groups
        .map(|group| group.split_ascii_whitespace())
        .find_map(|mut words| (words.next() == Some("BUNDLE")).then_some(words))
        .ok_or(SdpError::Unsupported("no BUNDLE group"))?;
    let group = mids.by_ref().take(max_mids).map(parse_mid).collect();
    match mids.next() {
        Some(_) => Err(SdpError::TooLarge("too many mids in the BUNDLE group")),
        None => group,
    }
}

/// The section that gives the bundle its transport: the first of the group (RFC 9143, section 7.2), passing
/// over those that will be rejected where another one has ICE credentials.
fn tagged_section<'a, 'b>(
    bundle: &[Mid],
    sections: &'b [Media<'a>],
    session: &Attributes<'_>,
) -> Result<&'b Media<'a>, SdpError> {
    let mut by_mid = BTreeMap::new();
    for media in sections {
        if let Some(mid) = media.attributes.first(Key::Mid) {
            by_mid.entry(mid).or_insert(media);
        }
    }
    let in_order = || bundle.iter().filter_map(|mid| by_mid.get(mid.as_str()).copied());
    in_order()
        .filter(|media| is_live(media) && has_ice(&media.attributes, session))
        .find(|media| media_kind(media).is_some())
        .or_else(|| in_order().next())
        .ok_or(SdpError::Unsupported("an empty BUNDLE group"))
}
