//! A node on the bus that answers without media.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tianqiao_bus::in_process::InProcessBus;
use tianqiao_bus::{Bus, Call, NodeEvent};
use tianqiao_protocol::control::{InstanceId, SfuError, SfuEvent, SfuReply, SfuRequest};
use tianqiao_protocol::{ErrorCode, SlotState, TrackDeclaration, TrackInfo};
use tokio::sync::mpsc;

const NODE: &str = "fake";

use super::fake_rooms::FakeRooms;

pub struct FakeNode {
    bus: Arc<InProcessBus>,
    requests: mpsc::UnboundedReceiver<SfuRequest>,
    is_silent: Arc<AtomicBool>,
    /// Who asked last.
    owner: Arc<Mutex<InstanceId>>,
    rooms: Arc<Mutex<FakeRooms>>,
}

impl FakeNode {
    pub fn start(bus: Arc<InProcessBus>) -> Self {
        let mut calls = bus.serve(NODE.to_owned());
        let (sender, requests) = mpsc::unbounded_channel();
        let is_silent = Arc::new(AtomicBool::new(false));
        let silent = is_silent.clone();
        let owner = Arc::new(Mutex::new(InstanceId::new()));
        let asker = owner.clone();
        let known = Arc::new(Mutex::new(FakeRooms::default()));
        let rooms = known.clone();
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
            let next_track = AtomicU32::new(1);
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
            bus,
            requests,
            is_silent,
            owner,
            rooms: known,
        }
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
        let node = NODE.to_owned();
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
