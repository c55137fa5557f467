//! A fleet in virtual time, with everything going wrong that can: instances crash, stall and start late, what is read of
//! the store comes late, twice, out of order or not at all, and the store is away for minutes. Decides by [`Liveness`],
//! [`judge`] and [`is_share_of`] as the instances do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tianqiao_protocol::control::InstanceId;

use super::claims::{Judged, is_share_of, judge};
use super::liveness::{HEARTBEAT, LOOK, Liveness};

const STEP: Duration = Duration::from_millis(50);
const MEETINGS: usize = 8;
const NODES: usize = 2;
/// Orphans are looked for anew at least this often.
const SWEEP: Duration = Duration::from_secs(10);

/// The store: values with revisions.
#[derive(Default)]
struct Store {
    last: u64,
    instances: BTreeMap<InstanceId, u64>,
    claims: BTreeMap<usize, (InstanceId, u64)>,
}

impl Store {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// A node's fence: the latest claim of each meeting, and who made it.
type Fence = BTreeMap<usize, (u64, InstanceId)>;

struct Peer {
    id: InstanceId,
    liveness: Liveness,
    /// Of its registry entry.
    revision: Option<u64>,
    held: BTreeMap<usize, u64>,
    stalled_until: Instant,
    heartbeat_at: Instant,
    look_at: Instant,
    sweep_at: Instant,
    /// Looks on their way.
    looks: Vec<(Instant, Vec<(InstanceId, u64)>)>,
    /// Takeovers on their way: the meeting and its claim's revision as it was read.
    taking: Vec<(Instant, usize, u64)>,
}

struct World {
    rng: StdRng,
    now: Instant,
    store: Store,
    is_away: bool,
    peers: Vec<Peer>,
    nodes: [Fence; NODES],
    started: usize,
    takeovers: usize,
    calm: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            now: Instant::now(),
            store: Store::default(),
            is_away: false,
            peers: Vec::new(),
            nodes: Default::default(),
            started: 0,
            takeovers: 0,
            calm: false,
        };
        for _ in 0..world.rng.random_range(2..5) {
            world.start();
        }
        for meeting in 0..MEETINGS {
            let index = world.rng.random_range(0..world.peers.len());
            let (id, revision) = (world.peers[index].id.clone(), world.store.next());
            world.store.claims.insert(meeting, (id, revision));
            world.peers[index].held.insert(meeting, revision);
        }
        world
    }

    fn start(&mut self) {
        self.started += 1;
        let id = format!("i{}", self.started);
        let revision = self.store.next();
        self.store.instances.insert(id.clone(), revision);
        let late = Duration::from_millis(self.rng.random_range(0..1_000));
        self.peers.push(Peer {
            liveness: Liveness::new(id.clone()),
            id,
            revision: Some(revision),
            held: BTreeMap::new(),
            stalled_until: self.now,
            heartbeat_at: self.now + late,
            look_at: self.now + late,
            sweep_at: self.now + SWEEP,
            looks: Vec::new(),
            taking: Vec::new(),
        });
    }

    fn happens(&mut self, chance: f64) -> bool {
        !self.calm && self.rng.random_bool(chance)
    }

    fn disturb(&mut self) {
        if self.happens(0.002) && self.peers.len() > 1 {
            let index = self.rng.random_range(0..self.peers.len());
            self.peers.remove(index);
        }
        if self.happens(0.002) && self.peers.len() < 5 {
            self.start();
        }
        if self.happens(0.003) {
            let index = self.rng.random_range(0..self.peers.len());
            let stall = Duration::from_millis(self.rng.random_range(100..20_000));
            self.peers[index].stalled_until = self.now + stall;
        }
        let toggle = if self.is_away { 0.01 } else { 0.001 };
        if self.happens(toggle) {
            self.set_away(!self.is_away);
        }
    }

    fn set_away(&mut self, is_away: bool) {
        self.is_away = is_away;
        for peer in &mut self.peers {
            peer.liveness.set_connected(self.now, !is_away);
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        self.disturb();
        for index in 0..self.peers.len() {
            if self.now >= self.peers[index].stalled_until {
                self.heartbeat(index);
                self.look(index);
                self.take_over(index);
                self.act(index);
            }
        }
    }

    fn heartbeat(&mut self, index: usize) {
        let lost = self.happens(0.05);
        let peer = &mut self.peers[index];
        if self.now < peer.heartbeat_at || self.is_away {
            return;
        }
        peer.heartbeat_at = self.now + HEARTBEAT;
        if lost {
            return;
        }
        let stored = self.store.instances.get(&peer.id).copied();
        let revision = self.store.next();
        if stored != peer.revision {
            // Declared dead: what was taken over meanwhile is let go.
            let mine = |meeting: &usize, epoch: u64| {
                let entry = self
                    .store
                    .claims
                    .get(meeting)
                    .map(|(owner, revision)| (owner.as_str(), *revision));
                judge(&peer.id, Some(epoch), entry) == Judged::Keep
            };
            peer.held.retain(|meeting, epoch| mine(meeting, *epoch));
        }
        peer.revision = Some(revision);
        self.store.instances.insert(peer.id.clone(), revision);
    }

    fn look(&mut self, index: usize) {
        let (lost, twice) = (self.happens(0.1), self.happens(0.1));
        let delays = [0, 1].map(|_| match self.calm {
            true => Duration::from_millis(20),
            false => Duration::from_millis(self.rng.random_range(1..1_500)),
        });
        let peer = &mut self.peers[index];
        if self.now >= peer.look_at && !self.is_away {
            peer.look_at = self.now + LOOK;
            let entries: Vec<_> = self.store.instances.iter().map(|(id, at)| (id.clone(), *at)).collect();
            if !lost {
                peer.looks.push((self.now + delays[0], entries.clone()));
            }
            if twice {
                peer.looks.push((self.now + delays[1], entries));
            }
        }
        let due: Vec<_> = peer.looks.extract_if(.., |(at, _)| *at <= self.now).collect();
        for (_, entries) in due {
            if peer.liveness.look(self.now, &entries) {
                peer.sweep_at = self.now;
            }
        }
        if self.is_away {
            return;
        }
        for (id, revision) in peer.liveness.silent(self.now) {
            if self.store.instances.get(&id).is_none_or(|at| *at == revision) {
                self.store.instances.remove(&id);
                peer.liveness.on_gone(&id);
                peer.sweep_at = self.now;
            }
        }
    }

    fn take_over(&mut self, index: usize) {
        if self.is_away {
            return;
        }
        let peer = &mut self.peers[index];
        if self.now >= peer.sweep_at {
            peer.sweep_at = self.now + SWEEP;
            let members = peer.liveness.members();
            for (meeting, (owner, revision)) in &self.store.claims {
                let held = peer.held.get(meeting).copied();
                let is_orphan = match judge(&peer.id, held, Some((owner.as_str(), *revision))) {
                    Judged::Others(owner) => !self.store.instances.contains_key(&owner),
                    Judged::Restore => true,
                    Judged::Keep | Judged::Nobody => false,
                };
                if is_orphan && is_share_of(&peer.id, &meeting.to_string(), &members) {
                    let delay = Duration::from_millis(self.rng.random_range(0..400));
                    peer.taking.push((self.now + delay, *meeting, *revision));
                }
            }
        }
        let due: Vec<_> = peer.taking.extract_if(.., |(at, ..)| *at <= self.now).collect();
        let id = peer.id.clone();
        for (_, meeting, read) in due {
            let is_unchanged = |(_, revision): &(InstanceId, u64)| *revision == read;
            if !self.store.claims.get(&meeting).is_some_and(is_unchanged) {
                continue;
            }
            let revision = self.store.next();
            self.store.claims.insert(meeting, (id.clone(), revision));
            self.peers[index].held.insert(meeting, revision);
            self.takeovers += 1;
            for node in 0..NODES {
                self.ask(index, node, meeting);
            }
        }
    }

    /// Every owner asks something of the nodes now and then.
    fn act(&mut self, index: usize) {
        let meetings: Vec<usize> = self.peers[index].held.keys().copied().collect();
        for meeting in meetings {
            if self.rng.random_bool(0.1) {
                let node = self.rng.random_range(0..NODES);
                self.ask(index, node, meeting);
            }
        }
    }

    fn ask(&mut self, index: usize, node: usize, meeting: usize) {
        let peer = &mut self.peers[index];
        let epoch = peer.held[&meeting];
        let fence = self.nodes[node].entry(meeting).or_insert((epoch, peer.id.clone()));
        if epoch < fence.0 {
            peer.held.remove(&meeting);
            return;
        }
        assert!(epoch > fence.0 || fence.1 == peer.id, "two owners by one claim");
        *fence = (epoch, peer.id.clone());
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn check(&self, seed: u64) {
        for meeting in 0..MEETINGS {
            let (owner, epoch) = &self.store.claims[&meeting];
            let holders = self.peers.iter().filter(|peer| peer.held.contains_key(&meeting));
            let holders: BTreeSet<_> = holders.map(|peer| &peer.id).collect();
            assert_eq!(holders, BTreeSet::from([owner]), "seed {seed}, meeting {meeting}");
            let holder = self.peers.iter().find(|peer| peer.id == *owner);
            assert_eq!(
                holder.and_then(|peer| peer.held.get(&meeting)),
                Some(epoch),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn every_meeting_has_one_owner_in_the_end_whatever_happens() {
    let mut takeovers = 0;
    for seed in 0..1_000 {
        let mut world = World::new(seed);
        world.run(Duration::from_secs(60));
        world.calm = true;
        world.set_away(false);
        world.run(Duration::from_secs(60));
        world.check(seed);
        takeovers += world.takeovers;
    }
    assert!(takeovers > 2_000, "{takeovers}");
}

#[test]
fn a_killed_instance_is_replaced_within_five_seconds_and_an_outage_replaces_nobody() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        world.calm = true;
        world.run(Duration::from_secs(5));
        world.set_away(true);
        world.run(Duration::from_secs(7 * 60));
        world.set_away(false);
        world.run(Duration::from_secs(20));
        assert_eq!(world.takeovers, 0, "seed {seed}");
        let index = world.rng.random_range(0..world.peers.len());
        world.peers.remove(index);
        world.run(Duration::from_secs(5));
        world.check(seed);
    }
}
