//! RTP header extensions: `a=extmap` (RFC 8285).

use super::reader::{Attributes, Key};
use super::streams::Direction;
use crate::negotiated::ExtensionIds;

/// The extensions that this server reads or forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    Mid,
    Rid,
    RepairedRid,
    AudioLevel,
    AbsSendTime,
    TransportCc,
    VideoOrientation,
    DependencyDescriptor,
}

impl Extension {
    const ALL: [Self; 8] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::AudioLevel,
        Self::AbsSendTime,
        Self::TransportCc,
        Self::VideoOrientation,
        Self::DependencyDescriptor,
    ];

    pub fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::TransportCc => "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    /// Written to a subscriber: what tells of the media, and the number that the subscriber's feedback goes by.
    /// A slot's SSRCs are declared, so it needs no mid; the time of sending is for clients that estimate themselves.
    fn is_sent(self, basis: Basis) -> bool {
        match self {
            Self::AudioLevel | Self::VideoOrientation | Self::DependencyDescriptor => true,
            Self::TransportCc => basis != Basis::Ccfb,
            Self::AbsSendTime => basis == Basis::Remb,
            Self::Mid | Self::Rid | Self::RepairedRid => false,
        }
    }

    fn is_of_simulcast(self) -> bool {
        matches!(self, Self::Rid | Self::RepairedRid)
    }

    pub fn id_in(self, ids: &mut ExtensionIds) -> &mut Option<u8> {
        match self {
            Self::Mid => &mut ids.mid,
            Self::Rid => &mut ids.rid,
            Self::RepairedRid => &mut ids.repaired_rid,
            Self::AudioLevel => &mut ids.audio_level,
            Self::AbsSendTime => &mut ids.abs_send_time,
            Self::TransportCc => &mut ids.transport_cc,
            Self::VideoOrientation => &mut ids.video_orientation,
            Self::DependencyDescriptor => &mut ids.dependency_descriptor,
        }
    }
}

/// By what the estimate of a client's link is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// Feedback by transport-wide number, or nothing.
    TransportCc,
    Remb,
    /// RFC 8888.
    Ccfb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OfferedExtension {
    pub extension: Extension,
    pub id: u8,
    /// From the client's point of view; `SendRecv` where nothing is said.
    pub direction: Direction,
}

/// Which extension each one-byte id stands for in the session: with BUNDLE one id means one extension
/// in all media sections (RFC 9143, section 9.1).
pub(super) type IdTable = [Option<Extension>; 15];

/// The known ones of the `a=extmap` lines of a section, or of the session.
pub(super) fn parse(attributes: &Attributes<'_>) -> Vec<OfferedExtension> {
    let values = attributes.all(Key::Extmap).iter();
    values.filter_map(|value| parse_extmap(value)).collect()
}

/// The extensions of one section, its own before those of the `session`, each once. An id that another section has
/// given to another extension is left out, and so are ids that do not fit the one-byte header.
pub(super) fn of_section(
    section: Vec<OfferedExtension>,
    session: &[OfferedExtension],
    ids: &mut IdTable,
) -> Vec<OfferedExtension> {
    let mut offered: Vec<OfferedExtension> = Vec::with_capacity(Extension::ALL.len());
    for parsed in section.iter().chain(session) {
        let named = ids[usize::from(parsed.id)].get_or_insert(parsed.extension);
        if *named == parsed.extension && offered.iter().all(|other| other.extension != parsed.extension) {
            offered.push(*parsed);
        }
    }
    offered
}

/// `<id>["/"<direction>] <URI> [<attributes>]`, id 1–14.
fn parse_extmap(value: &str) -> Option<OfferedExtension> {
    let mut words = value.split_ascii_whitespace();
    let word = words.next()?;
    let (id, direction) = word.split_once('/').unwrap_or((word, "sendrecv"));
    let uri = words.next()?;
    Some(OfferedExtension {
        extension: Extension::ALL.into_iter().find(|extension| extension.uri() == uri)?,
        id: id.parse().ok().filter(|id| (1..=14).contains(id))?,
        direction: Direction::parse(direction)?,
    })
}

/// Those of the offered extensions that a section of `direction` (the client's) is answered with, where its
/// estimate is made by `basis`.
pub(super) fn accept(
    offered: &[OfferedExtension],
    direction: Direction,
    is_simulcast: bool,
    basis: Basis,
) -> impl Iterator<Item = OfferedExtension> + '_ {
    offered.iter().copied().filter(move |offered| {
        let received =
            direction.sends() && offered.direction.sends() && (is_simulcast || !offered.extension.is_of_simulcast());
        received || goes_to_client(offered, direction) && offered.extension.is_sent(basis)
    })
}

/// Packets to the client may carry it.
fn goes_to_client(offered: &OfferedExtension, direction: Direction) -> bool {
    direction.receives() && offered.direction.receives()
}

/// Packets of a section of `direction` (the client's) to the client may carry `extension`.
pub(super) fn may_send(offered: &[OfferedExtension], direction: Direction, extension: Extension) -> bool {
    let mut same = offered.iter().filter(|offered| offered.extension == extension);
    same.any(|offered| goes_to_client(offered, direction))
}
