//! SDP text (RFC 8866) into lines by section, borrowed from it, in one pass that counts as it reads: whatever is
//! looked up later is looked up in lists that have a bound.

use super::{SdpError, SdpLimits};

/// The attributes that an answer depends on; the rest is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    BundleOnly,
    Candidate,
    /// The key itself is the value: `sendrecv` and its like.
    Direction,
    Extmap,
    ExtmapAllowMixed,
    Fingerprint,
    Fmtp,
    Group,
    IceOptions,
    IcePwd,
    IceUfrag,
    Mid,
    Rid,
    RtcpFb,
    RtcpMux,
    RtcpRsize,
    Rtpmap,
    Setup,
    Simulcast,
    Ssrc,
    SsrcGroup,
}

impl Key {
    const COUNT: usize = Self::SsrcGroup as usize + 1;

    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "bundle-only" => Self::BundleOnly,
            "candidate" => Self::Candidate,
            "sendrecv" | "sendonly" | "recvonly" | "inactive" => Self::Direction,
            "extmap" => Self::Extmap,
            "extmap-allow-mixed" => Self::ExtmapAllowMixed,
            "fingerprint" => Self::Fingerprint,
            "fmtp" => Self::Fmtp,
            "group" => Self::Group,
            "ice-options" => Self::IceOptions,
            "ice-pwd" => Self::IcePwd,
            "ice-ufrag" => Self::IceUfrag,
            "mid" => Self::Mid,
            "rid" => Self::Rid,
            "rtcp-fb" => Self::RtcpFb,
            "rtcp-mux" => Self::RtcpMux,
            "rtcp-rsize" => Self::RtcpRsize,
            "rtpmap" => Self::Rtpmap,
            "setup" => Self::Setup,
            "simulcast" => Self::Simulcast,
            "ssrc" => Self::Ssrc,
            "ssrc-group" => Self::SsrcGroup,
            _ => return None,
        })
    }

    /// How many of it a section may have.
    fn limit(self, limits: &SdpLimits) -> (usize, &'static str) {
        match self {
            Self::Candidate => (limits.max_candidates, "too many candidates in a section"),
            Self::Extmap => (limits.max_extensions, "too many header extensions in a section"),
            Self::Fmtp | Self::Rtpmap => (limits.max_codecs, "too many codecs in a section"),
            Self::Rid => (limits.max_rids, "too many rids in a section"),
            Self::Ssrc | Self::SsrcGroup => (limits.max_ssrcs, "too many lines about SSRCs in a section"),
            _ => (limits.max_attributes, "too many attributes in a section"),
        }
    }
}

/// The attributes of a media section, or of the session, by key and in order.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    values: [Vec<&'a str>; Key::COUNT],
    /// The unknown ones included.
    count: usize,
}

impl<'a> Attributes<'a> {
    /// An attribute without a value has the empty one.
    pub fn all(&self, key: Key) -> &[&'a str] {
        &self.values[key as usize]
    }

    pub fn first(&self, key: Key) -> Option<&'a str> {
        self.all(key).first().copied()
    }

    pub fn has(&self, key: Key) -> bool {
        !self.all(key).is_empty()
    }

    fn read(&mut self, line: &'a str, limits: &SdpLimits) -> Result<(), SdpError> {
        self.count += 1;
        if self.count > limits.max_attributes {
            return Err(SdpError::TooLarge("too many attributes in a section"));
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let Some(key) = Key::of(name) else {
            return Ok(());
        };
        let (limit, too_many) = key.limit(limits);
        let values = &mut self.values[key as usize];
        if values.len() >= limit {
            return Err(SdpError::TooLarge(too_many));
        }
        values.push(match key {
            Key::Direction => name,
            _ => value,
        });
        Ok(())
    }
}

/// An m-line with what stands below it.
#[derive(Debug)]
pub(super) struct Media<'a> {
    pub media: &'a str,
    pub port: u16,
    pub proto: &'a str,
    pub formats: Vec<&'a str>,
    pub attributes: Attributes<'a>,
}

impl<'a> Media<'a> {
    /// `<media> <port>["/" <number>] <proto> <fmt> …`
    fn read(line: &'a str, limits: &SdpLimits) -> Result<Self, SdpError> {
        let mut words = line.split_ascii_whitespace();
        let (Some(media), Some(port), Some(proto)) = (words.next(), words.next(), words.next()) else {
            return Err(SYNTAX);
        };
        let port = port.split_once('/').map_or(port, |(port, _)| port);
        let formats: Vec<&str> = words.by_ref().take(limits.max_codecs).collect();
        if words.next().is_some() {
            return Err(SdpError::TooLarge("too many codecs in a section"));
        }
        if formats.is_empty() {
            return Err(SYNTAX);
        }
        Ok(Self {
            media,
            port: port.parse().map_err(|_| SYNTAX)?,
            proto,
            formats,
            attributes: Attributes::default(),
        })
    }
}

const SYNTAX: SdpError = SdpError::Invalid("syntax");

/// The types of lines that come before the first m-line, in their order (RFC 8866, section 5); the first three, and
/// `t`, must be there.
const SESSION_LINES: &[u8] = b"vosiuepcbtrzka";
/// Those that come below an m-line. Their order is not looked at.
const MEDIA_LINES: &[u8] = b"icbka";

#[derive(Debug, Default)]
pub(super) struct Description<'a> {
    pub attributes: Attributes<'a>,
    pub media: Vec<Media<'a>>,
}

impl<'a> Description<'a> {
    pub fn read(text: &'a str, limits: &SdpLimits) -> Result<Self, SdpError> {
        let mut description = Self::default();
        // How far in `SESSION_LINES` the lines are, and whether `t` was there.
        let (mut stage, mut timed) = (0, false);
        for line in super::lines(text, limits)? {
            let line = line?;
            if line.is_empty() {
                continue;
            }
            let &[kind, b'=', ..] = line.as_bytes() else {
                return Err(SYNTAX);
            };
            let value = line[2..].trim();
            if let Some(media) = description.media.last_mut().filter(|_| kind != b'm') {
                match kind {
                    b'a' => media.attributes.read(value, limits)?,
                    _ if MEDIA_LINES.contains(&kind) => {}
                    _ => return Err(SYNTAX),
                }
                continue;
            }
            if kind == b'm' {
                if stage < 3 || !timed {
                    return Err(SYNTAX);
                }
                if description.media.len() >= limits.max_sections {
                    return Err(SdpError::TooLarge("too many media sections"));
                }
                description.media.push(Media::read(value, limits)?);
                continue;
            }
            stage = session_stage(stage, kind)?;
            match kind {
                b'v' if value != "0" => return Err(SYNTAX),
                b't' => timed = true,
                b'a' => description.attributes.read(value, limits)?,
                _ => {}
            }
        }
        match stage >= 3 && timed {
            true => Ok(description),
            false => Err(SYNTAX),
        }
    }
}

/// How many of the types of `SESSION_LINES` are behind a line of `kind`.
fn session_stage(stage: usize, kind: u8) -> Result<usize, SdpError> {
    let place = SESSION_LINES.iter().position(|&other| other == kind).ok_or(SYNTAX)?;
    let in_order = match place {
        // v, o and s: each once, each there.
        0..3 => place == stage,
        _ => stage >= 3 && place + 1 >= stage,
    };
    // A further `t` may follow the `r` and `z` of the one before it.
    let in_order = in_order || (kind == b't' && stage <= 12);
    match in_order {
        true => Ok(place + 1),
        false => Err(SYNTAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(usize, usize), SdpError> {
        let description = Description::read(text, &SdpLimits::default())?;
        Ok((description.media.len(), description.attributes.count))
    }

    #[test]
    fn lines_come_in_the_order_of_the_rfc() {
        const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\n";
        for (rest, expected) in [
            ("t=0 0\r\n", Ok((0, 0))),
            (
                "c=IN IP4 0.0.0.0\r\nb=AS:1\r\nt=0 0\r\nr=1 1 0\r\nt=1 2\r\na=x\r\na=y:z\r\n",
                Ok((0, 2)),
            ),
            (
                "t=0 0\r\nm=audio 9 RTP/AVP 0\r\na=x\r\nc=IN IP4 0.0.0.0\r\nm=video 9/2 RTP/AVP 0\r\n",
                Ok((2, 0)),
            ),
            ("", Err(SYNTAX)),
            ("a=x\r\nt=0 0\r\n", Err(SYNTAX)),
            ("m=audio 9 RTP/AVP 0\r\n", Err(SYNTAX)),
            ("t=0 0\r\nq=1\r\n", Err(SYNTAX)),
            ("t=0 0\r\nv=0\r\n", Err(SYNTAX)),
            ("t=0 0\r\nm=audio 9 RTP/AVP\r\n", Err(SYNTAX)),
            ("t=0 0\r\nm=audio 99999 RTP/AVP 0\r\n", Err(SYNTAX)),
            ("t=0 0\r\nm=audio 9 RTP/AVP 0\r\nt=0 0\r\n", Err(SYNTAX)),
            ("t=0 0\r\nx\r\n", Err(SYNTAX)),
            ("t=0 0\r\né=x\r\n", Err(SYNTAX)),
        ] {
            assert_eq!(read(&format!("{HEAD}{rest}")), expected, "{rest}");
        }
        for text in [
            "o=- 1 1 IN IP4 0.0.0.0\r\nv=0\r\ns=-\r\nt=0 0\r\n",
            "v=0\r\ns=-\r\nt=0 0\r\n",
            "v=1\r\n",
        ] {
            assert_eq!(read(text), Err(SYNTAX), "{text}");
        }
    }
}
