//! What travels over NATS: JSON, deflated where it is large. Fields and kinds that a version does not know are passed
//! over or refused, never guessed: processes of two versions share the bus while a fleet is renewed.

use std::fmt::Write as _;
use std::io::{Read, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tianqiao_protocol::control::{Owner, SfuError, SfuEvent, SfuReply, SfuRequest};
use tianqiao_protocol::error::ErrorCode;

use crate::NodeId;

/// Told in each message, for those who come later.
pub(super) const VERSION: u32 = 1;

/// Longer messages are deflated: the state of a large room would be near the servers' limit of 1 MB, while one SDP is
/// not worth the time.
const DEFLATE_FROM: usize = 128 * 1024;
/// What a message may be when it is inflated.
const MAX_INFLATED: u64 = 32 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Envelope<R = SfuRequest> {
    #[serde(default)]
    pub v: u32,
    /// Random; one request that comes twice has one.
    pub id: u64,
    pub owner: Owner,
    pub request: R,
}

/// All that is needed to refuse a request.
#[derive(Debug, Deserialize)]
pub(super) struct EnvelopeHead {
    pub id: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    #[serde(default)]
    pub v: u32,
    pub id: u64,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Reply(SfuReply),
    Error(Refusal),
    /// The node dropped the request.
    Gone(bool),
    Overloaded(bool),
}

/// [`SfuError`] whose code may be of a later version.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    code: serde_json::Value,
    #[serde(default)]
    message: String,
}

impl From<SfuError> for Refusal {
    fn from(error: SfuError) -> Self {
        Self {
            code: serde_json::to_value(error.code).unwrap_or_default(),
            message: error.message,
        }
    }
}

impl From<Refusal> for SfuError {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: serde_json::from_value(refusal.code).unwrap_or(ErrorCode::Internal),
            message: refusal.message,
        }
    }
}

/// An event in a node's stream to one instance, or only how far the stream is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EventMessage<E = SfuEvent> {
    #[serde(default)]
    pub v: u32,
    pub node: NodeId,
    /// Random, of the node's process.
    pub stream: u64,
    /// Of the last event in the stream, which is this one where there is one; the first has 1.
    pub seq: u64,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub event: Option<E>,
}

fn none<E>() -> Option<E> {
    None
}

pub(super) fn encode(message: &impl Serialize) -> serde_json::Result<Bytes> {
    let json = serde_json::to_vec(message)?;
    if json.len() < DEFLATE_FROM {
        return Ok(json.into());
    }
    let mut deflated = ZlibEncoder::new(Vec::with_capacity(json.len() / 4), Compression::fast());
    let done = deflated.write_all(&json).and_then(|()| deflated.finish());
    Ok(done.map_err(serde_json::Error::io)?.into())
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> serde_json::Result<T> {
    // No JSON object begins as zlib does.
    if payload.first() != Some(&0x78) {
        return serde_json::from_slice(payload);
    }
    let mut json = Vec::new();
    ZlibDecoder::new(payload)
        .take(MAX_INFLATED)
        .read_to_end(&mut json)
        .map_err(serde_json::Error::io)?;
    serde_json::from_slice(&json)
}

/// A name as one token of a subject.
pub(super) fn token(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            true => token.push(byte.into()),
            false => drop(write!(token, "={byte:02x}")),
        }
    }
    match token.is_empty() {
        true => "=".to_owned(),
        false => token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tianqiao_protocol::fleet::NodeReport;

    fn decode_json<T: DeserializeOwned>(json: serde_json::Value) -> serde_json::Result<T> {
        decode(json.to_string().as_bytes())
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over() {
        let envelope: Envelope = decode_json(json!({
            "v": 2, "id": 7, "trace": "x", "owner": {"instance": "i", "epoch": 3, "since": 1},
            "request": {"request": "close", "session": "s", "softly": true},
        }))
        .expect("understood");
        assert_eq!(envelope.request, SfuRequest::Close { session: "s".into() });
        assert_eq!(envelope.owner.epoch, 3);

        let reply: Reply =
            decode_json(json!({"v": 2, "id": 7, "took": 1, "reply": {"reply": "done", "at": 5}})).expect("understood");
        assert!(matches!(reply.outcome, Outcome::Reply(SfuReply::Done)));

        let event: EventMessage = decode_json(json!({
            "v": 2, "node": "n", "stream": 1, "seq": 2, "new": {},
            "event": {"event": "connected", "session": "s", "over": "tcp"},
        }))
        .expect("understood");
        assert_eq!(event.event, Some(SfuEvent::Connected { session: "s".into() }));

        let report: NodeReport =
            decode_json(json!({"node": "n", "mood": "good", "load": {"sessions": 3, "heat": 2}})).expect("understood");
        assert_eq!((report.node.as_str(), report.load.sessions), ("n", 3));
    }

    #[test]
    fn missing_versions_are_of_the_first() {
        let reply: Reply = decode_json(json!({"id": 7, "gone": true})).expect("understood");
        assert!(matches!((reply.v, reply.outcome), (0, Outcome::Gone(true))));
    }

    #[test]
    fn an_unknown_request_still_has_a_head_and_an_unknown_event_a_place() {
        let request = json!({"v": 2, "id": 7, "owner": {"instance": "i", "epoch": 3}, "request": {"request": "dance"}});
        assert!(decode_json::<Envelope>(request.clone()).is_err());
        assert_eq!(decode_json::<EnvelopeHead>(request).expect("a head").id, 7);

        let event = json!({"node": "n", "stream": 1, "seq": 2, "event": {"event": "danced"}});
        assert!(decode_json::<EventMessage>(event.clone()).is_err());
        let event: EventMessage<serde::de::IgnoredAny> = decode_json(event).expect("a place");
        assert!(event.event.is_some());
    }

    #[test]
    fn an_unknown_error_code_is_an_internal_error() {
        let reply: Reply =
            decode_json(json!({"id": 7, "error": {"code": "too_loud", "message": "hush"}})).expect("understood");
        let Outcome::Error(refusal) = reply.outcome else {
            panic!("an error")
        };
        let error = SfuError::from(refusal);
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::Internal, "hush"));
    }

    #[test]
    fn what_is_large_travels_small() {
        let big = Envelope {
            v: VERSION,
            id: 1,
            owner: Owner {
                instance: "i".into(),
                epoch: 1,
            },
            request: SfuRequest::Close {
                session: "s".repeat(2 * 1024 * 1024),
            },
        };
        let payload = encode(&big).expect("it can be");
        assert!(payload.len() < 100_000, "{}", payload.len());
        let back: Envelope = decode(&payload).expect("it comes back");
        assert_eq!(back.request, big.request);
        assert!(decode::<Envelope>(&payload[..payload.len() / 2]).is_err());
    }

    #[test]
    fn any_name_is_one_token() {
        assert_eq!(token("sfu-1_a"), "sfu-1_a");
        assert_eq!(token("a.b *>="), "a=2eb=20=2a=3e=3d");
        assert_eq!(token(""), "=");
        assert_ne!(token("北"), token("京"));
    }
}
