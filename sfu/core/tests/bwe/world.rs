//! Senders, their receivers and perhaps a TCP flow on one link, in steps of a millisecond.

use std::time::{Duration, Instant};

use tianqiao_sfu_core::bwe::Config;
use tianqiao_sfu_core::units::Bitrate;
use tianqiao_testnet::link::{Fate, Link};
use tianqiao_testnet::profile::{BitRate, Direction, Profile, Share};
use tianqiao_testnet::virtual_link::VirtualLink;

use crate::sender::{OnTheWire, Receiver, Sender};
use crate::source::Source;
use crate::tcp::{PACKET, Tcp};

const STEP: Duration = Duration::from_millis(1);

pub fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

/// A link with 25 ms each way and a queue of a second, so that a queue is seen and not cut.
pub fn link(rate: Bitrate, loss: f64) -> Direction {
    Direction {
        rate: Some(BitRate(rate.0)),
        queue: Duration::from_secs(1),
        delay: Duration::from_millis(25),
        loss: Share(loss),
        ..Direction::default()
    }
}

pub struct World {
    pub now: Duration,
    epoch: Instant,
    /// Packets by flow.
    pub down: VirtualLink<(usize, OnTheWire)>,
    pub senders: Vec<Sender>,
    pub receivers: Vec<Receiver>,
    feedback: Vec<VirtualLink<Vec<u8>>>,
    up: Direction,
    pub tcp: Option<Tcp>,
    /// The longest queue since [`Self::forget_queue`].
    pub max_queue: Duration,
    seed: u64,
}

impl World {
    pub fn new(down: &Direction, seed: u64) -> Self {
        let up = Direction {
            delay: down.delay,
            ..Direction::default()
        };
        Self {
            now: Duration::ZERO,
            epoch: Instant::now(),
            down: VirtualLink::new(Link::new(down, seed)),
            senders: Vec::new(),
            receivers: Vec::new(),
            feedback: Vec::new(),
            up,
            tcp: None,
            max_queue: Duration::ZERO,
            seed,
        }
    }

    /// On a link of two directions.
    pub fn on(profile: &Profile, seed: u64) -> Self {
        Self {
            up: profile.up.clone(),
            ..Self::new(&profile.down, seed)
        }
    }

    pub fn with_sender(down: &Direction, source: Source, seed: u64) -> Self {
        let mut world = Self::new(down, seed);
        world.add(source);
        world
    }

    pub fn add(&mut self, source: Source) {
        let epoch = self.epoch;
        self.senders.push(Sender::new(epoch, Config::default(), source));
        self.receivers.push(Receiver::new(epoch));
        self.feedback.push(VirtualLink::new(Link::new(&self.up, self.seed + 1)));
    }

    pub fn estimate(&self) -> Bitrate {
        self.senders[0].bwe.estimate()
    }

    pub fn set_down(&mut self, down: &Direction) {
        let now = self.now;
        self.down.link_mut().set_direction(now, down);
    }

    pub fn queue(&self) -> Duration {
        self.down.link().waiting(self.now)
    }

    pub fn forget_queue(&mut self) {
        self.max_queue = Duration::ZERO;
    }

    pub fn run_until(&mut self, end: f64) {
        self.run_while(end, |_| true);
    }

    /// Runs to `end`, in seconds, or until `goes_on` is false; returns the time.
    pub fn run_while(&mut self, end: f64, goes_on: impl Fn(&Self) -> bool) -> f64 {
        while self.now < secs(end) && goes_on(self) {
            self.step();
        }
        self.now.as_secs_f64()
    }

    fn step(&mut self) {
        self.now += STEP;
        let now = self.now;
        self.deliver(now);
        for flow in 0..self.senders.len() {
            while let Some(feedback) = self.receivers[flow].poll(now) {
                self.feedback[flow].push(now, feedback.len() + 28, feedback);
            }
            while let Some(feedback) = self.feedback[flow].poll(now) {
                self.senders[flow].on_feedback(now, &feedback);
            }
            let mut packets = Vec::new();
            self.senders[flow].poll(now, &mut packets);
            for packet in packets {
                self.down.push(now, packet.bytes, (flow, packet));
            }
        }
        self.step_tcp(now);
        self.max_queue = self.max_queue.max(self.queue());
        if std::env::var_os("BWE_TRACE").is_some() && now.as_millis().is_multiple_of(200) {
            self.trace();
        }
    }

    fn deliver(&mut self, now: Duration) {
        while let Some(at) = self.down.next_arrival().filter(|at| *at <= now) {
            let (flow, packet) = self.down.poll(now).expect("it has arrived");
            self.receivers[flow].on_packet(at, packet);
        }
    }

    fn step_tcp(&mut self, now: Duration) {
        let queue = self.queue();
        let Some(tcp) = &mut self.tcp else { return };
        let one_way = queue + self.up.delay;
        tcp.handle_time(now, one_way + self.up.delay);
        // A burst of a millisecond at most, as the window opens by acknowledgements.
        for _ in 0..4 {
            if !tcp.may_send() {
                break;
            }
            match self.down.link_mut().send(now, PACKET) {
                Fate::Arrives(at) => tcp.on_sent(at, false),
                _ => tcp.on_sent(now + one_way, true),
            }
        }
    }

    /// For a look at a run: `BWE_TRACE=1 cargo test … -- --nocapture`.
    fn trace(&self) {
        for (flow, sender) in self.senders.iter().enumerate() {
            let stats = sender.bwe.stats();
            println!(
                "{:6.1} s flow {flow}: estimate {:5} delay {:5} loss {:5?} acked {:5?} inherent {:.2} queue {:4} seen {:4} over {:5} alr {:5} competes {:5} probes {}/{} lost {:.3}",
                self.now.as_secs_f64(),
                stats.estimate.0 / 1_000,
                stats.delay_based.0 / 1_000,
                stats.loss_based.map(|rate| rate.0 / 1_000),
                stats.acknowledged.map(|rate| rate.0 / 1_000),
                stats.inherent_loss,
                self.queue().as_millis(),
                stats.queue.as_millis(),
                stats.is_overused,
                stats.is_application_limited,
                stats.competes,
                stats.probes_sent,
                stats.probes_measured,
                sender.bwe.loss().share,
            );
        }
    }
}
