//! The control task over the in-process bus, with workers that only listen.

mod crowds;
mod lifecycle;

use std::sync::Arc;
use std::time::Instant;

use prometheus::IntGauge;
use tianqiao_bus::in_process::InProcessBus;
use tianqiao_bus::{Bus, BusError, NodeEvent};
use tianqiao_protocol::control::{
    AudioPolicy, CloseReason, OpenSession, Owner, SfuError, SfuEvent, SfuReply, SfuRequest,
};
use tianqiao_protocol::fleet::NodeReport;
use tianqiao_protocol::{ErrorCode, ReceiveMode, SlotTarget, SlotView, TrackDeclaration, TrackSource};
use tianqiao_sfu_core::negotiated::{Fingerprint, FingerprintAlgorithm};
use tianqiao_sfu_core::rooms::{Rooms, RoomsConfig};
use tianqiao_sfu_core::sdp::{CodecPreferences, Offer, SdpLimits};
use tianqiao_sfu_core::units::WorkerIndex;
use tianqiao_sfu_core::worker_api::{WorkerCommand, WorkerEvent};
use tokio::sync::{mpsc, oneshot, watch};

use super::answerer::Answerer;
use super::control::{self, Surroundings};
use super::intake::{Intake, IntakeConfig, OfferCounters, Parse};
use super::load::LoadMeter;

const NODE: &str = "n1";

fn owner() -> Owner {
    Owner {
        instance: "i1".to_owned(),
        epoch: 1,
    }
}

struct Bench {
    bus: Arc<InProcessBus>,
    published: mpsc::UnboundedReceiver<NodeEvent>,
    commands: mpsc::UnboundedReceiver<(WorkerIndex, WorkerCommand)>,
    workers: mpsc::UnboundedSender<(WorkerIndex, WorkerEvent)>,
    offers: OfferCounters,
    sessions: IntGauge,
    stop: oneshot::Sender<()>,
    control: tokio::task::JoinHandle<()>,
}

fn fingerprint() -> Fingerprint {
    Fingerprint {
        algorithm: FingerprintAlgorithm::Sha256,
        digest: vec![0xab; 32],
    }
}

fn bench() -> Bench {
    let parse = |sdp: &str| Offer::parse(sdp, &SdpLimits::default());
    bench_with(Arc::new(parse))
}

/// With one parser.
fn bench_with(parse: Parse) -> Bench {
    let config = IntakeConfig {
        parsers: 1,
        ..IntakeConfig::default()
    };
    let offers = OfferCounters::new().expect("a metric");
    let bus = Arc::new(InProcessBus::new());
    let published = bus.events(&owner().instance);
    let calls = bus.serve(NODE.to_owned());
    let (sender, commands) = mpsc::unbounded_channel();
    let (workers, events) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let addrs = ["192.0.2.1".parse().expect("an address")];
    let sessions = IntGauge::new("sessions", "help").expect("a metric");
    let surroundings = Surroundings {
        identity: NodeReport {
            node: NODE.to_owned(),
            ..NodeReport::default()
        },
        load: LoadMeter::new(Vec::new(), Instant::now()),
        bus: bus.clone(),
        answerer: Answerer::new(fingerprint(), &addrs, &[7000, 7001], CodecPreferences::default()),
        send: Box::new(move |worker, command| drop(sender.send((worker, command)))),
        offers: offers.clone(),
        sessions: sessions.clone(),
        rooms: IntGauge::new("rooms", "help").expect("a metric"),
    };
    let rooms = Rooms::new(RoomsConfig {
        workers: 2,
        ..RoomsConfig::default()
    });
    let intake = Intake::spawn(calls, &config, parse, offers.clone());
    let wires = control::Wires {
        stop: stopped,
        draining: watch::channel(false).1,
        status: watch::channel(control::NodeStatus::default()).0,
    };
    let control = control::run(rooms, surroundings, intake, events, wires);
    Bench {
        bus,
        published,
        commands,
        workers,
        offers,
        sessions,
        stop,
        control: tokio::spawn(control),
    }
}

impl Bench {
    async fn ask(&self, request: SfuRequest) -> Result<SfuReply, SfuError> {
        match self.bus.request(&NODE.to_owned(), &owner(), request).await {
            Ok(reply) => Ok(reply),
            Err(BusError::Refused(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next command for a connection; who is loudest is told besides.
    async fn command(&mut self) -> (WorkerIndex, WorkerCommand) {
        loop {
            let command = self.commands.recv().await.expect("a command");
            if !matches!(command, (_, WorkerCommand::RankVoices { .. })) {
                return command;
            }
        }
    }

    async fn event(&mut self) -> SfuEvent {
        self.published.recv().await.expect("an event").event
    }
}

fn offer(ufrag: &str) -> String {
    let section = |kind: &str, mid: &str, direction: &str, codec: &str| {
        format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\n\
             a=ice-ufrag:{ufrag}\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n\
             a=fingerprint:sha-256 {}\r\na=rtpmap:96 {codec}\r\n",
            ["11"; 32].join(":")
        )
    };
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2 3\r\n{}{}{}{}",
        section("audio", "0", "sendonly", "opus/48000/2"),
        section("video", "1", "sendonly", "VP8/90000"),
        section("audio", "2", "recvonly", "opus/48000/2"),
        section("video", "3", "recvonly", "VP8/90000"),
    )
}

fn open(session: &str, slots: Vec<SlotView>) -> SfuRequest {
    SfuRequest::Open(OpenSession {
        room: "room".to_owned(),
        session: session.to_owned(),
        origin: 1,
        sdp: offer("abcd"),
        tracks: vec![TrackDeclaration {
            mid: "1".to_owned(),
            source: TrackSource::Screen,
            muted: false,
        }],
        slots,
        audio: AudioPolicy::Loudest,
        identity: "somebody".to_owned(),
        memo: String::new(),
    })
}

fn screen_of(participant: &str) -> Vec<SlotView> {
    vec![SlotView {
        mid: "3".to_owned(),
        target: SlotTarget::Source {
            participant: participant.to_owned(),
            source: TrackSource::Screen,
        },
        height: 720,
    }]
}

#[tokio::test]
async fn a_session_opens_is_shown_and_closes() {
    let mut bench = bench();
    let Ok(SfuReply::Answered { sdp, tracks, slots }) = bench.ask(open("alice", screen_of("bob"))).await else {
        panic!("not answered");
    };
    let (worker, WorkerCommand::Open(opened)) = bench.command().await else {
        panic!("not opened");
    };
    assert!(
        sdp.contains(&format!("a=ice-ufrag:{}\r\n", opened.local_ice.ufrag)),
        "{sdp}"
    );
    assert!(
        sdp.contains(&format!(" 192.0.2.1 {} typ host", 7000 + u16::from(worker.0))),
        "{sdp}"
    );
    let sources: Vec<_> = tracks.iter().map(|track| track.source).collect();
    assert_eq!(sources, [TrackSource::Microphone, TrackSource::Screen]);
    assert_eq!(slots, []);

    let Ok(SfuReply::Answered { tracks, .. }) = bench.ask(open("bob", Vec::new())).await else {
        panic!("not answered");
    };
    let SfuEvent::Slots { session, slots } = bench.event().await else {
        panic!("no slots");
    };
    assert_eq!((session.as_str(), slots[0].track), ("alice", Some(tracks[1].id)));
    assert_eq!(bench.sessions.get(), 2);

    let connection = opened.connection;
    let connected = WorkerEvent::Connected { connection };
    bench.workers.send((worker, connected)).expect("the task runs");
    assert_eq!(bench.event().await, SfuEvent::Connected { session });
    let reply = bench
        .ask(SfuRequest::CloseRoom {
            room: "room".to_owned(),
        })
        .await;
    assert_eq!(reply, Ok(SfuReply::Done));
}

#[tokio::test]
async fn refusals_are_typed() {
    let bench = bench();
    let unknown = "nobody".to_owned();
    let code = |result: Result<SfuReply, SfuError>| result.expect_err("refused").code;
    let mut broken = open("alice", Vec::new());
    if let SfuRequest::Open(open) = &mut broken {
        open.sdp = "nonsense".to_owned();
    }
    assert_eq!(code(bench.ask(broken).await), ErrorCode::SdpInvalid);
    let mut long = screen_of("bob");
    long[0].mid = "m".repeat(17);
    assert_eq!(code(bench.ask(open("alice", long)).await), ErrorCode::BadMessage);
    assert!(bench.ask(open("alice", Vec::new())).await.is_ok());
    assert_eq!(
        code(bench.ask(open("alice", Vec::new())).await),
        ErrorCode::AlreadyJoined
    );
    let viewport = SfuRequest::Viewport {
        session: unknown.clone(),
        slots: Vec::new(),
        mode: ReceiveMode::Full,
    };
    assert_eq!(code(bench.ask(viewport).await), ErrorCode::SessionUnknown);
    let mute = SfuRequest::Mute {
        session: "alice".to_owned(),
        track: 0,
        muted: true,
    };
    assert_eq!(code(bench.ask(mute).await), ErrorCode::TrackUnknown);
    let close = SfuRequest::Close { session: unknown };
    assert_eq!(bench.ask(close).await, Ok(SfuReply::Done));
}

#[tokio::test]
async fn a_low_voice_is_asked_for_by_its_section() {
    let mut bench = bench();
    assert!(bench.ask(open("alice", Vec::new())).await.is_ok());
    assert!(matches!(bench.command().await, (_, WorkerCommand::Open(_))));
    let low = "m=audio 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:4\r\na=sendonly\r\na=rtcp-mux\r\n\
               a=rtpmap:96 opus/48000/2\r\n";
    let sdp = offer("abcd").replace("BUNDLE 0 1 2 3", "BUNDLE 0 1 2 3 4") + low;
    let declared = |mid: &str, source| TrackDeclaration {
        mid: mid.to_owned(),
        source,
        muted: false,
    };
    let ask = |tracks| {
        let (session, sdp) = ("alice".to_owned(), sdp.clone());
        SfuRequest::Offer {
            session,
            origin: 1,
            sdp,
            tracks,
            slots: Vec::new(),
        }
    };
    let requests = [ask(vec![declared("4", TrackSource::MicrophoneLow)]), ask(Vec::new())];
    for request in requests {
        let Ok(SfuReply::Answered { sdp, tracks, .. }) = bench.ask(request).await else {
            panic!("not answered");
        };
        let section = sdp.split("m=audio").last().expect("a section");
        assert!(section.contains("a=mid:4\r\n"), "{sdp}");
        assert!(
            section.contains("a=ptime:60\r\n") && section.contains("maxaveragebitrate=14000"),
            "{section}"
        );
        assert_eq!(sdp.matches("a=ptime:").count(), 1);
        assert_eq!(tracks.len(), 2);
        let (_, WorkerCommand::Renegotiate(renegotiated)) = bench.command().await else {
            panic!("not renegotiated");
        };
        let low = renegotiated
            .tracks
            .iter()
            .find(|track| track.voice_layer == 1)
            .expect("a low voice");
        assert_eq!((low.mid.as_str(), low.track.0), ("4", tracks[0].id));
    }
}

#[tokio::test]
async fn ice_restarts_by_offer_and_by_fragment() {
    let mut bench = bench();
    assert!(bench.ask(open("alice", Vec::new())).await.is_ok());
    let (_, WorkerCommand::Open(opened)) = bench.command().await else {
        panic!("not opened");
    };
    let again = |ufrag: &str| SfuRequest::Offer {
        session: "alice".to_owned(),
        origin: 1,
        sdp: offer(ufrag),
        tracks: Vec::new(),
        slots: Vec::new(),
    };
    // The same credentials: no restart.
    assert!(bench.ask(again("abcd")).await.is_ok());
    let (_, WorkerCommand::Renegotiate(kept)) = bench.command().await else {
        panic!("not renegotiated");
    };
    assert_eq!(kept.local_ice, None);
    let Ok(SfuReply::Answered { sdp, tracks, .. }) = bench.ask(again("efgh")).await else {
        panic!("not answered");
    };
    let (_, WorkerCommand::Renegotiate(restarted)) = bench.command().await else {
        panic!("not renegotiated");
    };
    let local = restarted.local_ice.expect("a restart");
    assert_ne!(local, opened.local_ice);
    assert!(sdp.contains(&local.ufrag));
    assert_eq!(tracks[0].id, opened.tracks[0].track.0);

    let patch = SfuRequest::RestartIce {
        session: "alice".to_owned(),
        ufrag: "ijkl".to_owned(),
        pwd: "abcdefghijklmnopqrstuvwx".to_owned(),
    };
    let Ok(SfuReply::IceRestarted { sdpfrag }) = bench.ask(patch).await else {
        panic!("not restarted");
    };
    let (_, WorkerCommand::RestartIce { local, remote, .. }) = bench.command().await else {
        panic!("not restarted");
    };
    assert!(sdpfrag.contains(&local.ufrag) && remote.ufrag == "ijkl", "{sdpfrag}");
}

#[tokio::test]
async fn a_stop_closes_every_session() {
    let mut bench = bench();
    assert!(bench.ask(open("alice", Vec::new())).await.is_ok());
    bench.stop.send(()).expect("the task runs");
    bench.control.await.expect("it ends");
    let closed = bench.published.recv().await.expect("an event").event;
    assert_eq!(
        closed,
        SfuEvent::Closed {
            session: "alice".to_owned(),
            reason: CloseReason::Shutdown
        }
    );
    assert_eq!(bench.sessions.get(), 0);
    let mut last = None;
    while let Some(command) = bench.commands.recv().await {
        last = Some(command.1);
    }
    assert!(matches!(last, Some(WorkerCommand::Close { .. })));
    assert!(bench.bus.nodes().is_empty());
}
