//! The TypeScript of the wire types, one module for the web client.

use std::fmt::Write;

use ts_rs::{Config, TS};

use crate::{error, media, proof, rest, ws};

/// Where the generated module is checked in, from the root of the repository.
pub const PATH: &str = "web-client/src/protocol/index.ts";

/// The whole module.
pub fn module() -> String {
    let mut text = String::from(
        "// Generated from signaling/protocol by `cargo run -p tianqiao-protocol --example generate-typescript`.\n\
         // A test of that crate fails where this file differs; do not edit.\n\n",
    );
    writeln!(text, "export const SUBPROTOCOL = {:?};\n", ws::SUBPROTOCOL).expect("a String takes every write");
    writeln!(text, "export const PROOF_HEADER = {:?};\n", proof::HEADER).expect("a String takes every write");
    macro_rules! declare {
        ($($type:ty),* $(,)?) => { $(declaration::<$type>(&mut text);)* };
    }
    declare![
        error::ErrorCode,
        error::ErrorBody,
        proof::ProofOfWork,
        media::MediaKind,
        media::TrackSource,
        media::TrackDeclaration,
        media::CameraEncoding,
        media::CameraCodec,
        media::TrackInfo,
        media::SlotTarget,
        media::SlotView,
        media::ReceiveMode,
        media::LinkQuality,
        media::QualityGrade,
        media::QualityCause,
        media::SlotState,
        media::SlotPause,
        media::UnsupportedSlot,
        media::WantedTrack,
        media::WantedLayer,
        rest::CreateMeeting,
        rest::CreatedMeeting,
        rest::MeetingInfo,
        rest::CreateToken,
        rest::StillTaken,
        rest::JoinToken,
        rest::JoinMeeting,
        rest::JoinedMeeting,
        ws::ClientMessage,
        ws::Join,
        ws::Resume,
        ws::Offer,
        ws::ServerMessage,
        ws::Joined,
        ws::Resumed,
        ws::MeetingSummary,
        ws::RoomState,
        ws::Participant,
        ws::Still,
        ws::ParticipantQuality,
        ws::Speakers,
        ws::Answer,
        ws::ChatLine,
        ws::WsError,
        ws::EndReason,
    ];
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

fn declaration<T: TS>(text: &mut String) {
    let config = Config::new().with_large_int("number");
    if let Some(docs) = T::docs() {
        text.push_str(&docs);
    }
    writeln!(text, "export {}\n", T::decl(&config)).expect("a String takes every write");
}
