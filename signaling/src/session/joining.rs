//! Who may join, by whichever way the message came.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::control::AudioPolicy;
use tianqiao_protocol::ws::{Join, Joined, MeetingSummary};

use super::SessionKey;
use crate::app::App;
use crate::auth::{Claims, TokenType};
use crate::meeting::Kind;
use crate::meetings::{Attachment, LiveMeeting, MeetingEntry, Offered};
use crate::network::Network;
use crate::refusal::Refusal;

/// When somebody may try again whom the server had no WebSocket for.
const FULL_RETRY: Duration = Duration::from_secs(10);

/// One who has shown a good token.
pub struct Joiner {
    pub live: Arc<LiveMeeting>,
    pub claims: Claims,
    pub ip: IpAddr,
}

impl Joiner {
    pub fn admit(app: &App, ip: IpAddr, token: &str) -> Result<Self, Refusal> {
        let claims = app.tokens.verify(token, TokenType::Join)?;
        let live = app.meetings.find(&claims.meeting)?;
        let reserve = app.config.max_websockets as usize * app.config.reserve_percent as usize / 100;
        if app.websockets.available_permits() < reserve && !live.knows(&claims.sub) {
            let refusal = "the rest is for those who come back";
            return Err(Refusal::busy(ErrorCode::Unavailable, refusal, FULL_RETRY));
        }
        Ok(Self { live, claims, ip })
    }

    /// May be cancelled, see [`LiveMeeting::enter`]. Without a WebSocket the session waits for one as if its own had just been lost.
    pub async fn enter(
        self,
        app: &App,
        message: Join,
        has_websocket: bool,
    ) -> Result<(Joined, Option<Attachment>), Refusal> {
        let offered = Offered {
            sdp: message.sdp,
            tracks: message.tracks,
            slots: message.slots,
        };
        offered.check(&app.config)?;
        let entry = MeetingEntry {
            claims: self.claims,
            kind: Kind::Web,
            has_websocket,
            offered,
            audio: AudioPolicy::Loudest,
            origin: app.origins.of(self.ip),
            network: Network::host(self.ip),
        };
        let live = self.live;
        let entered = live.enter(entry).await?;
        let joined = Joined {
            session: SessionKey::format(&live.id, &entered.participant, &entered.secret),
            participant: entered.participant,
            sdp: entered.sdp,
            meeting: MeetingSummary {
                id: live.id.clone(),
                code: live.code.clone(),
                title: live.title.clone(),
            },
            state: entered.state,
        };
        tracing::info!(room = live.id, session = joined.participant, has_websocket, "joined");
        Ok((joined, entered.attachment))
    }
}
