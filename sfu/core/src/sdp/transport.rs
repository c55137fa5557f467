//! ICE, DTLS and RTCP attributes: what BUNDLE makes common to all media sections.

use arrayvec::ArrayVec;

use super::SdpError;
use super::reader::{Attributes, Key};
use crate::negotiated::{Fingerprint, FingerprintAlgorithm, IceCredentials};

/// `a=ice-options` for DTLS inside STUN: of the draft, and of libwebrtc from M155 and from M149 on.
const SPED: [&str; 3] = ["sped", "googspedv1", "goog-sped-v1"];

/// `a=setup` of the offer (RFC 8842).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    ActPass,
    Active,
    Passive,
}

/// The transport that an offer's bundled sections share.
#[derive(Clone, Debug)]
pub(super) struct RemoteTransport {
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    pub setup: Setup,
    /// Names under which the offer has DTLS inside STUN.
    pub sped: ArrayVec<&'static str, 3>,
}

impl RemoteTransport {
    /// Reads the attributes of the BUNDLE-tagged `section`, else those of the `session`.
    pub fn parse(section: &Attributes<'_>, session: &Attributes<'_>) -> Result<Self, SdpError> {
        Ok(Self {
            ice: ice(section, session)?.ok_or(SdpError::Invalid("no ice-ufrag and ice-pwd"))?,
            fingerprint: fingerprint(section, session)?,
            setup: setup(section, session)?,
            sped: sped(section, session),
        })
    }
}

/// `a=ice-ufrag` and `a=ice-pwd` (RFC 8839, section 5.4).
fn ice(section: &Attributes<'_>, session: &Attributes<'_>) -> Result<Option<IceCredentials>, SdpError> {
    let [ufrag, pwd] = [Key::IceUfrag, Key::IcePwd].map(|key| section.first(key).or(session.first(key)));
    match (ufrag, pwd) {
        (Some(ufrag), Some(pwd)) => credentials(ufrag, pwd).map(Some),
        _ => Ok(None),
    }
}

fn sped(section: &Attributes<'_>, session: &Attributes<'_>) -> ArrayVec<&'static str, 3> {
    let values = [section, session].map(|attributes| attributes.first(Key::IceOptions).unwrap_or_default());
    let offered = |name: &&str| {
        values
            .iter()
            .any(|options| options.split(' ').any(|option| option == *name))
    };
    SPED.into_iter().filter(offered).collect()
}

pub(super) fn has_ice(section: &Attributes<'_>, session: &Attributes<'_>) -> bool {
    matches!(ice(section, session), Ok(Some(_)))
}

pub(super) fn credentials(ufrag: &str, pwd: &str) -> Result<IceCredentials, SdpError> {
    // '-', '_' and '=' are not of RFC 8839, but some stacks use them; a ':' would end the first half
    // of STUN's USERNAME.
    let is_ice = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte))
    };
    if !(4..=256).contains(&ufrag.len()) || !is_ice(ufrag) {
        return Err(SdpError::Invalid("ice-ufrag"));
    }
    if !(22..=256).contains(&pwd.len()) || !is_ice(pwd) {
        return Err(SdpError::Invalid("ice-pwd"));
    }
    Ok(IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: pwd.to_owned(),
    })
}

/// The first `a=fingerprint` whose hash is acceptable (RFC 8122, section 5).
fn fingerprint(section: &Attributes<'_>, session: &Attributes<'_>) -> Result<Fingerprint, SdpError> {
    let mut seen = false;
    for value in section
        .all(Key::Fingerprint)
        .iter()
        .chain(session.all(Key::Fingerprint))
    {
        seen = true;
        let Some((hash, digest)) = value.split_once(' ') else {
            return Err(SdpError::Invalid("fingerprint"));
        };
        let (algorithm, len) = match hash.to_ascii_lowercase().as_str() {
            "sha-256" => (FingerprintAlgorithm::Sha256, 32),
            "sha-384" => (FingerprintAlgorithm::Sha384, 48),
            "sha-512" => (FingerprintAlgorithm::Sha512, 64),
            _ => continue,
        };
        let digest: Option<Vec<u8>> = digest.trim().split(':').map(hex_byte).collect();
        return match digest {
            Some(digest) if digest.len() == len => Ok(Fingerprint { algorithm, digest }),
            _ => Err(SdpError::Invalid("fingerprint")),
        };
    }
    Err(match seen {
        true => SdpError::Unsupported("no fingerprint by SHA-256, SHA-384 or SHA-512"),
        false => SdpError::Invalid("no fingerprint"),
    })
}

fn hex_byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => u8::from_str_radix(text, 16).ok(),
        _ => None,
    }
}

fn setup(section: &Attributes<'_>, session: &Attributes<'_>) -> Result<Setup, SdpError> {
    match section.first(Key::Setup).or(session.first(Key::Setup)) {
        Some("actpass") => Ok(Setup::ActPass),
        // RFC 4145, section 4: the default of an offer.
        Some("active") | None => Ok(Setup::Active),
        Some("passive") => Ok(Setup::Passive),
        Some("holdconn") => Err(SdpError::Unsupported("setup:holdconn")),
        Some(_) => Err(SdpError::Invalid("setup")),
    }
}
