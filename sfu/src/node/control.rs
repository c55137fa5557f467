//! The one task that owns the node's [`Rooms`]: requests from the bus and events from the workers in,
//! commands to the workers and events to the bus out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tianqiao_bus::{Bus, Call, NodeEvent};
use tianqiao_protocol::control::{self as protocol, Owner, SfuError, SfuReply, SfuRequest};
use tianqiao_protocol::fleet::{NodeLoad, NodeReport};
use tianqiao_sfu_core::negotiated::{IceCredentials, Negotiated};
use tianqiao_sfu_core::rooms::{
    OpenSession, Reoffer, Rooms, RoomsEvent, RoomsOutput, Seat, SessionState, TrackDeclaration, TrackSource,
};
use tianqiao_sfu_core::sdp::{Answered, Offer};
use tianqiao_sfu_core::units::{Mid, TrackId, WorkerIndex};
use tianqiao_sfu_core::worker_api::{WorkerCommand, WorkerEvent};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::answerer::Answerer;
use super::convert;
use super::intake::{Intake, OfferCounters, ParsedCall, reply};
use super::load::LoadMeter;
use super::owners::Owners;
use super::relays::Relays;

/// How often the node tells of its load.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// What the control task works with besides the rooms.
pub struct Surroundings {
    /// What stays the same in all reports.
    pub identity: NodeReport,
    pub load: LoadMeter,
    pub bus: Arc<dyn Bus>,
    pub answerer: Answerer,
    /// Hands a command to a worker; must not block.
    pub send: Box<dyn Fn(WorkerIndex, WorkerCommand) + Send + Sync>,
    pub offers: OfferCounters,
    pub sessions: IntGauge,
    pub rooms: IntGauge,
}

/// Serves until `stop` is told or dropped, then ends every session.
pub async fn run(
    rooms: Rooms,
    surroundings: Surroundings,
    mut intake: Intake,
    mut events: mpsc::UnboundedReceiver<(WorkerIndex, WorkerEvent)>,
    mut wires: Wires,
) {
    let mut control = Control {
        rooms,
        owners: Owners::default(),
        relays: Relays::default(),
        draining: None,
        surroundings,
    };
    let mut reports = tokio::time::interval(REPORT_INTERVAL);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let timeout = control.rooms.poll_timeout().map(tokio::time::Instant::from_std);
        tokio::select! {
            _ = &mut wires.stop => break,
            Ok(()) = wires.draining.changed() => {
                let draining = *wires.draining.borrow_and_update();
                control.set_draining(draining);
            }
            _ = reports.tick() => {
                control.relays.sweep(Instant::now(), &mut control.rooms);
                control.tell_report();
            }
            event = events.recv() => {
                let Some((worker, event)) = event else { break };
                control.rooms.handle_worker_event(Instant::now(), worker, event);
            }
            call = intake.calls.recv() => {
                let Some(call) = call else { break };
                control.handle_call(Instant::now(), call);
            }
            () = sleep_until(timeout) => control.rooms.handle_timeout(Instant::now()),
        }
        control.flush();
        control.tell_status(&wires.status);
    }
    intake.task.abort();
    control.rooms.shut_down();
    control.flush();
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// How the node's shell and its control task speak.
pub struct Wires {
    pub stop: oneshot::Receiver<()>,
    pub draining: watch::Receiver<bool>,
    pub status: watch::Sender<NodeStatus>,
}

/// What the control task tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// When it told last.
    pub at: Option<Instant>,
    /// Since when the node drains, if it does.
    pub draining: Option<Instant>,
    pub sessions: usize,
    pub links: usize,
}

struct Control {
    rooms: Rooms,
    owners: Owners,
    relays: Relays,
    /// It takes no new rooms.
    draining: Option<Instant>,
    surroundings: Surroundings,
}

impl Control {
    fn handle_call(&mut self, now: Instant, parsed: ParsedCall) {
        let Call {
            owner,
            request,
            reply: to,
        } = parsed.call;
        // Nobody would learn of the session; its caller closes it all the same.
        if matches!(request, SfuRequest::Open(_)) && to.is_closed() {
            return;
        }
        let admitted = self.owners.admit(&owner, &request);
        let result = admitted.and_then(|()| self.carry_out(now, &owner, request, parsed.offer.as_ref()));
        if let Err(error) = &result {
            tracing::debug!(code = ?error.code, message = error.message, "request refused");
        }
        // The worker knows the connection before the client does, and signaling the tracks before the
        // events that name them.
        let events = self.send_commands();
        reply(to, result);
        self.publish(events);
    }

    fn carry_out(
        &mut self,
        now: Instant,
        owner: &Owner,
        request: SfuRequest,
        offer: Option<&Offer>,
    ) -> Result<SfuReply, SfuError> {
        match (request, offer) {
            (SfuRequest::Open(mut open), Some(offer)) => {
                let memo = std::mem::take(&mut open.memo);
                let (room, session) = (open.room.clone(), open.session.clone());
                let answered = self.open(now, open, offer)?;
                self.owners.on_open(owner, &room, &session, memo, &answered);
                Ok(answered)
            }
            (
                SfuRequest::Offer {
                    session, tracks, slots, ..
                },
                Some(offer),
            ) => {
                let answered = self.reoffer(now, &session, &tracks, &slots, offer)?;
                if let SfuReply::Answered { tracks, slots, .. } = &answered {
                    self.owners.on_answer(&session, tracks, slots);
                }
                Ok(answered)
            }
            (SfuRequest::Open(_) | SfuRequest::Offer { .. }, None) => Err(convert::bad_message("no offer")),
            (SfuRequest::RestartIce { session, ufrag, pwd }, _) => {
                self.restart_ice(&session, IceCredentials { ufrag, pwd })
            }
            (SfuRequest::Viewport { session, slots, mode }, _) => self.set_viewport(&session, &slots, mode),
            (SfuRequest::Mute { session, track, muted }, _) => {
                let done = self.set_muted(now, &session, TrackId(track), muted)?;
                self.owners.on_muted(&session, track, muted);
                Ok(done)
            }
            (SfuRequest::Close { session }, _) => {
                self.rooms.close(now, &session);
                self.owners.on_closed(&session);
                Ok(SfuReply::Done)
            }
            (SfuRequest::CloseRoom { room }, _) => {
                self.rooms.close_room(now, &room);
                self.relays.on_room_closed(now, &room);
                self.owners.on_room_closed(&room);
                Ok(SfuReply::Done)
            }
            (SfuRequest::Adopt { room }, _) => Ok(self.owners.adopt(&room)),
            (SfuRequest::Relay(wanted), _) => {
                let answerer = &self.surroundings.answerer;
                self.relays.apply(now, owner.epoch, &wanted, &mut self.rooms, answerer)
            }
            (SfuRequest::Drain { draining }, _) => {
                self.set_draining(draining);
                Ok(SfuReply::Done)
            }
            (SfuRequest::Describe, _) => Ok(SfuReply::Described {
                report: self.report(),
                rooms: self.owners.loads(|_| 0),
            }),
            (SfuRequest::Ping, _) => Ok(SfuReply::Done),
        }
    }

    fn open(&mut self, now: Instant, open: protocol::OpenSession, offer: &Offer) -> Result<SfuReply, SfuError> {
        let (room, session) = (convert::name(&open.room)?, convert::name(&open.session)?);
        let seat = self
            .rooms
            .seat(&room, &session, offer.sends())
            .map_err(convert::rooms_error)?;
        let tracks = convert::declarations(&open.tracks)?;
        let answered = self.answer(offer, &seat, 1, None, &low_voices(&tracks, None))?;
        let worker = seat.worker;
        let open = OpenSession {
            room,
            session,
            seat,
            negotiated: answered.negotiated,
            tracks,
            slots: convert::views(&open.slots)?,
            audio: convert::audio_policy(&open.audio)?,
            identity: open.identity,
        };
        tracing::info!(room = %open.room, session = %open.session, worker = worker.0, "session opens");
        let state = self.rooms.open(now, open).map_err(convert::rooms_error)?;
        Ok(answered_reply(answered.sdp, &state))
    }

    fn answer(
        &self,
        offer: &Offer,
        seat: &Seat,
        version: u64,
        previous: Option<&Negotiated>,
        low_voices: &[Mid],
    ) -> Result<Answered, SfuError> {
        let Surroundings { answerer, offers, .. } = &self.surroundings;
        offers.guard(|| answerer.answer(offer, seat, version, previous, low_voices))
    }

    fn reoffer(
        &mut self,
        now: Instant,
        session: &str,
        tracks: &[tianqiao_protocol::TrackDeclaration],
        slots: &[tianqiao_protocol::SlotView],
        offer: &Offer,
    ) -> Result<SfuReply, SfuError> {
        let mut running = self.rooms.renegotiation(session).map_err(convert::rooms_error)?;
        let previous = Some(&running.negotiated);
        let mut local_ice = None;
        if *offer.remote_ice() != running.negotiated.remote_ice {
            let fresh = self.rooms.fresh_credentials(session).map_err(convert::rooms_error)?;
            running.seat.local_ice = fresh.clone();
            local_ice = Some(fresh);
        }
        let tracks = convert::declarations(tracks)?;
        let low_voices = low_voices(&tracks, running.low_voice);
        let answered = self.answer(offer, &running.seat, running.sdp_version, previous, &low_voices)?;
        let reoffer = Reoffer {
            session: convert::name(session)?,
            negotiated: answered.negotiated,
            local_ice,
            tracks,
            slots: convert::views(slots)?,
        };
        let state = self.rooms.renegotiate(now, reoffer).map_err(convert::rooms_error)?;
        Ok(answered_reply(answered.sdp, &state))
    }

    /// Credentials that the session has already only bring candidates, which ICE-lite has no use for.
    fn restart_ice(&mut self, session: &str, remote: IceCredentials) -> Result<SfuReply, SfuError> {
        let running = self.rooms.renegotiation(session).map_err(convert::rooms_error)?;
        let seat = if running.negotiated.remote_ice == remote {
            running.seat
        } else {
            self.rooms.restart_ice(session, remote).map_err(convert::rooms_error)?
        };
        Ok(SfuReply::IceRestarted {
            sdpfrag: self.surroundings.answerer.fragment(&seat, &running.negotiated),
        })
    }

    fn set_viewport(
        &mut self,
        session: &str,
        slots: &[tianqiao_protocol::SlotView],
        mode: tianqiao_protocol::ReceiveMode,
    ) -> Result<SfuReply, SfuError> {
        let views = convert::views(slots)?;
        self.rooms
            .set_viewport(session, &views, convert::mode(mode))
            .map_err(convert::rooms_error)?;
        Ok(SfuReply::Done)
    }

    fn set_muted(&mut self, now: Instant, session: &str, track: TrackId, muted: bool) -> Result<SfuReply, SfuError> {
        self.rooms
            .set_muted(now, session, track, muted)
            .map_err(convert::rooms_error)?;
        Ok(SfuReply::Done)
    }

    fn set_draining(&mut self, draining: bool) {
        let before = self.draining.is_some();
        if draining != before {
            tracing::info!(
                draining,
                sessions = self.rooms.session_count(),
                "told to drain or to serve"
            );
            self.draining = draining.then(Instant::now);
            self.tell_report();
        }
    }

    /// To all signaling instances.
    fn tell_report(&mut self) {
        let report = self.report();
        self.surroundings.bus.report(report);
    }

    fn tell_status(&self, to: &watch::Sender<NodeStatus>) {
        to.send_replace(NodeStatus {
            at: Some(Instant::now()),
            draining: self.draining,
            sessions: self.rooms.session_count(),
            links: self.relays.links(),
        });
    }

    fn report(&mut self) -> NodeReport {
        NodeReport {
            draining: self.draining.is_some(),
            load: NodeLoad {
                sessions: self.rooms.session_count() as u32,
                rooms: self.rooms.room_count() as u32,
                links: self.relays.links() as u32,
                ..self.surroundings.load.measure(Instant::now())
            },
            ..self.surroundings.identity.clone()
        }
    }

    fn flush(&mut self) {
        let events = self.send_commands();
        self.publish(events);
    }

    /// Hands all commands to the workers; returns the events that stood between them.
    fn send_commands(&mut self) -> Vec<RoomsEvent> {
        let mut events = Vec::new();
        while let Some(output) = self.rooms.poll_output() {
            match output {
                RoomsOutput::Command(worker, command) => (self.surroundings.send)(worker, command),
                RoomsOutput::Event(event) => events.push(event),
            }
        }
        events
    }

    fn publish(&mut self, events: Vec<RoomsEvent>) {
        let around = &self.surroundings;
        for event in events {
            if let RoomsEvent::Closed { session, reason } = &event {
                tracing::info!(%session, ?reason, "session closed");
            }
            let event = convert::event(event);
            if let Some(owner) = self.owners.on_event(&event) {
                let node = around.identity.node.clone();
                around.bus.publish(&owner, NodeEvent { node, event });
            }
        }
        around.sessions.set(self.rooms.session_count() as i64);
        around.rooms.set(self.rooms.room_count() as i64);
    }
}

/// The sections that are declared as low voices; the one that was it `before` stays it where nothing else is said.
fn low_voices(tracks: &[TrackDeclaration], before: Option<Mid>) -> Vec<Mid> {
    let declared = tracks.iter().filter(|track| track.source == TrackSource::MicrophoneLow);
    let before = before.filter(|mid| tracks.iter().all(|track| track.mid != *mid));
    declared.map(|track| track.mid).chain(before).collect()
}

fn answered_reply(sdp: String, state: &SessionState) -> SfuReply {
    SfuReply::Answered {
        sdp,
        tracks: convert::track_infos(&state.tracks),
        slots: convert::slot_states(&state.slots),
    }
}
