//! What flows in a media section: direction, SSRCs (RFC 5576) and simulcast layers (RFC 8853).

use arrayvec::ArrayVec;

use super::reader::{Attributes, Key};
use super::{SdpError, is_token};
use crate::negotiated::MAX_LAYERS;
use crate::units::{Rid, Ssrc};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "sendrecv" => Self::SendRecv,
            "sendonly" => Self::SendOnly,
            "recvonly" => Self::RecvOnly,
            "inactive" => Self::Inactive,
            _ => return None,
        })
    }

    /// The direction of a section, `sendrecv` where nothing is said (RFC 8866, section 6.7).
    pub fn of(section: &Attributes<'_>, session: &Attributes<'_>) -> Self {
        let said = section.first(Key::Direction).or(session.first(Key::Direction));
        said.and_then(Self::parse).unwrap_or(Self::SendRecv)
    }

    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same as the other side says it.
    pub fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            other => other,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// The rids of `a=simulcast:send` that `a=rid … send` declares, in its order: of alternatives the
/// first, paused ones (`~`) too, at most [`MAX_LAYERS`].
///
/// # Errors
/// [`SdpError::TooLarge`] where it lists more than `max_rids`.
pub(super) fn rids(section: &Attributes<'_>, max_rids: usize) -> Result<ArrayVec<Rid, MAX_LAYERS>, SdpError> {
    let listed = simulcast_send(section).unwrap_or("");
    if listed.split([';', ',']).nth(max_rids).is_some() {
        return Err(SdpError::TooLarge("too many rids in a section"));
    }
    let mut rids = ArrayVec::new();
    for layer in listed.split(';') {
        let rid = layer.split(',').next().unwrap_or("").trim_start_matches('~');
        if rids.is_full() {
            break;
        }
        if let Ok(rid) = Rid::from(rid)
            && is_rid(&rid)
            && is_declared(section, &rid)
            && !rids.contains(&rid)
        {
            rids.push(rid);
        }
    }
    Ok(rids)
}

/// `alpha-numeric / "-" / "_"` (RFC 8851, section 10).
fn is_rid(text: &str) -> bool {
    is_token(text)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The list behind `send` in `a=simulcast:[recv <list> ]send <list>[ recv <list>]`.
fn simulcast_send<'a>(section: &Attributes<'a>) -> Option<&'a str> {
    let mut words = section.first(Key::Simulcast)?.split_ascii_whitespace();
    words.find(|&word| word == "send")?;
    words.next()
}

fn is_declared(section: &Attributes<'_>, rid: &str) -> bool {
    section.all(Key::Rid).iter().any(|value| {
        let mut words = value.split_ascii_whitespace();
        words.next() == Some(rid) && words.next() == Some("send")
    })
}

/// Primary SSRCs with their RTX SSRCs, as `a=ssrc` and `a=ssrc-group:FID` declare them.
pub(super) fn ssrcs(section: &Attributes<'_>) -> ArrayVec<(Ssrc, Option<Ssrc>), MAX_LAYERS> {
    let mut primaries = ArrayVec::<(Ssrc, Option<Ssrc>), MAX_LAYERS>::new();
    let pairs = pairs(section);
    let ssrcs = section.all(Key::Ssrc).iter();
    for ssrc in ssrcs.filter_map(|value| parse_ssrc(value.split(' ').next()?)) {
        if primaries.is_full() {
            break;
        }
        let is_secondary = pairs.iter().any(|&(_, secondary, _)| secondary == ssrc);
        let is_known = primaries.iter().any(|&(primary, _)| primary == ssrc);
        if !is_secondary && !is_known {
            let rtx = pairs.iter().find(|&&(primary, _, is_rtx)| is_rtx && primary == ssrc);
            primaries.push((ssrc, rtx.map(|&(_, rtx, _)| rtx)));
        }
    }
    primaries
}

/// (primary, secondary, is RTX) of the first few FID and FEC-FR groups.
fn pairs(section: &Attributes<'_>) -> ArrayVec<(Ssrc, Ssrc, bool), { 4 * MAX_LAYERS }> {
    let groups = section.all(Key::SsrcGroup).iter();
    groups
        .filter_map(|value| {
            let mut words = value.split_ascii_whitespace();
            let is_rtx = match words.next()? {
                "FID" => true,
                "FEC-FR" => false,
                _ => return None,
            };
            Some((parse_ssrc(words.next()?)?, parse_ssrc(words.next()?)?, is_rtx))
        })
        .take(4 * MAX_LAYERS)
        .collect()
}

fn parse_ssrc(text: &str) -> Option<Ssrc> {
    text.parse().ok().map(Ssrc)
}
