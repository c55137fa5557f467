//! Nodes, the links between them, and their clients, in steps of a millisecond. The owner of the room is played by
//! [`World::sync`]: it tells every node of those on the others.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tianqiao_sfu_core::allocator::Mode;
use tianqiao_sfu_core::mail::Mail;
use tianqiao_sfu_core::negotiated::MediaKind;
use tianqiao_sfu_core::ntp::NtpClock;
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::relay::{LinkId, LinkKey, LinkKeys};
use tianqiao_sfu_core::rooms::*;
use tianqiao_sfu_core::send_batch::SendBatch;
use tianqiao_sfu_core::transport::{Certificate, ufrag};
use tianqiao_sfu_core::units::{ConnectionId, TrackId, WorkerIndex};
use tianqiao_sfu_core::worker_api::WorkerEvent;
use tianqiao_sfu_core::worker_core::{PacketSink, WorkerConfig, WorkerCore};
use tianqiao_testnet::duplex::{Duplex, Way};
use tianqiao_testnet::link::UDP_IPV4_HEADERS;
use tianqiao_testnet::profile::Profile;

use crate::client::{Client, Version};
use crate::peer::{CAMERA_SSRC, Peer, Voice, camera, microphone, mid, negotiated, slot};
use crate::publisher::Camera;

pub const MS: Duration = Duration::from_millis(1);
pub const ROOM: &str = "room";
/// From an event of a worker until the control side has it.
const CONTROL_DELAY: Duration = Duration::from_millis(2);

pub fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

/// 20 ms each way, with that share of the datagrams lost.
pub fn between(loss: &str) -> Profile {
    let text = format!("[down]\ndelay = '20ms'\nloss = '{loss}'\n[up]\ndelay = '20ms'\nloss = '{loss}'");
    text.parse().expect("a profile")
}

/// Who joins, with what.
#[derive(Clone, Default)]
pub struct Joiner {
    pub camera: bool,
    pub microphone: bool,
    pub audio_slots: usize,
    pub views: Vec<(SlotTarget, u16)>,
}

pub fn speaker() -> Joiner {
    Joiner {
        microphone: true,
        ..Joiner::default()
    }
}

pub fn publisher() -> Joiner {
    Joiner {
        camera: true,
        microphone: true,
        ..Joiner::default()
    }
}

/// A camera alone: a microphone is heard on every node, for who has the floor.
pub fn filmer() -> Joiner {
    Joiner {
        camera: true,
        ..Joiner::default()
    }
}

pub fn viewer(of: &str, height: u16) -> Joiner {
    Joiner {
        views: vec![(camera_of(of), height)],
        ..Joiner::default()
    }
}

pub fn listener() -> Joiner {
    Joiner {
        audio_slots: 4,
        ..Joiner::default()
    }
}

pub fn camera_of(name: &str) -> SlotTarget {
    SlotTarget::Source {
        participant: name.into(),
        source: TrackSource::Camera,
    }
}

fn views(views: &[(SlotTarget, u16)]) -> Vec<SlotView> {
    let view = |(index, (target, height)): (usize, &(SlotTarget, u16))| SlotView {
        mid: mid(&format!("v{index}")),
        target: target.clone(),
        height: *height,
    };
    views.iter().enumerate().map(view).collect()
}

pub struct Node {
    pub rooms: Rooms,
    pub workers: Vec<WorkerCore>,
    pub events: Vec<(Duration, RoomsEvent)>,
    /// On their way to the control side.
    told: VecDeque<(Duration, WorkerIndex, WorkerEvent)>,
    /// What its sessions publish.
    tracks: BTreeMap<String, Vec<TrackInfo>>,
    /// Mail that other workers find only at their next turn.
    mails: VecDeque<(WorkerIndex, WorkerIndex, Mail)>,
}

/// The wire between two nodes.
pub struct Wire {
    pub link: LinkId,
    /// On which worker of the node with the lower number it is, and on which of the other.
    pub workers: [usize; 2],
    pub net: Duplex<(usize, usize, Vec<u8>)>,
}

pub struct World {
    pub now: Instant,
    epoch: Instant,
    pub nodes: Vec<Node>,
    pub peers: Vec<Peer>,
    /// By both nodes, the lower number first; the way down is from it.
    pub wires: BTreeMap<(usize, usize), Wire>,
    next_link: u64,
}

#[derive(Default)]
struct Sink(Vec<(Path, Vec<u8>)>);

impl PacketSink for Sink {
    fn send(&mut self, batch: &SendBatch) {
        for run in batch.runs() {
            let packets = batch.bytes(run).chunks(run.segment);
            self.0.extend(packets.map(|packet| (run.path, packet.to_vec())));
        }
    }
}

impl World {
    pub fn new(nodes: usize, workers: u8) -> Self {
        let now = Instant::now();
        let ntp = NtpClock::new(now, Duration::from_secs(1_700_000_000));
        let node = |_| {
            let certificate = Certificate::generate().expect("generates");
            let worker = |index| WorkerConfig {
                pool_packets: 8_192,
                ..WorkerConfig::new(WorkerIndex(index), certificate.clone(), ntp)
            };
            Node {
                rooms: Rooms::new(RoomsConfig {
                    workers,
                    ..RoomsConfig::default()
                }),
                workers: (0..workers).map(|index| WorkerCore::new(worker(index), now)).collect(),
                events: Vec::new(),
                told: VecDeque::new(),
                tracks: BTreeMap::new(),
                mails: VecDeque::new(),
            }
        };
        Self {
            now,
            epoch: now,
            nodes: (0..nodes).map(node).collect(),
            peers: Vec::new(),
            wires: BTreeMap::new(),
            next_link: 1,
        }
    }

    /// Two nodes, joined by a good link.
    pub fn pair(workers: u8) -> Self {
        let mut world = Self::new(2, workers);
        world.link(0, 1, &between("0%"));
        world.run(secs(0.2));
        world
    }

    pub fn time(&self) -> Duration {
        self.now - self.epoch
    }

    /// Opens a link between two nodes; the lower number is told nothing of where the other is.
    pub fn link(&mut self, one: usize, other: usize, profile: &Profile) {
        let (id, time) = (LinkId(self.next_link), self.time());
        self.next_link += 1;
        let key = |byte| LinkKey {
            key: [byte; 16],
            salt: [byte; 12],
        };
        let keys = |send, receive| LinkKeys {
            generation: 1,
            send: key(send),
            receive: key(receive),
        };
        let room: RoomId = ROOM.into();
        let worker = self.nodes[one].rooms.open_link(&room, id, keys(1, 2), None);
        let here = usize::from(worker.expect("opens").0);
        let at = address(one, here);
        let opened = self.nodes[other].rooms.open_link(&room, id, keys(2, 1), Some(at));
        let there = usize::from(opened.expect("opens").0);
        let workers = if one < other { [here, there] } else { [there, here] };
        let mut net = Duplex::new(profile, id.0);
        net.set_profile(time, profile);
        self.wires
            .insert((one.min(other), one.max(other)), Wire { link: id, workers, net });
        self.sync();
    }

    pub fn unlink(&mut self, one: usize, other: usize) {
        if let Some(wire) = self.wires.remove(&(one.min(other), one.max(other))) {
            for node in [one, other] {
                self.nodes[node].rooms.close_link(self.now, wire.link);
            }
            self.sync();
        }
    }

    /// The neighbour of `from` on the way to `to`.
    fn next_hop(&self, from: usize, to: usize) -> Option<usize> {
        // From `to` outwards: who first reaches `from` is on the shortest way.
        let mut reached = vec![to];
        let mut at = 0;
        while at < reached.len() {
            let node = reached[at];
            let neighbours = self.wires.keys().filter_map(|&(one, other)| match node {
                _ if node == one => Some(other),
                _ if node == other => Some(one),
                _ => None,
            });
            for neighbour in neighbours {
                if neighbour == from {
                    return Some(node);
                }
                if !reached.contains(&neighbour) {
                    reached.push(neighbour);
                }
            }
            at += 1;
        }
        None
    }

    /// Tells every node of those on the others, and that the first has the floor to give.
    pub fn sync(&mut self) {
        for node in 0..self.nodes.len() {
            let mut wanted = Vec::new();
            for other in (0..self.nodes.len()).filter(|&other| other != node) {
                let Some(hop) = self.next_hop(node, other) else {
                    continue;
                };
                let via = self.wires[&(node.min(hop), node.max(hop))].link;
                for (name, tracks) in &self.nodes[other].tracks {
                    wanted.push(RemoteParticipant {
                        session: name.as_str().into(),
                        identity: name.clone(),
                        via,
                        tracks: tracks.clone(),
                    });
                }
            }
            let home = self.next_hop(node, 0).filter(|_| node != 0);
            let home = home.map(|hop| self.wires[&(node.min(hop), node.max(hop))].link);
            let (now, rooms) = (self.now, &mut self.nodes[node].rooms);
            for name in rooms.remotes_of(ROOM) {
                if wanted.iter().all(|remote| remote.session != name) {
                    rooms.remove_remote(now, ROOM, &name);
                }
            }
            for remote in wanted {
                rooms.set_remote(now, ROOM, remote).expect("is shown");
            }
            rooms.set_home(now, ROOM, home);
        }
        self.settle();
    }

    /// Opens a session, of which only its own node hears; its index among the peers.
    pub fn open(&mut self, node: usize, name: &str, joiner: &Joiner) -> usize {
        let room: RoomId = ROOM.into();
        let session: SessionId = name.into();
        let publishes = joiner.camera || joiner.microphone;
        let (now, time) = (self.now, self.time());
        let workers = self.nodes[node].workers.len();
        let rooms = &mut self.nodes[node].rooms;
        let mut seat = rooms.seat(&room, &session, publishes).expect("a seat");
        // Small rooms stay on one worker; what is tested here is also what happens between them.
        seat.worker = WorkerIndex((self.peers.len() % workers) as u8);
        seat.connection = ConnectionId(self.peers.len() as u32 + 1);
        seat.local_ice = ufrag::generate(seat.worker, seat.connection);
        let client = Client::new(Version::Dtls13, true, 1150, seat.local_ice.clone(), now);
        let mut media = Vec::new();
        media.extend(joiner.camera.then(camera));
        media.extend(joiner.microphone.then(microphone));
        let mut ssrc = 10_000;
        let mut add = |name: String, kind| {
            ssrc += 10;
            media.push(slot(&name, kind, ssrc));
        };
        (0..joiner.audio_slots).for_each(|index| add(format!("a{index}"), MediaKind::Audio));
        (0..joiner.views.len()).for_each(|index| add(format!("v{index}"), MediaKind::Video));
        let worker = usize::from(seat.worker.0);
        let state = rooms.open(
            now,
            OpenSession {
                room,
                session,
                seat,
                negotiated: negotiated(&client, media),
                tracks: Vec::new(),
                slots: views(&joiner.views),
                audio: AudioPolicy::Loudest,
                identity: name.to_owned(),
            },
        );
        let SessionState { tracks, slots } = state.expect("opens");
        self.nodes[node].tracks.insert(name.to_owned(), tracks);
        let session = name.into();
        self.nodes[node]
            .events
            .push((time, RoomsEvent::Slots { session, slots }));
        let mut peer = Peer::new(node, worker, name, client);
        peer.camera = joiner.camera.then(|| Camera::new("cam", CAMERA_SSRC, 3, time, |_| 1.0));
        peer.voice = joiner.microphone.then(|| Voice::new(time));
        self.peers.push(peer);
        self.settle();
        self.peers.len() - 1
    }

    /// The same; all hear of it, and it connects.
    pub fn join(&mut self, node: usize, name: &str, joiner: &Joiner) -> usize {
        let peer = self.open(node, name, joiner);
        self.sync();
        for _ in 0..5_000 {
            self.run(MS);
            if self.peers[peer].connected && self.peers[peer].has_keys() {
                return peer;
            }
        }
        panic!("{name} does not connect");
    }

    pub fn leave(&mut self, peer: usize) {
        self.close(peer);
        self.sync();
    }

    /// Ends a session, of which only its own node hears.
    pub fn close(&mut self, peer: usize) {
        let (node, name) = (self.peers[peer].node, self.peers[peer].name.clone());
        self.nodes[node].rooms.close(self.now, &name);
        self.nodes[node].tracks.remove(&name);
        self.peers[peer].silent = true;
        self.settle();
    }

    pub fn look(&mut self, peer: usize, wanted: &[(SlotTarget, u16)]) {
        let Peer { node, name, .. } = &self.peers[peer];
        let set = self.nodes[*node].rooms.set_viewport(name, &views(wanted), Mode::Normal);
        set.expect("an open session");
        self.settle();
    }

    pub fn track(&self, peer: usize, source: TrackSource) -> TrackId {
        let Peer { node, name, .. } = &self.peers[peer];
        let tracks = &self.nodes[*node].tracks[name];
        tracks
            .iter()
            .find(|track| track.source == source)
            .expect("publishes it")
            .id
    }

    /// What a session's slots were told to show last.
    pub fn shown(&self, peer: usize, slot: &str) -> Option<TrackId> {
        let Peer { node, name, .. } = &self.peers[peer];
        let events = self.nodes[*node].events.iter().rev();
        let mut states = events.filter_map(|(_, event)| match event {
            RoomsEvent::Slots { session, slots } if **session == **name => slots
                .iter()
                .find(|state| state.mid == mid(slot))
                .map(|state| state.track),
            _ => None,
        });
        states.next().flatten()
    }

    /// Pictures come, if only those of the lowest temporal layer: so it begins where nothing is known of what a layer takes.
    pub fn assert_watches(&self, peer: usize) {
        let pictures = self.peers[peer].pictures(self.time() - secs(0.5));
        assert!(pictures >= 3, "{pictures} pictures of {}", self.peers[peer].name);
    }

    /// Bytes that went into the wire so far, from the first node to the second.
    pub fn crossed(&self, from: usize, to: usize) -> u64 {
        let net = &self.wires[&(from.min(to), from.max(to))].net;
        let counters = net.counters();
        if from < to {
            counters.down.sent_bytes
        } else {
            counters.up.sent_bytes
        }
    }

    /// Runs on, and tells how much goes from one node to the other meanwhile, in kbit/s.
    pub fn kbit(&mut self, from: usize, to: usize, time: Duration) -> f64 {
        let before = self.crossed(from, to);
        self.run(time);
        (self.crossed(from, to) - before) as f64 * 8.0 / 1_000.0 / time.as_secs_f64()
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now += MS;
        let (now, time) = (self.now, self.time());
        for node in &mut self.nodes {
            while node.rooms.poll_timeout().is_some_and(|due| due <= now) {
                node.rooms.handle_timeout(now);
            }
            while node.told.front().is_some_and(|(due, ..)| *due <= time) {
                if let Some((_, worker, event)) = node.told.pop_front() {
                    node.rooms.handle_worker_event(now, worker, event);
                }
            }
            for worker in &mut node.workers {
                if worker.poll_timeout().is_some_and(|due| due <= now) {
                    worker.handle_timeout(now);
                }
            }
        }
        for (index, peer) in self.peers.iter_mut().enumerate() {
            peer.turn(now, time);
            while peer.up.front().is_some_and(|(at, _)| *at <= time) {
                if let Some((_, mut packet)) = peer.up.pop_front() {
                    self.nodes[peer.node].workers[peer.worker].handle_packet(now, peer_path(index), &mut packet);
                }
            }
        }
        for (&(one, other), wire) in &mut self.wires {
            while let Some((way, (from, to, mut datagram))) = wire.net.poll(time) {
                let (sender, receiver) = if way == Way::Down { (one, other) } else { (other, one) };
                let path = Path::udp(address(sender, from));
                self.nodes[receiver].workers[to].handle_packet(now, path, &mut datagram);
            }
        }
        self.settle();
        for node in &self.nodes {
            node.workers.iter().for_each(|worker| worker.check_bounds());
        }
    }

    /// Carries out what rooms and workers say until nothing is left to say.
    fn settle(&mut self) {
        while (0..self.nodes.len()).fold(false, |moved, node| self.settle_node(node) | moved) {}
    }

    fn settle_node(&mut self, index: usize) -> bool {
        let (now, time) = (self.now, self.time());
        let mut moved = false;
        let node = &mut self.nodes[index];
        while let Some(output) = node.rooms.poll_output() {
            moved = true;
            match output {
                RoomsOutput::Command(worker, command) => {
                    node.workers[usize::from(worker.0)].handle_command(now, command);
                }
                RoomsOutput::Event(event) => {
                    on_event(index, time, &event, &mut self.peers);
                    node.events.push((time, event));
                }
            }
        }
        while let Some((from, to, mail)) = node.mails.pop_front() {
            moved = true;
            node.workers[usize::from(to.0)].handle_mail(now, from, mail);
        }
        for worker in 0..node.workers.len() {
            let mut sink = Sink::default();
            let core = &mut node.workers[worker];
            core.write_mail();
            core.flush(now, &mut sink);
            let from = WorkerIndex(worker as u8);
            node.mails
                .extend(std::iter::from_fn(|| core.poll_mail()).map(|(to, mail)| (from, to, mail)));
            while let Some(event) = core.poll_event() {
                node.told.push_back((time + CONTROL_DELAY, from, event));
            }
            for (path, packet) in sink.0 {
                moved = true;
                match target(path.remote()) {
                    Target::Worker(to, worker_there) => {
                        let key = (index.min(to), index.max(to));
                        let Some(wire) = self.wires.get_mut(&key) else { continue };
                        let way = if index < to { Way::Down } else { Way::Up };
                        let bytes = packet.len() + UDP_IPV4_HEADERS;
                        wire.net.push(way, time, bytes, (worker, worker_there, packet));
                    }
                    Target::Peer(peer) => self.peers[peer].push(time, packet),
                }
            }
        }
        moved | !node.mails.is_empty()
    }

    /// Ends everything, and sees that nothing is left of it.
    pub fn end(&mut self) {
        for peer in 0..self.peers.len() {
            if !self.peers[peer].silent {
                self.leave(peer);
            }
        }
        for (one, other) in self.wires.keys().copied().collect::<Vec<_>>() {
            self.unlink(one, other);
        }
        self.run(secs(2.5));
        self.assert_empty();
    }

    pub fn assert_empty(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            assert!(node.rooms.is_empty(), "rooms of node {index}");
            for (worker, core) in node.workers.iter().enumerate() {
                assert!(core.is_empty(), "worker {worker} of node {index}");
            }
        }
    }
}

fn on_event(node: usize, time: Duration, event: &RoomsEvent, peers: &mut [Peer]) {
    match event {
        RoomsEvent::Connected { session } => {
            if let Some(peer) = find(peers, node, session) {
                peer.connected = true;
            }
        }
        RoomsEvent::Wanted { session, tracks } => {
            if let Some(peer) = find(peers, node, session) {
                tracks.iter().for_each(|wanted| peer.on_wanted(time, wanted));
            }
        }
        _ => {}
    }
}

fn find<'a>(peers: &'a mut [Peer], node: usize, name: &str) -> Option<&'a mut Peer> {
    let mut found = peers.iter_mut().rev();
    found.find(|peer| peer.node == node && !peer.silent && peer.name == name)
}

enum Target {
    Worker(usize, usize),
    Peer(usize),
}

/// Of a worker, for the other nodes.
fn address(node: usize, worker: usize) -> SocketAddr {
    SocketAddr::from(([10, 9, node as u8, worker as u8], 3478))
}

fn peer_path(peer: usize) -> Path {
    Path::udp(SocketAddr::from(([10, 0, 0, 1], 5000 + peer as u16)))
}

fn target(address: SocketAddr) -> Target {
    match address {
        SocketAddr::V4(v4) if v4.ip().octets()[1] == 9 => {
            let [.., node, worker] = v4.ip().octets();
            Target::Worker(node.into(), worker.into())
        }
        other => Target::Peer(usize::from(other.port() - 5000)),
    }
}
