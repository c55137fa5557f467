//! Codecs of a media section: `a=rtpmap`, `a=fmtp` and `a=rtcp-fb`.

use arrayvec::ArrayVec;

use super::reader::{Attributes, Key};
use crate::negotiated::{Codec, Feedback, MAX_CODECS, MediaKind, NegotiatedCodec};
use crate::units::PayloadType;

/// Parameters of an `a=fmtp` that are looked at. Those that matter here are among the first few.
const MAX_PARAMETERS: usize = 32;

/// A codec of the offer that this server forwards, with what the answer says of it.
#[derive(Clone, Debug)]
pub(super) struct OfferedCodec {
    /// `feedback` is what was offered of that which this server knows.
    pub negotiated: NegotiatedCodec,
    pub fmtp: Option<String>,
}

/// What an m-line says of one payload type.
#[derive(Clone, Copy, Default)]
struct Format<'a> {
    name: &'a str,
    clock_rate: &'a str,
    channels: &'a str,
    fmtp: &'a str,
    feedback: Feedback,
}

impl<'a> Format<'a> {
    /// The value of a `name=value` parameter of `a=fmtp`.
    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.fmtp.split(';').take(MAX_PARAMETERS).find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn number(&self, name: &str) -> Option<u8> {
        self.parameter(name)?.parse().ok()
    }
}

/// The codecs of a section that this server forwards, each once, in the order of the m-line's `formats`.
pub(super) fn parse(
    kind: MediaKind,
    formats: &[&str],
    attributes: &Attributes<'_>,
) -> ArrayVec<OfferedCodec, MAX_CODECS> {
    let table = format_table(attributes);
    let offered = payload_types(formats);
    let rtx = rtx_table(&table, &offered);
    let mut codecs = ArrayVec::<OfferedCodec, MAX_CODECS>::new();
    for payload_type in offered {
        let format = &table[usize::from(payload_type)];
        let Some((codec, fmtp)) = recognise(kind, format) else {
            continue;
        };
        let is_new = codecs.iter().all(|other| other.negotiated.codec != codec);
        if is_new {
            codecs.push(OfferedCodec {
                negotiated: NegotiatedCodec {
                    codec,
                    payload_type,
                    rtx: rtx[usize::from(payload_type)],
                    feedback: format.feedback,
                },
                fmtp,
            });
        }
        if codecs.is_full() {
            break;
        }
    }
    drop_red_without_opus(&mut codecs);
    codecs
}

/// The payload types of an m-line, each once: none is looked at as often as it is named.
fn payload_types(formats: &[&str]) -> ArrayVec<PayloadType, 128> {
    let mut seen = [false; 128];
    let numbers = formats.iter().filter_map(|format| payload_type(format));
    numbers
        .filter(|&number| !std::mem::replace(&mut seen[usize::from(number)], true))
        .collect()
}

/// All three attributes by payload type. In an `a=rtcp-fb:*` line the star is every payload type.
fn format_table<'a>(attributes: &Attributes<'a>) -> [Format<'a>; 128] {
    let mut table = [Format::default(); 128];
    for (target, rest) in attributes.all(Key::Rtpmap).iter().filter_map(|value| targeted(value)) {
        if let Some(payload_type) = payload_type(target) {
            let format = &mut table[usize::from(payload_type)];
            let mut parts = rest.split('/');
            format.name = parts.next().unwrap_or("");
            format.clock_rate = parts.next().unwrap_or("");
            format.channels = parts.next().unwrap_or("1");
        }
    }
    for (target, rest) in attributes.all(Key::Fmtp).iter().filter_map(|value| targeted(value)) {
        if let Some(payload_type) = payload_type(target) {
            table[usize::from(payload_type)].fmtp = rest;
        }
    }
    let mut of_all = Feedback::default();
    for (target, rest) in attributes.all(Key::RtcpFb).iter().filter_map(|value| targeted(value)) {
        if target == "*" {
            add_feedback(&mut of_all, rest);
        } else if let Some(payload_type) = payload_type(target) {
            add_feedback(&mut table[usize::from(payload_type)].feedback, rest);
        }
    }
    for format in &mut table {
        format.feedback.nack |= of_all.nack;
        format.feedback.pli |= of_all.pli;
        format.feedback.fir |= of_all.fir;
        format.feedback.transport_cc |= of_all.transport_cc;
        format.feedback.remb |= of_all.remb;
        format.feedback.ccfb |= of_all.ccfb;
    }
    table
}

/// `<payload type or star> <rest>`
fn targeted(value: &str) -> Option<(&str, &str)> {
    let (target, rest) = value.split_once(' ')?;
    Some((target, rest.trim()))
}

fn payload_type(text: &str) -> Option<PayloadType> {
    // `parse` alone would also take "+96".
    let number: u8 = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())??;
    (number < 128).then_some(number)
}

fn add_feedback(feedback: &mut Feedback, value: &str) {
    match value {
        "nack" => feedback.nack = true,
        "nack pli" => feedback.pli = true,
        "ccm fir" => feedback.fir = true,
        "transport-cc" => feedback.transport_cc = true,
        "goog-remb" => feedback.remb = true,
        "ack ccfb" => feedback.ccfb = true,
        _ => {}
    }
}

/// The RTX payload type of each payload type (RFC 4588, `apt`), the first that names it.
fn rtx_table(table: &[Format<'_>; 128], offered: &[PayloadType]) -> [Option<PayloadType>; 128] {
    let mut rtx = [None; 128];
    for &payload_type in offered {
        let format = &table[usize::from(payload_type)];
        if format.name.eq_ignore_ascii_case("rtx")
            && let Some(apt) = format.number("apt").filter(|&apt| apt < 128)
        {
            rtx[usize::from(apt)].get_or_insert(payload_type);
        }
    }
    rtx
}

/// Our name of a codec and the `a=fmtp` that the answer gives it.
fn recognise(kind: MediaKind, format: &Format<'_>) -> Option<(Codec, Option<String>)> {
    let recognised = match format.name.to_ascii_lowercase().as_str() {
        "opus" if format.channels == "2" => (Codec::Opus, Some(opus_fmtp(format))),
        "red" if format.channels == "2" => (Codec::Red, Some(red_fmtp(format)?)),
        "vp8" => (Codec::Vp8, None),
        "vp9" => {
            // RFC 9628, section 6: profile 0 where nothing is said.
            let offered = format.number("profile-id");
            let profile = offered.unwrap_or(0);
            (Codec::Vp9 { profile }, offered.map(|id| format!("profile-id={id}")))
        }
        "h264" => h264(format)?,
        "av1" => av1(format),
        _ => return None,
    };
    let codec = recognised.0;
    (codec.kind() == kind && format.clock_rate.parse() == Ok(codec.clock_rate())).then_some(recognised)
}

/// RFC 7587, section 6.1. FEC and DTX are asked for: the one costs little, the other saves much.
fn opus_fmtp(format: &Format<'_>) -> String {
    let mut fmtp = match format.number("minptime") {
        Some(minptime) => format!("minptime={minptime};useinbandfec=1"),
        None => "useinbandfec=1".to_owned(),
    };
    if format.parameter("usedtx") == Some("1") {
        fmtp.push_str(";usedtx=1");
    }
    fmtp
}

/// RFC 6184, section 8.1; only packetization mode 1.
fn h264(format: &Format<'_>) -> Option<(Codec, Option<String>)> {
    if format.number("packetization-mode") != Some(1) {
        return None;
    }
    // Absent is Baseline level 1 by the RFC, but those who leave it out send Constrained Baseline.
    let id = format.parameter("profile-level-id").unwrap_or("42e01f");
    if id.len() != 6 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let profile = h264_profile(u32::from_str_radix(id, 16).ok()?)?;
    let asymmetry = match format.parameter("level-asymmetry-allowed") {
        Some("1") => "level-asymmetry-allowed=1;",
        _ => "",
    };
    let fmtp = format!("{asymmetry}packetization-mode=1;profile-level-id={id}");
    Some((Codec::H264 { profile }, Some(fmtp)))
}

/// profile_idc and profile-iop, one value for all spellings of a profile (RFC 6184, table 5).
fn h264_profile(profile_level_id: u32) -> Option<u16> {
    let [_, idc, iop, _level] = profile_level_id.to_be_bytes();
    Some(match idc {
        0x42 if iop & 0x40 != 0 => 0x42e0,
        0x42 => 0x4200,
        0x4d if iop & 0x80 != 0 => 0x42e0,
        0x4d => 0x4d00,
        0x64 if iop & 0x0c == 0x0c => 0x640c,
        0x64 => 0x6400,
        _ => return None,
    })
}

/// AV1 RTP payload format, section 7.2.
fn av1(format: &Format<'_>) -> (Codec, Option<String>) {
    let parameters: Vec<String> = ["level-idx", "profile", "tier"]
        .iter()
        .filter_map(|name| format.number(name).map(|value| format!("{name}={value}")))
        .collect();
    let profile = format.number("profile").unwrap_or(0);
    (
        Codec::Av1 { profile },
        (!parameters.is_empty()).then(|| parameters.join(";")),
    )
}

/// RFC 2198, section 5: `111/111`, with all blocks of one payload type.
fn red_fmtp(format: &Format<'_>) -> Option<String> {
    let (primary, _) = format.fmtp.split_once('/')?;
    payload_type(primary)?;
    let is_uniform = format.fmtp.split('/').all(|block| block == primary);
    is_uniform.then(|| format!("{primary}/{primary}"))
}

/// Keeps RED only around the Opus of the same section.
fn drop_red_without_opus(codecs: &mut ArrayVec<OfferedCodec, MAX_CODECS>) {
    let around_opus = codecs
        .iter()
        .map(|codec| &codec.negotiated)
        .find(|negotiated| negotiated.codec == Codec::Opus)
        .map(|negotiated| format!("{0}/{0}", negotiated.payload_type));
    codecs.retain(|codec| codec.negotiated.codec != Codec::Red || codec.fmtp == around_opus);
}

/// The encoding of `a=rtpmap`.
pub(super) fn rtpmap(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus/48000/2",
        Codec::Red => "red/48000/2",
        Codec::Vp8 => "VP8/90000",
        Codec::Vp9 { .. } => "VP9/90000",
        Codec::H264 { .. } => "H264/90000",
        Codec::Av1 { .. } => "AV1/90000",
    }
}
