//! The second session of a participant that moves: opened on another node, answered to the client's offer.

use tianqiao_protocol::control::{AudioPolicy, OpenSession, Origin, SfuReply, SfuRequest};
use tianqiao_protocol::{ErrorCode, ReceiveMode, TrackInfo};

use super::admission::Offered;
use super::live::LiveMeeting;
use super::now;
use crate::refusal::Refusal;

impl LiveMeeting {
    /// Answers an offer of a second connection, which the move of that number asked for.
    pub async fn open_second(
        &self,
        session: &str,
        number: u32,
        origin: Origin,
        offered: Offered,
    ) -> Result<(String, Vec<TrackInfo>), Refusal> {
        let target = self.with_meeting(|meeting| meeting.begin_move(session, number))?;
        let mut nodes = self.node_counts();
        for node in &target.but {
            nodes.remove(node);
        }
        let places = &self.meetings.nodes;
        let place = places.reserve(&nodes, &target.but, target.to.as_ref());
        // Where it failed before is better than nowhere.
        let place = place.or_else(|| places.reserve(&nodes, &target.but[..target.but.len().min(1)], None));
        let Some(place) = place else {
            self.with_meeting(|meeting| meeting.on_second_failed(now(), session, number));
            return Err(no_place());
        };
        let node = place.node.clone();
        if let Some(before) = target.replaces {
            let close = SfuRequest::Close {
                session: session.to_owned(),
            };
            let _ = self.ask(&before, close).await;
        }
        if !self.with_meeting(|meeting| meeting.open_second(now(), session, number, node.clone())) {
            return Err(Refusal::new(ErrorCode::Unavailable, "the move is over"));
        }
        self.mark_changed();
        let mut opening = Opening {
            live: self,
            session,
            number,
            is_done: false,
        };
        let slots_offered = offered.slots.clone();
        let open = SfuRequest::Open(OpenSession {
            room: self.id.clone(),
            session: session.to_owned(),
            origin,
            sdp: offered.sdp,
            tracks: offered.tracks,
            slots: offered.slots,
            audio: AudioPolicy::Loudest,
            identity: target.identity,
            memo: target.memo,
        });
        let SfuReply::Answered { sdp, tracks, slots } = self.ask(&node, open).await? else {
            return Err(Refusal::new(
                ErrorCode::Internal,
                "the media server answered something else",
            ));
        };
        place.opened();
        opening.is_done = true;
        drop(opening);
        if target.mode != ReceiveMode::Full {
            let viewport = SfuRequest::Viewport {
                session: session.to_owned(),
                slots: slots_offered,
                mode: target.mode,
            };
            let _ = self.ask(&node, viewport).await;
        }
        self.with_meeting(|meeting| meeting.on_second_answered(now(), session, number, &node, tracks.clone(), slots))?;
        Ok((sdp, tracks))
    }
}

pub(super) fn no_place() -> Refusal {
    Refusal::busy(
        ErrorCode::Unavailable,
        "no media server has a place",
        std::time::Duration::from_secs(1),
    )
}

/// A session that is being opened, whose move has failed unless it gets there.
struct Opening<'a> {
    live: &'a LiveMeeting,
    session: &'a str,
    number: u32,
    is_done: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            let (session, number) = (self.session, self.number);
            self.live
                .with_meeting(|meeting| meeting.on_second_failed(now(), session, number));
        }
    }
}
