//! What a joined client asks for: a function per message.

use tianqiao_bus::NodeId;
use tianqiao_protocol::control::{Origin, SfuRequest};
use tianqiao_protocol::ws::{Answer, ClientMessage, EndReason, Offer, ServerMessage};
use tianqiao_protocol::{ErrorCode, ReceiveMode, SlotView, TrackId};

use super::wire::Wire;
use crate::app::App;
use crate::meetings::{Attachment, Offered, check_slots};
use crate::refusal::Refusal;

/// False where the WebSocket is lost.
pub async fn handle(app: &App, wire: &mut Wire, attachment: &Attachment, message: ClientMessage) -> bool {
    let result = match message {
        ClientMessage::Join(_) | ClientMessage::Resume(_) => {
            Err(Refusal::new(ErrorCode::AlreadyJoined, "this WebSocket has joined"))
        }
        ClientMessage::Offer(offer) => return handle_offer(app, wire, attachment, offer).await,
        ClientMessage::Viewport { slots, mode } => handle_viewport(app, attachment, slots, mode).await,
        ClientMessage::Mute { track, muted } => handle_mute(attachment, track, muted).await,
        ClientMessage::Chat { text } => attachment.live.send_chat(&attachment.participant, &text),
        ClientMessage::History { before } => {
            let history = ServerMessage::History {
                chat: attachment.live.chat_page(before),
            };
            return wire.send_charged(&history).await;
        }
        ClientMessage::Ping { t } => return wire.send(&ServerMessage::Pong { t }).await,
        ClientMessage::Moved { number } => attachment.live.on_moved(&attachment.participant, number),
        ClientMessage::Leave => {
            // The queue's end brings `ended` and the close frame.
            attachment.live.leave(&attachment.participant, EndReason::Left);
            Ok(())
        }
    };
    match result {
        Ok(()) => true,
        Err(refusal) => wire.refuse(refusal, None).await,
    }
}

async fn handle_offer(app: &App, wire: &mut Wire, attachment: &Attachment, offer: Offer) -> bool {
    let id = offer.id;
    match renegotiate(app, app.origins.of(wire.ip), attachment, offer).await {
        Ok(answer) => wire.send(&ServerMessage::Answer(answer)).await,
        Err(refusal) => wire.refuse(refusal, Some(id)).await,
    }
}

async fn renegotiate(app: &App, origin: Origin, attachment: &Attachment, offer: Offer) -> Result<Answer, Refusal> {
    let offered = Offered {
        sdp: offer.sdp,
        tracks: offer.tracks,
        slots: offer.slots,
    };
    offered.check(&app.config)?;
    if let Some(number) = offer.move_number {
        let session = &attachment.participant;
        let (sdp, tracks) = attachment.live.open_second(session, number, origin, offered).await?;
        return Ok(Answer {
            id: offer.id,
            sdp,
            tracks,
        });
    }
    let request = SfuRequest::Offer {
        session: attachment.participant.clone(),
        origin,
        sdp: offered.sdp,
        tracks: offered.tracks,
        slots: offered.slots,
    };
    let (sdp, tracks) = attachment.live.renegotiate(&attachment.participant, request).await?;
    Ok(Answer {
        id: offer.id,
        sdp,
        tracks,
    })
}

async fn handle_viewport(
    app: &App,
    attachment: &Attachment,
    slots: Vec<SlotView>,
    mode: ReceiveMode,
) -> Result<(), Refusal> {
    check_slots(&slots, &app.config)?;
    let session = &attachment.participant;
    attachment.live.set_mode(session, mode);
    let request = |_: &NodeId| {
        Some(SfuRequest::Viewport {
            session: session.clone(),
            slots: slots.clone(),
            mode,
        })
    };
    attachment.live.request_all(session, request).await
}

async fn handle_mute(attachment: &Attachment, track: TrackId, muted: bool) -> Result<(), Refusal> {
    let (live, session) = (&attachment.live, &attachment.participant);
    let known = live.tracks_like(session, track);
    if known.is_empty() && !live.has_track(session, track) {
        return Err(Refusal::new(ErrorCode::TrackUnknown, "you publish no such track"));
    }
    let request = |node: &NodeId| {
        let (_, track) = known.iter().find(|(at, _)| at == node)?;
        Some(SfuRequest::Mute {
            session: session.clone(),
            track: *track,
            muted,
        })
    };
    live.request_all(session, request).await?;
    for track in known.iter().map(|(_, track)| *track).chain([track]) {
        live.set_muted(session, track, muted);
    }
    Ok(())
}
