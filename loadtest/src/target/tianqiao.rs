//! A meeting on our own server.

use anyhow::{Context, Result};
use tianqiao_protocol::rest::{CreateMeeting, CreateToken, CreatedMeeting};
use tianqiao_protocol::{SlotTarget, TrackSource};

use super::room::{Feed, MemberConfig};
use crate::client::{JoinConfig, MediaSink, Participant, Server};

pub struct Meeting {
    pub server: Server,
    access: Access,
}

enum Access {
    Token(String),
    Meeting(CreatedMeeting),
}

impl Meeting {
    /// The meeting of `token`, or a new one.
    pub async fn open(server: Server, token: Option<String>) -> Result<Self> {
        let access = match token {
            Some(token) => Access::Token(token),
            None => {
                let request = CreateMeeting {
                    title: Some("Load test".to_owned()),
                    passcode: None,
                };
                let meeting = server.create_meeting(&request).await;
                Access::Meeting(meeting.context("no meeting could be created")?)
            }
        };
        Ok(Self { server, access })
    }

    /// Where people would go; `None` where only a token is known.
    pub fn join_url(&self) -> Option<&str> {
        match &self.access {
            Access::Token(_) => None,
            Access::Meeting(meeting) => Some(&meeting.join_url),
        }
    }

    /// A token for one more participant.
    pub async fn token(&self, name: &str) -> Result<String> {
        match &self.access {
            Access::Token(token) => Ok(token.clone()),
            Access::Meeting(meeting) => {
                let request = CreateToken {
                    name: name.to_owned(),
                    passcode: None,
                };
                self.server.join_token(&meeting.id, &request).await
            }
        }
    }

    pub async fn join(&self, name: &str, config: &MemberConfig, sink: Box<dyn MediaSink>) -> Result<MeetingMember> {
        let token = self.token(name).await?;
        let join = JoinConfig {
            clients: config.clients.clone(),
            peer: config.peer.clone(),
            targets: cameras(&config.watch),
            height: config.height,
            relay: config.relay,
        };
        let participant = Participant::join(&self.server, &token, &join, sink).await?;
        Ok(MeetingMember {
            feed: Feed(participant.id().to_owned()),
            height: config.height,
            participant,
        })
    }
}

pub struct MeetingMember {
    pub participant: Participant,
    pub feed: Feed,
    height: u16,
}

impl MeetingMember {
    /// Shows the cameras in the slots that were offered.
    pub fn watch(&mut self, feeds: &[Feed]) {
        self.participant.set_viewport(&cameras(feeds), self.height);
    }
}

fn cameras(feeds: &[Feed]) -> Vec<SlotTarget> {
    let camera = |Feed(participant): &Feed| SlotTarget::Source {
        participant: participant.clone(),
        source: TrackSource::Camera,
    };
    feeds.iter().map(camera).collect()
}
