//! A node on the bus that answers without media.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tianqiao_bus::in_process::InProcessBus;
use tianqiao_bus::{Bus, Call, NodeEvent, NodeId, NodeReport};
use tianqiao_protocol::control::{InstanceId, RelayEndpoint, RelayLink, SfuError, SfuEvent, SfuReply, SfuRequest};
use tianqiao_protocol::fleet::{NodeCapacity, NodeLoad};
use tianqiao_protocol::{ErrorCode, SlotState, TrackDeclaration, TrackInfo};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::fake_rooms::FakeRooms;

/// Tracks of one meeting have ids of their own, on whichever nodes they are.
static FIRST_TRACK: AtomicU32 = AtomicU32::new(1001);

pub struct FakeNode {
    pub name: NodeId,
    pub incarnation: u64,
    bus: Arc<InProcessBus>,
    requests: mpsc::UnboundedReceiver<SfuRequest>,
    is_silent: Arc<AtomicBool>,
    /// Who asked last.
    owner: Arc<Mutex<InstanceId>>,
    rooms: Arc<Mutex<FakeRooms>>,
    task: JoinHandle<()>,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeNode {
    pub fn start(bus: Arc<InProcessBus>) -> Self {
        Self::start_with(bus, "fake", 1)
    }

    /// One of several; dropped, it is gone from the bus.
    pub fn start_as(bus: Arc<InProcessBus>, name: &str) -> Self {
        Self::start_with(bus, name, FIRST_TRACK.fetch_add(1000, Ordering::Relaxed))
    }

    fn start_with(bus: Arc<InProcessBus>, name: &str, first_track: u32) -> Self {
        let mut calls = bus.serve(name.to_owned());
        let (sender, requests) = mpsc::unbounded_channel();
        let is_silent = Arc::new(AtomicBool::new(false));
        let silent = is_silent.clone();
        let owner = Arc::new(Mutex::new(InstanceId::new()));
        let asker = owner.clone();
        let known = Arc::new(Mutex::new(FakeRooms::default()));
        let rooms = known.clone();
        let task = tokio::spawn(async move {
            let mut unanswered = Vec::new();
            let next_track = AtomicU32::new(first_track);
            while let Some(Call { owner, request, reply }) = calls.recv().await {
                let admitted = rooms.lock().expect("no panic").admit(&owner, &request);
                if let Err(refused) = admitted {
                    let _ = reply.send(Err(refused));
                    continue;
                }
                *asker.lock().expect("no panic") = owner.instance.clone();
                let answer = match &request {
                    SfuRequest::Adopt { room } => Some(Ok(rooms.lock().expect("no panic").adopt(room))),
                    _ => answer(&request, &next_track),
                };
                if let Some(Ok(answer)) = &answer {
                    rooms.lock().expect("no panic").on_answer(&owner, &request, answer);
                }
                let _ = sender.send(request);
                if silent.load(Ordering::Relaxed) {
                    unanswered.push(reply);
                    continue;
                }
                match answer {
                    Some(answer) => drop(reply.send(answer)),
                    None => drop(reply),
                }
            }
        });
        Self {
            name: name.to_owned(),
            incarnation: u64::from(first_track),
            bus,
            requests,
            is_silent,
            owner,
            rooms: known,
            task,
        }
    }

    /// Tells of its load; it can have 100 sessions.
    pub fn report(&self, sessions: u32, draining: bool) {
        self.bus.report(NodeReport {
            node: self.name.clone(),
            incarnation: self.incarnation,
            draining,
            capacity: NodeCapacity {
                sessions: 100,
                egress: 0,
            },
            load: NodeLoad {
                sessions,
                ..NodeLoad::default()
            },
            ..NodeReport::default()
        });
    }

    /// All requests that came since they were last asked for.
    pub fn requests(&mut self) -> Vec<SfuRequest> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }

    /// From now on it takes requests and answers none.
    pub fn fall_silent(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    pub fn publish(&self, event: SfuEvent) {
        if let SfuEvent::Connected { session } = &event {
            self.rooms.lock().expect("no panic").on_connected(session);
        }
        let owner = self.owner.lock().expect("no panic").clone();
        let node = self.name.clone();
        self.bus.publish(&owner, NodeEvent { node, event });
    }

    /// The next request that `wanted` likes; others before it are passed over.
    pub async fn request(&mut self, wanted: impl Fn(&SfuRequest) -> bool) -> SfuRequest {
        let find = async {
            loop {
                let request = self.requests.recv().await.expect("the node runs");
                if wanted(&request) {
                    return request;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), find)
            .await
            .expect("the request comes")
    }
}

/// The SDP says what is to happen; `None` leaves the call unanswered.
fn answer(request: &SfuRequest, next_track: &AtomicU32) -> Option<Result<SfuReply, SfuError>> {
    let (sdp, tracks, slots) = match request {
        SfuRequest::Open(open) => (&open.sdp, &open.tracks, &open.slots),
        SfuRequest::Offer { sdp, tracks, slots, .. } => (sdp, tracks, slots),
        SfuRequest::RestartIce { ufrag, .. } => {
            let sdpfrag = format!("a=ice-ufrag:server-{ufrag}\r\n");
            return Some(Ok(SfuReply::IceRestarted { sdpfrag }));
        }
        SfuRequest::Relay(relays) => {
            let endpoint = |link: &RelayLink| RelayEndpoint {
                link: link.id,
                addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9))],
            };
            let endpoints = relays.links.iter().map(endpoint).collect();
            return Some(Ok(SfuReply::Relayed { endpoints }));
        }
        _ => return Some(Ok(SfuReply::Done)),
    };
    let code = match sdp.as_str() {
        "invalid" => ErrorCode::SdpInvalid,
        "unsupported" => ErrorCode::SdpUnsupported,
        "gone" => return None,
        _ => {
            return Some(Ok(SfuReply::Answered {
                sdp: format!("answer to {sdp}"),
                tracks: tracks.iter().map(|track| info(track, next_track)).collect(),
                slots: slots
                    .iter()
                    .map(|slot| SlotState {
                        mid: slot.mid.clone(),
                        track: Some(99),
                    })
                    .collect(),
            }));
        }
    };
    Some(Err(SfuError {
        code,
        message: "as the test wants it".to_owned(),
    }))
}

fn info(track: &TrackDeclaration, next_track: &AtomicU32) -> TrackInfo {
    TrackInfo {
        id: next_track.fetch_add(1, Ordering::Relaxed),
        source: track.source,
        muted: track.muted,
    }
}
