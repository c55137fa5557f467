//! Between the bus and the control task: offers are parsed here, a few at a time on threads of their own and in fair
//! turns, so that dear ones hold up neither running meetings nor somebody else's join. What needs no parsing goes
//! straight on. The calls of one session keep their order.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use prometheus::{IntCounterVec, Opts};
use tianqiao_bus::{Call, vital};
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::control::{RoomId, SessionId, SfuError, SfuReply, SfuRequest};
use tianqiao_sfu_core::sdp::{Offer, SdpError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::convert;
use super::fair_queue::{FairQueue, QueueLimits, Refused};

/// Calls that are parsed and wait for the control task.
const PARSED_CALLS: usize = 256;

/// A call whose SDP, if it has any, is parsed.
pub struct ParsedCall {
    pub call: Call,
    pub offer: Option<Offer>,
}

pub type Parse = Arc<dyn Fn(&str) -> Result<Offer, SdpError> + Send + Sync>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntakeConfig {
    /// Offers that are parsed at the same time; 0: half as many as there are cores, as most of them carry media.
    pub parsers: usize,
    pub queue: QueueLimits,
}

impl IntakeConfig {
    fn parsers(&self) -> usize {
        match self.parsers {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
            parsers => parsers,
        }
    }
}

/// What became of offers.
#[derive(Clone)]
pub struct OfferCounters(IntCounterVec);

impl OfferCounters {
    pub fn new() -> prometheus::Result<Self> {
        let help = "Offers by what became of them.";
        let counters = IntCounterVec::new(Opts::new("tianqiao_sfu_offers_total", help), &["result"])?;
        for result in ["parsed", "refused", "skipped", "turned_away", "panicked"] {
            counters.with_label_values(&[result]);
        }
        Ok(Self(counters))
    }

    pub fn collector(&self) -> Box<IntCounterVec> {
        Box::new(self.0.clone())
    }

    fn count(&self, result: &str) {
        self.0.with_label_values(&[result]).inc();
    }

    #[cfg(test)]
    pub fn of(&self, result: &str) -> u64 {
        self.0.with_label_values(&[result]).get()
    }

    /// The value of `work`, or where it panics an error for its caller alone. It must leave nothing half done.
    pub fn guard<T>(&self, work: impl FnOnce() -> Result<T, SfuError>) -> Result<T, SfuError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            self.count("panicked");
            tracing::error!("an offer has made its parser or answerer panic");
            Err(error(ErrorCode::Internal, "the media server failed over the offer"))
        })
    }
}

/// The running intake: its task, and what it has ready for the control task.
pub struct Intake {
    pub task: JoinHandle<()>,
    pub calls: mpsc::Receiver<ParsedCall>,
}

impl Intake {
    pub fn spawn(calls: mpsc::Receiver<Call>, config: &IntakeConfig, parse: Parse, counters: OfferCounters) -> Self {
        let (ready, parsed) = mpsc::channel(PARSED_CALLS);
        let desk = Desk {
            queue: FairQueue::new(config.queue),
            parsers: config.parsers(),
            parse,
            parsing: HashMap::new(),
            running: JoinSet::new(),
            ready,
            counters,
        };
        Self {
            task: vital::spawn("intake", desk.run(calls)),
            calls: parsed,
        }
    }
}

struct Desk {
    queue: FairQueue<Call>,
    parsers: usize,
    parse: Parse,
    /// The calls that `running` has, by session.
    parsing: HashMap<SessionId, Parsing>,
    running: JoinSet<(SessionId, Call, Result<Offer, SfuError>)>,
    ready: mpsc::Sender<ParsedCall>,
    counters: OfferCounters,
}

struct Parsing {
    room: Option<RoomId>,
    /// Its session or room was closed meanwhile.
    cancelled: bool,
}

/// The control task has ended.
struct Ended;

impl Desk {
    async fn run(mut self, mut calls: mpsc::Receiver<Call>) {
        loop {
            let step = tokio::select! {
                Some(done) = self.running.join_next() => {
                    let (session, call, offer) = done.expect("it is not aborted, and panics are caught");
                    self.on_parsed(session, call, offer).await
                }
                call = calls.recv() => match call {
                    Some(call) => self.on_call(call).await,
                    None => return,
                },
            };
            let started = match step {
                Ok(()) => self.start_parsers().await,
                Err(ended) => Err(ended),
            };
            if started.is_err() {
                return;
            }
        }
    }

    async fn on_call(&mut self, call: Call) -> Result<(), Ended> {
        let (origin, session, bytes) = match &call.request {
            SfuRequest::Open(open) => (open.origin, &open.session, open.sdp.len()),
            SfuRequest::Offer {
                session, origin, sdp, ..
            } => (*origin, session, sdp.len()),
            SfuRequest::Close { session } => {
                let session = session.clone();
                self.cancel_session(&session);
                return self.pass_on(call, None).await;
            }
            SfuRequest::CloseRoom { room } => {
                let room = room.clone();
                self.cancel_room(&room);
                return self.pass_on(call, None).await;
            }
            SfuRequest::RestartIce { session, .. }
            | SfuRequest::Viewport { session, .. }
            | SfuRequest::Mute { session, .. }
                if self.queue.has(session) =>
            {
                (0, session, 0)
            }
            _ => return self.pass_on(call, None).await,
        };
        let session = session.clone();
        for (call, refused) in self.queue.push(origin, &session, bytes, call) {
            self.counters.count("turned_away");
            let refusal = match refused {
                Refused::Origin => error(ErrorCode::RateLimited, "too many offers from your address wait"),
                Refused::Full => error(ErrorCode::Unavailable, "too many offers wait"),
            };
            reply(call.reply, Err(refusal));
        }
        Ok(())
    }

    /// Takes from the queue for as long as there is a free parser.
    async fn start_parsers(&mut self) -> Result<(), Ended> {
        while self.running.len() < self.parsers
            && let Some((session, call)) = self.queue.pop()
        {
            let room = match &call.request {
                SfuRequest::Open(open) => Some(open.room.clone()),
                SfuRequest::Offer { .. } => None,
                _ => {
                    self.queue.finish(&session);
                    self.pass_on(call, None).await?;
                    continue;
                }
            };
            if call.reply.is_closed() {
                self.counters.count("skipped");
                self.queue.finish(&session);
                continue;
            }
            let cancelled = false;
            self.parsing.insert(session.clone(), Parsing { room, cancelled });
            let (parse, counters) = (Arc::clone(&self.parse), self.counters.clone());
            self.running.spawn_blocking(move || {
                let offer = counters.guard(|| parse(sdp_of(&call.request)).map_err(convert::sdp_error));
                (session, call, offer)
            });
        }
        Ok(())
    }

    async fn on_parsed(&mut self, session: SessionId, call: Call, offer: Result<Offer, SfuError>) -> Result<(), Ended> {
        self.queue.finish(&session);
        let cancelled = self.parsing.remove(&session).is_some_and(|parsing| parsing.cancelled);
        match offer {
            Ok(_) if cancelled => self.turn_down(call),
            Ok(offer) => {
                self.counters.count("parsed");
                self.pass_on(call, Some(offer)).await?;
            }
            Err(error) => {
                self.counters.count("refused");
                reply(call.reply, Err(error));
            }
        }
        Ok(())
    }

    async fn pass_on(&mut self, call: Call, offer: Option<Offer>) -> Result<(), Ended> {
        self.ready.send(ParsedCall { call, offer }).await.map_err(|_| Ended)
    }

    /// A session that was closed must not come into being by an offer from before.
    fn cancel_session(&mut self, session: &str) {
        if let Some(parsing) = self.parsing.get_mut(session) {
            parsing.cancelled = true;
        }
        for call in self.queue.remove_session(session) {
            self.turn_down(call);
        }
    }

    fn cancel_room(&mut self, room: &str) {
        for parsing in self.parsing.values_mut() {
            parsing.cancelled |= parsing.room.as_deref() == Some(room);
        }
        let is_of_room = |call: &Call| matches!(&call.request, SfuRequest::Open(open) if open.room == room);
        for call in self.queue.remove_where(is_of_room) {
            self.turn_down(call);
        }
    }

    fn turn_down(&self, call: Call) {
        self.counters.count("skipped");
        reply(
            call.reply,
            Err(error(ErrorCode::SessionUnknown, "the session was closed")),
        );
    }
}

fn sdp_of(request: &SfuRequest) -> &str {
    match request {
        SfuRequest::Open(open) => &open.sdp,
        SfuRequest::Offer { sdp, .. } => sdp,
        _ => "",
    }
}

fn error(code: ErrorCode, message: &str) -> SfuError {
    SfuError {
        code,
        message: message.to_owned(),
    }
}

pub fn reply(to: oneshot::Sender<Result<SfuReply, SfuError>>, result: Result<SfuReply, SfuError>) {
    // The caller may have given up; it closes what it has asked for, or the session ends by its own timeouts.
    let _ = to.send(result);
}
