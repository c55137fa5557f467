//! Bodies of `/api/v1`. Errors are [`crate::ErrorBody`] with the status of its code.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::media::{CameraEncoding, SlotView, TrackDeclaration};
use crate::ws::Joined;

/// `POST /api/v1/meetings` → 201 [`CreatedMeeting`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct CreateMeeting {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub passcode: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CreatedMeeting {
    /// Opaque, not guessable.
    pub id: String,
    /// Nine digits for people and telephones.
    pub code: String,
    /// `<origin>/m/<code>`
    pub join_url: String,
    /// Bearer token for `DELETE /api/v1/meetings/{id}`.
    pub host_token: String,
}

/// `GET /api/v1/meetings/{id-or-code}` → 200. Strangers learn that it is there, whether it has a passcode and
/// what is asked of cameras, so that a page makes its offer before anybody joins; the rest is for who has a join token for it, as `Authorization: Bearer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct MeetingInfo {
    pub code: String,
    pub passcode_required: bool,
    pub camera: CameraEncoding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub participants: Option<u32>,
}

/// `POST /api/v1/meetings/{id-or-code}/tokens` → 201 [`JoinToken`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub passcode: Option<String>,
}

/// `PUT /api/v1/meetings/{id-or-code}/stills/{track}` → 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StillTaken {
    /// A next still of so many bytes is there within seconds also on the weakest of the links that wait for it.
    pub next_bytes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct JoinToken {
    /// A JWT (HS256).
    pub token: String,
}

/// `POST /api/v1/meetings/{id-or-code}/join` → 201 [`JoinedMeeting`]. Who joins says it by a token, or by a name and what else
/// [`CreateToken`] takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct JoinMeeting {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub passcode: Option<String>,
    pub sdp: String,
    #[serde(default)]
    pub tracks: Vec<TrackDeclaration>,
    #[serde(default)]
    pub slots: Vec<SlotView>,
}

/// What [`crate::ws::ServerMessage::Joined`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct JoinedMeeting {
    /// With which the same person comes again, for who has given a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub token: Option<String>,
    #[serde(flatten)]
    pub joined: Joined,
}

/// A media server as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetNode {
    pub node: crate::fleet::NodeId,
    /// Within two seconds.
    pub answers: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<crate::fleet::NodeReport>,
}

/// A room on one of its media servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRoom {
    pub node: crate::fleet::NodeId,
    #[serde(flatten)]
    pub load: crate::control::RoomLoad,
}
