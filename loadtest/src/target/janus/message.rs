//! Messages of Janus' API over WebSocket (subprotocol `janus-protocol`), as far as the videoroom
//! plugin needs them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A session description with its kind.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Jsep {
    #[serde(rename = "type")]
    pub kind: JsepKind,
    pub sdp: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JsepKind {
    Offer,
    Answer,
}

/// Whatever Janus sends.
#[derive(Clone, Debug, Deserialize)]
pub struct Incoming {
    pub janus: String,
    pub transaction: Option<String>,
    /// The handle that an event is of.
    pub sender: Option<u64>,
    data: Option<Created>,
    plugindata: Option<PluginData>,
    pub jsep: Option<Jsep>,
    error: Option<ErrorInfo>,
    /// Why a peer connection was hung up.
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Created {
    id: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct PluginData {
    data: Value,
}

#[derive(Clone, Debug, Deserialize)]
struct ErrorInfo {
    code: i64,
    reason: String,
}

/// A request that Janus or its plugin refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JanusError {
    pub code: i64,
    pub reason: String,
}

impl fmt::Display for JanusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Janus refuses ({}): {}", self.code, self.reason)
    }
}

impl std::error::Error for JanusError {}

/// The end of a request: what it made, what the plugin says and the description with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Id of the session or handle that was created.
    pub created: Option<u64>,
    pub data: Value,
    pub jsep: Option<Jsep>,
}

impl Incoming {
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Whether this only says that the reply will come.
    pub fn is_ack(&self) -> bool {
        self.janus == "ack"
    }

    /// The errors of Janus and those that a plugin puts into its data.
    pub fn into_reply(self) -> Result<Reply, JanusError> {
        if let Some(ErrorInfo { code, reason }) = self.error {
            return Err(JanusError { code, reason });
        }
        let data = self.plugindata.map(|plugin| plugin.data).unwrap_or_default();
        if let Some(code) = data["error_code"].as_i64() {
            let reason = data["error"].as_str().unwrap_or("no reason given").to_owned();
            return Err(JanusError { code, reason });
        }
        Ok(Reply {
            created: self.data.map(|data| data.id),
            data,
            jsep: self.jsep,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Result<Reply, JanusError> {
        Incoming::parse(text).unwrap().into_reply()
    }

    #[test]
    fn replies_of_janus_1_1_parse() {
        let created = r#"{"janus":"success","transaction":"1","data":{"id":5264843402451077}}"#;
        assert_eq!(reply(created).unwrap().created, Some(5_264_843_402_451_077));
        let joined = r#"{"janus":"event","session_id":1,"transaction":"4","sender":7,"plugindata":{
            "plugin":"janus.plugin.videoroom","data":{"videoroom":"joined","room":9,"id":42,"publishers":[]}},
            "jsep":{"type":"answer","sdp":"v=0\r\n"}}"#;
        let message = Incoming::parse(joined).unwrap();
        assert_eq!((message.sender, message.is_ack()), (Some(7), false));
        let joined = message.into_reply().unwrap();
        assert_eq!(joined.data["id"], 42);
        let answer = Jsep {
            kind: JsepKind::Answer,
            sdp: "v=0\r\n".to_owned(),
        };
        assert_eq!(joined.jsep, Some(answer));
        let ack = r#"{"janus":"ack","session_id":1,"transaction":"4"}"#;
        assert!(Incoming::parse(ack).unwrap().is_ack());
    }

    #[test]
    fn errors_of_janus_and_of_the_plugin_are_told_in_full() {
        let core = r#"{"janus":"error","transaction":"2","error":{"code":458,"reason":"No such session 5"}}"#;
        assert_eq!(
            reply(core).unwrap_err().to_string(),
            "Janus refuses (458): No such session 5"
        );
        let plugin = r#"{"janus":"event","plugindata":{"plugin":"janus.plugin.videoroom",
            "data":{"videoroom":"event","error_code":428,"error":"No such feed (3)"}}}"#;
        let error = JanusError {
            code: 428,
            reason: "No such feed (3)".to_owned(),
        };
        assert_eq!(reply(plugin).unwrap_err(), error);
        assert!(Incoming::parse("[]").is_err());
    }

    #[test]
    fn a_hangup_has_its_reason() {
        let hangup = r#"{"janus":"hangup","session_id":1,"sender":7,"reason":"ICE failed"}"#;
        let hangup = Incoming::parse(hangup).unwrap();
        assert_eq!((hangup.sender, hangup.reason.as_deref()), (Some(7), Some("ICE failed")));
    }
}
