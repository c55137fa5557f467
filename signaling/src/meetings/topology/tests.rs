use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tianqiao_protocol::TrackSource;
use tianqiao_protocol::control::RelayLink;

const LIMITS: TopologyLimits = TopologyLimits {
    fan_out: 3,
    rotate: Duration::from_secs(3600),
};

/// A node that applies what it is told, as nodes do.
#[derive(Default)]
struct Applied {
    version: u64,
    home: Option<LinkId>,
    links: Vec<RelayLink>,
    participants: BTreeMap<SessionId, RemoteParticipant>,
}

impl Applied {
    fn apply(&mut self, port: u16, relays: RoomRelays) -> RelayReply {
        if relays.version > self.version {
            match relays.base {
                Some(base) if base != self.version => return RelayReply::Behind,
                Some(_) => relays.gone.iter().for_each(|gone| drop(self.participants.remove(gone))),
                None => self.participants.clear(),
            }
            self.version = relays.version;
            self.home = relays.home;
            self.links = relays.links;
            let new = relays.participants.into_iter();
            self.participants
                .extend(new.map(|remote| (remote.session.clone(), remote)));
        }
        let endpoint = |link: &RelayLink| RelayEndpoint {
            link: link.id,
            addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
        };
        RelayReply::Relayed(self.links.iter().map(endpoint).collect())
    }
}

enum Mail {
    Request(NodeId, RoomRelays),
    Reply(NodeId, u64, RelayReply),
}

/// An owner and its nodes in virtual time, with a bus between that loses, delays and repeats.
struct World {
    rng: StdRng,
    now: Instant,
    topology: Topology,
    nodes: BTreeMap<NodeId, Applied>,
    mail: Vec<(Instant, Mail)>,
    /// When the owner gives up waiting.
    waiting: Vec<(Instant, NodeId, u64)>,
    faults: bool,
    requests: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            now: Instant::now(),
            topology: Topology::new("room".into(), LIMITS),
            nodes: BTreeMap::new(),
            mail: Vec::new(),
            waiting: Vec::new(),
            faults: true,
            requests: 0,
        }
    }

    fn set(&mut self, session: &str, member: Option<Member>) {
        self.topology
            .set_member(self.now, &mut self.rng, &session.to_owned(), member);
    }

    fn post(&mut self, mail: impl Fn() -> Mail) {
        let copies = match self.rng.random_range(0..10) {
            0 if self.faults => 0,
            1 if self.faults => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let most = if self.faults { 1500 } else { 20 };
            let at = self.now + Duration::from_millis(self.rng.random_range(0..most));
            self.mail.push((at, mail()));
        }
    }

    /// One step of time.
    fn step(&mut self) {
        self.now += Duration::from_millis(self.rng.random_range(1..200));
        while let Some(at) = self.mail.iter().position(|(at, _)| *at <= self.now) {
            match self.mail.swap_remove(at).1 {
                Mail::Request(node, relays) => {
                    let port = node[1..].parse().expect("a number");
                    let version = relays.version;
                    let reply = self.nodes.entry(node.clone()).or_default().apply(port, relays);
                    self.post(|| Mail::Reply(node.clone(), version, reply.clone()));
                }
                Mail::Reply(node, version, reply) => self.topology.on_reply(self.now, &node, version, reply),
            }
        }
        let now = self.now;
        let (late, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(until, ..)| *until <= now);
        self.waiting = waiting;
        let late: Vec<(Instant, NodeId, u64)> = late;
        for (_, node, version) in late {
            self.topology.on_reply(now, &node, version, RelayReply::Failed);
        }
        self.topology.handle_timeout(now, &mut self.rng);
        while let Some((node, relays)) = self.topology.poll_request(now) {
            self.requests += 1;
            self.waiting
                .push((now + Duration::from_secs(1), node.clone(), relays.version));
            self.post(|| Mail::Request(node.clone(), relays.clone()));
        }
    }

    fn run(&mut self, steps: usize) {
        (0..steps).for_each(|_| self.step());
    }

    fn random_change(&mut self) {
        let node = |rng: &mut StdRng| format!("n{}", rng.random_range(1..8));
        let session = format!("s{}", self.rng.random_range(0..20));
        match self.rng.random_range(0..12) {
            0..=2 => self.set(&session, None),
            3 => {
                // A node is started again: its sessions are gone, and what it was told.
                let node = node(&mut self.rng);
                self.nodes.remove(&node);
                self.mail
                    .retain(|(_, mail)| !matches!(mail, Mail::Request(to, _) if *to == node));
                let on_it = |member: &Member| member.node == node || member.also.as_ref() == Some(&node);
                let members = self.topology.members.iter().filter(|(_, member)| on_it(member));
                let sessions: Vec<SessionId> = members.map(|(session, _)| session.clone()).collect();
                for session in sessions {
                    self.set(&session, None);
                }
                self.topology.on_node_lost(&node);
            }
            _ => {
                let member = member(&node(&mut self.rng), self.rng.random_range(0..3));
                let also = self.rng.random_bool(0.2).then(|| node(&mut self.rng));
                self.set(&session, Some(Member { also, ..member }));
            }
        }
    }

    fn assert_converged(&self, seed: u64) {
        for (node, _) in self.topology.nodes() {
            let (home, links, participants) = self.topology.wanted(node);
            let nothing = Applied::default();
            let applied = self.nodes.get(node).unwrap_or(&nothing);
            assert_eq!(applied.home, home, "seed {seed}, {node}");
            assert_eq!(applied.links, links, "seed {seed}, {node}");
            assert_eq!(applied.participants, participants, "seed {seed}, {node}");
            assert!(
                links.iter().all(|link| !link.endpoints.is_empty()),
                "seed {seed}, {node}"
            );
        }
        for (node, applied) in &self.nodes {
            let used = self.topology.sessions.contains_key(node);
            assert!(
                used || applied.links.is_empty() && applied.participants.is_empty(),
                "seed {seed}, {node}"
            );
        }
    }
}

fn member(node: &str, tracks: u32) -> Member {
    let track = |id| TrackInfo {
        id,
        source: TrackSource::Camera,
        muted: false,
    };
    Member {
        node: node.into(),
        also: None,
        identity: "person".into(),
        tracks: (0..tracks).map(track).collect(),
    }
}

#[test]
fn a_room_on_one_node_asks_nothing() {
    let mut world = World::new(1);
    for session in ["a", "b"] {
        world.set(session, Some(member("n1", 2)));
    }
    world.run(20);
    assert_eq!(world.requests, 0);
    assert_eq!(world.topology.home().map(String::as_str), Some("n1"));
    assert_eq!(world.topology.poll_timeout(), None);
}

#[test]
fn two_nodes_learn_of_each_others_participants_and_ends() {
    let mut world = World::new(1);
    world.faults = false;
    world.set("a", Some(member("n1", 2)));
    world.set("b", Some(member("n2", 1)));
    world.run(10);
    world.assert_converged(1);
    let link = &world.nodes["n1"].links[0];
    assert_eq!((link.peer.as_str(), link.endpoints[0].port()), ("n2", 2));
    assert_eq!(world.nodes["n1"].home, None);
    assert_eq!(world.nodes["n2"].home, Some(link.id));
    assert_eq!(world.nodes["n2"].participants["a"].tracks.len(), 2);
    // Only changes are told, to the node whom they concern.
    let before = world.requests;
    world.set("a", Some(member("n1", 1)));
    let told: Vec<(NodeId, RoomRelays)> = std::iter::from_fn(|| world.topology.poll_request(world.now)).collect();
    let to_peer = told.iter().find(|(node, _)| node == "n2").expect("it is told");
    assert!(to_peer.1.base.is_some() && to_peer.1.participants.len() == 1);
    assert!(told.len() <= 2 && world.requests == before);
}

#[test]
fn keys_are_replaced_in_time_and_names_stay() {
    let mut world = World::new(1);
    world.faults = false;
    world.set("a", Some(member("n1", 2)));
    world.set("b", Some(member("n2", 1)));
    world.run(10);
    let before = world.nodes["n1"].links.clone();
    world.now += LIMITS.rotate;
    world.run(10);
    world.assert_converged(1);
    let (old, new) = (&before[0], &world.nodes["n1"].links[0]);
    assert_eq!((new.id, new.keys.generation), (old.id, old.keys.generation + 1));
    assert_ne!(new.keys.send, old.keys.send);
    assert_eq!(new.keys.send, world.nodes["n2"].links[0].keys.receive);
}

#[test]
fn the_home_stays_while_it_has_sessions() {
    let mut world = World::new(1);
    world.set("a", Some(member("n1", 0)));
    for number in 0..5 {
        world.set(&format!("b{number}"), Some(member("n2", 0)));
    }
    assert_eq!(world.topology.home().map(String::as_str), Some("n1"));
    world.set("a", Some(member("n3", 0)));
    assert_eq!(world.topology.home().map(String::as_str), Some("n2"));
}

#[test]
fn large_rooms_are_told_in_parts() {
    let mut world = World::new(1);
    world.faults = false;
    for number in 0..1200 {
        world.set(&format!("s{number}"), Some(member("n1", 2)));
    }
    world.set("t", Some(member("n2", 2)));
    let (_, first) = std::iter::from_fn(|| world.topology.poll_request(world.now))
        .find(|(node, _)| node == "n2")
        .expect("it is told");
    assert_eq!((first.base, first.participants.len()), (None, MAX_PARTICIPANTS));
    world.waiting.push((world.now, "n2".into(), first.version));
    world.waiting.push((world.now, "n1".into(), first.version - 1));
    world.run(60);
    world.assert_converged(1);
}

#[test]
fn whatever_the_bus_does_all_nodes_have_the_wanted_state_in_the_end() {
    for seed in 0..2000 {
        let mut world = World::new(seed);
        for _ in 0..40 {
            for _ in 0..world.rng.random_range(0..4) {
                world.random_change();
            }
            world.step();
        }
        world.faults = false;
        world.run(400);
        world.assert_converged(seed);
    }
}
