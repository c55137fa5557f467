//! How the text of a setting becomes a value.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use tianqiao_protocol::media::CameraCodec;

/// What a setting's text looks like, for help and for the quotes of the sample file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Address,
    Ip,
    Path,
    Number,
    Duration,
    Size,
    Rate,
    Flag,
    /// What its entries look like.
    List(&'static str),
}

impl Kind {
    pub fn value_name(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Address => "ADDR:PORT",
            Self::Path => "PATH",
            Self::Number => "NUMBER",
            Self::Duration => "DURATION",
            Self::Size => "SIZE",
            Self::Rate => "RATE",
            Self::Flag => "true|false",
            Self::Ip => "IP",
            Self::List(entry) => entry,
        }
    }
}

pub trait Value: Sized {
    const KIND: Kind;

    /// The error is a sentence for the operator.
    fn parse(text: &str) -> Result<Self, String>;
}

macro_rules! from_str {
    ($($type:ty: $kind:ident, $expected:literal;)*) => {
        $(impl Value for $type {
            const KIND: Kind = Kind::$kind;

            fn parse(text: &str) -> Result<Self, String> {
                <$type>::from_str(text).map_err(|_| format!(concat!("expected ", $expected, ", found {:?}"), text))
            }
        })*
    };
}

from_str! {
    SocketAddr: Address, "an address with port such as 127.0.0.1:8080 or [::1]:8080";
    IpAddr: Ip, "an IP address";
    u16: Number, "a number from 0 to 65535";
    u32: Number, "a number";
    usize: Number, "a number";
    bool: Flag, "true or false";
}

impl Value for String {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for PathBuf {
    const KIND: Kind = Kind::Path;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: Kind = T::KIND;

    fn parse(text: &str) -> Result<Self, String> {
        (!text.is_empty()).then(|| T::parse(text)).transpose()
    }
}

macro_rules! list {
    ($($type:ty: $entry:literal, $parse:expr, $wrong:literal;)*) => {
        $(impl Value for Vec<$type> {
            const KIND: Kind = Kind::List($entry);

            fn parse(text: &str) -> Result<Self, String> {
                text.split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(|part| $parse(part).ok_or_else(|| format!(concat!("not ", $wrong, ": {:?}"), part)))
                    .collect()
            }
        })*
    };
}

list! {
    IpAddr: "IP", |part: &str| part.parse().ok(), "an IP address";
    IpNet: "CIDR", network, "a network such as 10.0.0.0/8 or an IP address";
    String: "NAME", |part: &str| Some(part.to_owned()), "a name";
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl Value for Duration {
    const KIND: Kind = Kind::Duration;

    fn parse(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map_err(|_| format!("expected a time such as 15s or 2h, found {text:?}"))
    }
}

/// A number of bytes, written `512B`, `128KiB` or `2MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub usize);

impl Value for ByteSize {
    const KIND: Kind = Kind::Size;

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim() {
            "" | "B" => Some(1_usize),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            _ => None,
        };
        factor
            .and_then(|factor| number.parse::<usize>().ok()?.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("expected a size such as 128KiB, found {text:?}"))
    }
}

/// Bits per second, written `512kbps`, `8Mbps` or `1Gbps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitRate(pub u64);

impl Value for BitRate {
    const KIND: Kind = Kind::Rate;

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim() {
            "bps" => Some(1_u64),
            "kbps" => Some(1_000),
            "Mbps" => Some(1_000_000),
            "Gbps" => Some(1_000_000_000),
            "" if number.parse() == Ok(0) => Some(1),
            _ => None,
        };
        factor
            .and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("expected a bit rate such as 8Mbps, found {text:?}"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Value for LogFormat {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("expected text or json, found {text:?}")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Who may make meetings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMeetings {
    Anyone,
    /// Whoever shows an API key.
    Token,
}

impl Value for CreateMeetings {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "anyone" => Ok(Self::Anyone),
            "token" => Ok(Self::Token),
            _ => Err(format!("expected anyone or token, found {text:?}")),
        }
    }
}

impl Value for CameraCodec {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "vp8" => Ok(Self::Vp8),
            "h264" => Ok(Self::H264),
            "vp9" => Ok(Self::Vp9),
            "av1" => Ok(Self::Av1),
            _ => Err(format!("expected vp8, h264, vp9 or av1, found {text:?}")),
        }
    }
}

/// A scalability mode of WebRTC-SVC (W3C) of up to three spatial and three temporal layers, each size twice the one below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalabilityMode(pub String);

impl Value for ScalabilityMode {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Self, String> {
        let (layers, is_keyed) = match text.strip_suffix("_KEY") {
            Some(layers) => (layers, true),
            None => (text, false),
        };
        match layers.as_bytes() {
            // With one size there is no prediction between sizes to restrict.
            [b'L', spatial @ b'1'..=b'3', b'T', b'1'..=b'3'] if !(is_keyed && *spatial == b'1') => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(format!(
                "expected a scalability mode such as L1T3 or L3T3_KEY, found {text:?}"
            )),
        }
    }
}
