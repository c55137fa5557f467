use std::collections::BTreeSet;
use std::io::Cursor;

use arrayvec::ArrayVec;
use rtc_sdp::description::common::Attribute;
use rtc_sdp::{MediaDescription, SessionDescription};

use super::codecs::{self, OfferedCodec};
use super::extensions::{self, IdTable, OfferedExtension};
use super::streams::{self, Direction};
use super::transport::{RemoteTransport, attribute, has_ice};
use super::{SdpError, SdpLimits, is_token};
use crate::negotiated::{IceCredentials, MAX_CODECS, MAX_LAYERS, MediaKind};
use crate::units::{Mid, Rid, Ssrc};

/// Mids of a BUNDLE group that are looked at.
const MAX_GROUP: usize = 256;

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
    /// [`SdpError::Invalid`] past `limits`, for what is not SDP, and where mids, ICE credentials or the
    /// fingerprint are missing or malformed; [`SdpError::Unsupported`] for an offer without BUNDLE or
    /// rtcp-mux, or with nothing in it that this server forwards.
    pub fn parse(text: &str, limits: &SdpLimits) -> Result<Self, SdpError> {
        limits.check(text)?;
        let sdp = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes()))
            .map_err(|_| SdpError::Invalid("syntax"))?;
        let session = &sdp.attributes;
        let bundle = bundle_group(session)?;

        let tagged = tagged_section(&bundle, &sdp.media_descriptions, session)?;
        if attribute(&tagged.attributes, "rtcp-mux").is_none() {
            return Err(SdpError::Unsupported("no rtcp-mux"));
        }
        let transport = RemoteTransport::parse(&tagged.attributes, session)?;

        let mut ids = IdTable::default();
        let mut mids = BTreeSet::new();
        let mut sections = Vec::with_capacity(sdp.media_descriptions.len());
        for media in &sdp.media_descriptions {
            let section = Section::parse(media, session, &mut ids)?;
            if section.mid.is_some_and(|mid| !mids.insert(mid)) {
                return Err(SdpError::Invalid("a mid occurs twice"));
            }
            let accepted = section.accepted.as_ref();
            if accepted.is_some_and(|accepted| !bundle.contains(&accepted.mid)) {
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
            allow_mixed: attribute(session, "extmap-allow-mixed").is_some(),
        })
    }

    /// The client's ICE credentials. Other ones than [`crate::negotiated::Negotiated::remote_ice`] of a
    /// running session restart ICE: answer with new local credentials (RFC 8839, section 4.4.1.1.1).
    pub fn remote_ice(&self) -> &IceCredentials {
        &self.transport.ice
    }
}

impl Section {
    fn parse(media: &MediaDescription, session: &[Attribute], ids: &mut IdTable) -> Result<Self, SdpError> {
        let proto = media.media_name.protos.join("/");
        let format = media.media_name.formats.first().map_or("0", String::as_str);
        if !proto.split('/').all(is_token) || !is_token(format) {
            return Err(SdpError::Invalid("m-line"));
        }
        let mid = mid(media)?;
        let accepted = match media_kind(media) {
            Some(kind) if is_live(media) => {
                let mid = mid.ok_or(SdpError::Unsupported("a media section without mid"))?;
                AcceptedSection::parse(mid, kind, media, session, ids)
            }
            _ => None,
        };
        Ok(Self {
            mid,
            media: media.media_name.media.clone(),
            proto,
            format: format.to_owned(),
            accepted,
        })
    }
}

impl AcceptedSection {
    fn parse(
        mid: Mid,
        kind: MediaKind,
        media: &MediaDescription,
        session: &[Attribute],
        ids: &mut IdTable,
    ) -> Option<Self> {
        let attributes = &media.attributes;
        let codecs = codecs::parse(kind, &media.media_name.formats, attributes);
        if codecs.is_empty() {
            return None;
        }
        let extensions = extensions::parse(attributes, session, ids);
        let is_offered = |wanted| extensions.iter().any(|offered| offered.extension == wanted);
        // Without the extension that names a packet's layer there is no telling them apart.
        let rids = match is_offered(extensions::Extension::Rid) {
            true => streams::rids(attributes),
            false => ArrayVec::new(),
        };
        let ssrcs = match rids.is_empty() {
            true => streams::ssrcs(attributes),
            false => ArrayVec::new(),
        };
        Some(Self {
            mid,
            kind,
            direction: Direction::of(attributes, session),
            codecs,
            extensions,
            rids,
            ssrcs,
            reduced_size_rtcp: attribute(attributes, "rtcp-rsize").is_some(),
            allow_mixed: attribute(attributes, "extmap-allow-mixed").is_some(),
        })
    }
}

/// Port 0 stops a section, but for `a=bundle-only` (RFC 9143, section 6).
fn is_live(media: &MediaDescription) -> bool {
    media.media_name.port.value != 0 || attribute(&media.attributes, "bundle-only").is_some()
}

/// The kind of an RTP section over DTLS-SRTP.
fn media_kind(media: &MediaDescription) -> Option<MediaKind> {
    let [.., rtp, profile] = media.media_name.protos.as_slice() else {
        return None;
    };
    if rtp != "RTP" || !matches!(profile.as_str(), "SAVPF" | "SAVP") {
        return None;
    }
    match media.media_name.media.as_str() {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    }
}

fn mid(media: &MediaDescription) -> Result<Option<Mid>, SdpError> {
    attribute(&media.attributes, "mid").map(parse_mid).transpose()
}

fn parse_mid(text: &str) -> Result<Mid, SdpError> {
    if !is_token(text) {
        return Err(SdpError::Invalid("mid"));
    }
    Mid::from(text).map_err(|_| SdpError::Unsupported("a mid of more than 16 characters"))
}

/// The mids of the session's first `a=group:BUNDLE`, each once.
fn bundle_group(session: &[Attribute]) -> Result<Vec<Mid>, SdpError> {
    let mids = session
        .iter()
        .filter(|attribute| attribute.key == "group")
        .filter_map(|attribute| attribute.value.as_deref())
        .map(str::split_ascii_whitespace)
        .find_map(|mut words| (words.next() == Some("BUNDLE")).then_some(words))
        .ok_or(SdpError::Unsupported("no BUNDLE group"))?;
    let mut group = Vec::new();
    for mid in mids.take(MAX_GROUP) {
        let mid = parse_mid(mid)?;
        if group.contains(&mid) {
            return Err(SdpError::Invalid("a mid occurs twice in the BUNDLE group"));
        }
        group.push(mid);
    }
    Ok(group)
}

/// The section that gives the bundle its transport: the first of the group (RFC 9143, section 7.2), passing
/// over those that will be rejected where another one has ICE credentials.
fn tagged_section<'a>(
    bundle: &[Mid],
    sections: &'a [MediaDescription],
    session: &[Attribute],
) -> Result<&'a MediaDescription, SdpError> {
    let in_order = || {
        bundle.iter().filter_map(|mid| {
            sections
                .iter()
                .find(|media| attribute(&media.attributes, "mid") == Some(mid))
        })
    };
    in_order()
        .filter(|media| is_live(media) && has_ice(&media.attributes, session))
        .find(|media| media_kind(media).is_some())
        .or_else(|| in_order().next())
        .ok_or(SdpError::Unsupported("an empty BUNDLE group"))
}
