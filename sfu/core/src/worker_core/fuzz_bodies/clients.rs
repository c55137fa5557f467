//! The room's clients: what each negotiated, and its keys.

use arrayvec::ArrayVec;
use rustc_hash::FxHashMap;

use super::input::Input;
use crate::negotiated::{
    Codec, DtlsRole, ExtensionIds, Feedback, Fingerprint, FingerprintAlgorithm, IceCredentials, MediaKind, Negotiated,
    NegotiatedCodec, NegotiatedMedia, ReceiveMedia, SendMedia,
};
use crate::transport::srtp::{MasterKey, Outbound, Profile};
use crate::transport::ufrag;
use crate::units::{ConnectionId, ExtendedSeq, Mid, Rid, Ssrc, TrackId, WorkerIndex};
use crate::worker_api::{OpenConnection, PublishedTrack};

pub const CLIENTS: usize = 3;
/// Sections on which a client sends; the slots come behind them.
pub const SENDS: usize = 2;
pub const SLOTS: usize = 3;
pub const SECTIONS: usize = SENDS + SLOTS;
pub const OPUS: u8 = 111;
pub const RED: u8 = 63;
pub const PAYLOAD_TYPES: [u8; 8] = [96, 97, 98, 99, 100, 102, OPUS, RED];

pub struct Client {
    pub worker: usize,
    pub connection: ConnectionId,
    pub local: IceCredentials,
    pub outbound: Outbound,
    pub is_open: bool,
    /// The newest number of each stream that it sends.
    pub numbers: FxHashMap<u32, ExtendedSeq>,
}

impl Client {
    pub fn new(index: usize, generation: u32) -> Self {
        let worker = usize::from(index == 2);
        let connection = ConnectionId(index as u32 + CLIENTS as u32 * generation);
        let local = ufrag::generate(WorkerIndex(worker as u8), connection);
        let [of_client, _] = keys();
        Self {
            worker,
            connection,
            local,
            outbound: Outbound::new(&of_client),
            is_open: true,
            numbers: FxHashMap::default(),
        }
    }

    pub fn open(&self, index: usize) -> OpenConnection {
        let media = (0..SECTIONS).map(|section| media(index, section, section, 0)).collect();
        OpenConnection {
            connection: self.connection,
            local_ice: self.local.clone(),
            negotiated: negotiated(media),
            tracks: tracks(index),
        }
    }
}

/// Of the client and of the server.
pub fn keys() -> [MasterKey; 2] {
    [1, 2].map(|byte| {
        let profile = Profile::AeadAes128Gcm;
        let (key, salt) = ([byte; 32], [byte; 14]);
        let key = MasterKey::new(profile, &key[..profile.key_len()], &salt[..profile.salt_len()]);
        key.expect("as long as the profile says")
    })
}

pub fn remote_ice() -> IceCredentials {
    IceCredentials {
        ufrag: "them".into(),
        pwd: "a-password-of-22-chars".into(),
    }
}

pub fn track(client: usize, section: usize) -> TrackId {
    TrackId(100 * client as u32 + section as u32)
}

pub fn owner(track: u32) -> usize {
    track as usize / 100
}

pub fn tracks(client: usize) -> Vec<PublishedTrack> {
    let published = |section| PublishedTrack {
        mid: mid(section),
        track: track(client, section),
        screen: false,
        // One client has only a low voice.
        voice_layer: u8::from(client == 1 && section == 1),
    };
    (0..SENDS).map(published).collect()
}

pub fn mid(section: usize) -> Mid {
    Mid::from(&section.to_string()).expect("short")
}

/// SSRC of what a client sends: of its camera's layers, their RTX, its microphone, and a few of nobody.
pub fn ssrc(client: usize, number: usize) -> u32 {
    1_000 * (client as u32 + 1) + number as u32 % 12
}

/// SSRC of a slot, by the index that the answerer gave it.
pub fn slot_ssrc(index: usize) -> u32 {
    100_000 + 2 * index as u32
}

pub fn negotiated(media: Vec<NegotiatedMedia>) -> Negotiated {
    Negotiated {
        remote_ice: remote_ice(),
        remote_fingerprint: Fingerprint {
            algorithm: FingerprintAlgorithm::Sha256,
            digest: vec![0; 32],
        },
        dtls_role: DtlsRole::Passive,
        media,
    }
}

/// Section `shape` of a client, under the mid of `named`.
pub fn media(client: usize, shape: usize, named: usize, flavour: u8) -> NegotiatedMedia {
    let is_audio = shape == 1 || shape == 2;
    let codecs: &[(Codec, u8, Option<u8>)] = if is_audio {
        &[(Codec::Opus, OPUS, None), (Codec::Red, RED, None)]
    } else {
        &[
            (Codec::Vp8, 96, Some(97)),
            (Codec::H264 { profile: 0x42e0 }, 98, Some(99)),
            (Codec::Vp9 { profile: 0 }, 100, None),
            (Codec::Av1 { profile: 0 }, 102, None),
        ]
    };
    let receive = (shape < SENDS).then(|| {
        let simulcast = !is_audio && (client == 0) == (flavour & 1 == 0);
        let rids: &[&str] = if simulcast { &["a", "b", "c"] } else { &[] };
        let declared = (
            Ssrc(ssrc(client, if is_audio { 6 } else { 0 })),
            (!is_audio).then(|| Ssrc(ssrc(client, 3))),
        );
        ReceiveMedia {
            ssrcs: if simulcast {
                ArrayVec::new()
            } else {
                std::iter::once(declared).collect()
            },
            rids: rids.iter().map(|rid| Rid::from(rid).expect("short")).collect(),
        }
    });
    let send = (shape >= SENDS).then(|| SendMedia {
        ssrc: Ssrc(slot_ssrc(named)),
        rtx_ssrc: Ssrc(slot_ssrc(named) + 1),
    });
    NegotiatedMedia {
        mid: mid(named),
        kind: if is_audio { MediaKind::Audio } else { MediaKind::Video },
        codecs: codecs.iter().map(|&codec| negotiated_codec(codec, flavour)).collect(),
        extensions: ExtensionIds {
            mid: Some(1),
            rid: Some(2),
            repaired_rid: Some(3),
            audio_level: Some(4),
            abs_send_time: Some(8),
            transport_cc: Some(5),
            video_orientation: Some(6),
            dependency_descriptor: Some(7),
        },
        receive,
        send,
        reduced_size_rtcp: flavour & 2 == 0,
    }
}

fn negotiated_codec((codec, payload_type, rtx): (Codec, u8, Option<u8>), flavour: u8) -> NegotiatedCodec {
    NegotiatedCodec {
        codec,
        payload_type,
        rtx: rtx.filter(|_| flavour & 4 == 0),
        feedback: Feedback {
            nack: flavour & 8 == 0,
            pli: flavour & 16 == 0,
            fir: flavour & 32 != 0,
            transport_cc: flavour & 64 == 0,
            remb: flavour & 64 != 0,
            ccfb: flavour & 128 != 0,
        },
    }
}

/// An RTP packet with fields that mean something, and the length of its header.
pub fn rtp(client: usize, numbers: &FxHashMap<u32, ExtendedSeq>, input: &mut Input<'_>) -> Vec<u8> {
    let ssrc = ssrc(client, input.index(16));
    let before = numbers.get(&ssrc).map_or(0, |seq| seq.truncate());
    let step = match input.u8() {
        255 => input.u16(),
        small => u16::from(small & 0x0f).wrapping_sub(3),
    };
    let flags = input.u8();
    let payload_type = PAYLOAD_TYPES[usize::from(flags) % PAYLOAD_TYPES.len()];
    let mut packet = vec![0x80, payload_type | flags & 0x80];
    let seq = before.wrapping_add(step);
    packet.extend(seq.to_be_bytes());
    let is_voice = matches!(payload_type, OPUS | RED);
    let timestamp = match is_voice {
        true => 960 * u32::from(seq),
        false => input.u32(),
    };
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    if flags & 0x40 != 0 {
        packet[0] |= 0x10;
        let rid = [b'a' + input.u8() % 4];
        let extra = input.u16().to_be_bytes();
        let mid = mid(input.index(SECTIONS));
        let mut elements = vec![
            0x10,
            mid.as_bytes()[0],
            0x20,
            rid[0],
            0x40,
            extra[0],
            0x51,
            extra[0],
            extra[1],
        ];
        if flags & 0x20 != 0 {
            elements.extend([0x30, rid[0]]);
        }
        elements.resize(elements.len().next_multiple_of(4), 0);
        packet.extend([0xbe, 0xde, 0, (elements.len() / 4) as u8]);
        packet.extend(elements);
    }
    if flags & 0x10 != 0 {
        // A key frame of VP8 begins.
        packet.extend([0x90, 0xe0, 0x80, 1, 1, 0x20, 0x10, 0, 0, 0x9d, 1, 0x2a, 64, 1, 180, 0]);
    }
    if payload_type == RED && flags & 0x20 != 0 {
        // Up to five earlier frames of the length of 20 ms.
        let earlier = u32::from(input.u8() % 6);
        for age in (1..=earlier).rev() {
            packet.extend((0x8000_0000 | u32::from(OPUS) << 24 | (age * 960) << 10 | 2).to_be_bytes());
        }
        packet.push(OPUS);
        for _ in 0..earlier {
            packet.extend([0x48, input.u8()]);
        }
    }
    packet.extend(input.bytes());
    packet
}
