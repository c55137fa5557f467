//! Subscribers that estimate their links themselves and tell by REMB, without transport-wide feedback.

use std::collections::BTreeMap;
use std::time::Duration;

use tianqiao_sfu_core::packet::rtcp::{ReportBlock, write};
use tianqiao_sfu_core::units::Ssrc;
use tianqiao_testnet::profile::Profile;

use crate::world::{World, audio_slot, by_remb, good, limited, profile, secs, video_slot};

const INTERVAL: Duration = Duration::from_secs(1);

/// What a subscriber says of its link, in bit/s.
#[derive(Clone, Copy, PartialEq)]
pub enum Estimate {
    /// Receiver reports alone.
    Silent,
    Fixed(u64),
    /// Rises by 8 % a second, up to the link and to 1.5 times what comes in, as libwebrtc's.
    Rising {
        now: f64,
        link: f64,
    },
}

/// The reports of such a subscriber.
pub struct Remb {
    pub estimate: Estimate,
    next: Duration,
    bytes: usize,
    /// By SSRC: first and highest sequence number, packets.
    streams: BTreeMap<u32, (u16, u32, u32)>,
    /// When packets were sent by what they say, less when they came, in ms.
    pub ages: Vec<i64>,
}

pub struct Report {
    blocks: Vec<ReportBlock>,
    estimate: Option<u64>,
}

impl Report {
    pub fn write(&self, own: Ssrc, out: &mut [u8]) -> Option<usize> {
        let len = write::receiver_report(own, &self.blocks, out)?;
        let Some(estimate) = self.estimate else {
            return Some(len);
        };
        let ssrcs: Vec<Ssrc> = self.blocks.iter().map(|block| block.ssrc).collect();
        Some(len + write::remb(own, estimate, &ssrcs, &mut out[len..])?)
    }
}

impl Remb {
    pub fn new(estimate: Estimate) -> Self {
        Self {
            estimate,
            next: Duration::ZERO,
            bytes: 0,
            streams: BTreeMap::new(),
            ages: Vec::new(),
        }
    }

    pub fn on_packet(&mut self, now: Duration, ssrc: Ssrc, seq: u16, bytes: usize, sent: Option<u32>) {
        let (_, highest, packets) = self.streams.entry(ssrc.0).or_insert((seq, seq.into(), 0));
        *highest = highest.wrapping_add_signed((seq.wrapping_sub(*highest as u16) as i16).max(0).into());
        *packets += 1;
        self.bytes += bytes;
        let sent = sent.expect("a time of sending");
        self.ages
            .push(now.as_millis() as i64 % 64_000 - ((i64::from(sent) * 1_000) >> 18));
    }

    pub fn poll(&mut self, now: Duration) -> Option<Report> {
        if now < self.next {
            return None;
        }
        self.next = now + INTERVAL;
        let incoming = (std::mem::take(&mut self.bytes) * 8) as f64;
        let block = |(&ssrc, &(first, highest_seq, packets)): (&u32, &(u16, u32, u32))| ReportBlock {
            ssrc: Ssrc(ssrc),
            highest_seq,
            cumulative_lost: (highest_seq + 1 - u32::from(first)) as i32 - packets as i32,
            ..ReportBlock::default()
        };
        Some(Report {
            blocks: self.streams.iter().map(block).collect(),
            estimate: match &mut self.estimate {
                Estimate::Silent => None,
                Estimate::Fixed(rate) => Some(*rate),
                Estimate::Rising { now, link } => {
                    *now = now.max((*now * 1.08).min(1.5 * incoming + 10_000.0)).min(*link);
                    Some(*now as u64)
                }
            },
        })
    }
}

/// A publisher, and a viewer that shows it large and says `estimate` of a good link.
fn shown(estimate: Estimate) -> (World, usize) {
    shown_over(&good(), estimate)
}

fn shown_over(link: &Profile, estimate: Estimate) -> (World, usize) {
    let mut world = World::new();
    world.publisher(10, &good());
    let slots = vec![by_remb(video_slot("v", 500)), by_remb(audio_slot("a", 600))];
    let viewer = world.join(link, slots, &[]);
    world.peers[viewer].remb = Some(Remb::new(estimate));
    world.show(viewer, "v", 10, 720);
    world.show(viewer, "a", 11, 0);
    (world, viewer)
}

fn set(world: &mut World, viewer: usize, estimate: Estimate) {
    world.peers[viewer].remb.as_mut().expect("estimates").estimate = estimate;
}

/// The heights of the pictures of the last two seconds.
fn heights(world: &World, viewer: usize) -> Vec<u16> {
    let since = world.time() - secs(2.0);
    let pictures = world.viewer(viewer, 500).pictures.iter();
    let mut heights: Vec<u16> = pictures
        .filter(|picture| picture.at >= since)
        .map(|picture| picture.height)
        .collect();
    heights.dedup();
    heights
}

#[test]
fn layers_follow_what_the_subscriber_says() {
    let (mut world, viewer) = shown(Estimate::Fixed(2_000_000));
    world.run(secs(10.0));
    assert_eq!(heights(&world, viewer), [720]);
    set(&mut world, viewer, Estimate::Fixed(300_000));
    world.run(secs(6.0));
    assert_eq!((heights(&world, viewer), world.kbit(viewer)), (vec![180], 300));
    set(&mut world, viewer, Estimate::Fixed(2_000_000));
    world.run(secs(8.0));
    assert_eq!(heights(&world, viewer), [720]);
}

#[test]
fn without_it_receiver_reports_tell() {
    let (mut world, viewer) = shown(Estimate::Fixed(300_000));
    world.run(secs(10.0));
    assert_eq!(world.kbit(viewer), 300);
    set(&mut world, viewer, Estimate::Silent);
    world.run(secs(4.0));
    assert_eq!(world.kbit(viewer), 300);
    // Nothing is lost, so it rises by 8 % a second from when the last one holds no longer.
    world.run(secs(20.0));
    let risen = world.kbit(viewer);
    assert!((900..2_000).contains(&risen), "{risen}");
    // Half is lost.
    let lossy = profile("[down]\ndelay = '10ms'\nloss = '50%'\n[up]\ndelay = '10ms'");
    world.set_link(viewer, &lossy);
    world.run(secs(6.0));
    let fallen = world.kbit(viewer);
    assert!(fallen < risen / 2, "{risen}, then {fallen}");
}

#[test]
fn padding_lets_an_estimate_rise_that_follows_what_comes_in() {
    let rising = Estimate::Rising {
        now: 300_000.0,
        link: 3_000_000.0,
    };
    let (mut world, viewer) = shown(rising);
    world.run(secs(60.0));
    assert_eq!(heights(&world, viewer), [720]);
    assert!(world.peers[viewer].paddings > 0);
    let before = world.peers[viewer].paddings;
    world.run(secs(30.0));
    assert_eq!(world.peers[viewer].paddings, before, "all that is wanted is sent");
}

#[test]
fn a_link_that_carries_no_more_is_left_alone_ever_longer() {
    let rising = Estimate::Rising {
        now: 300_000.0,
        link: 400_000.0,
    };
    let (mut world, viewer) = shown_over(&limited(450), rising);
    world.run(secs(60.0));
    let sent = |world: &World| world.peers[viewer].paddings;
    let first = sent(&world);
    world.run(secs(60.0));
    assert!(sent(&world) - first < first, "{first}, then {}", sent(&world) - first);
    assert!(world.peers[viewer].queue < secs(1.0));
}

#[test]
fn each_packet_tells_when_it_was_sent() {
    let (mut world, viewer) = shown(Estimate::Fixed(2_000_000));
    // Longer than the time takes to wrap.
    world.run(secs(70.0));
    let ages = &world.peers[viewer].remb.as_ref().expect("estimates").ages;
    let wrapped = |age: i64| age.rem_euclid(64_000);
    let (least, most) = (
        ages.iter().map(|&age| wrapped(age)).min(),
        ages.iter().map(|&age| wrapped(age)).max(),
    );
    // 10 ms on the way; a step of the world and the rounding of either clock.
    assert!(least >= Some(9) && most <= Some(12), "{least:?} to {most:?}");
}

/// Nothing changes for those with transport-wide feedback.
#[test]
fn next_to_transport_wide_feedback_it_is_not_looked_at() {
    let mut world = World::new();
    world.publisher(10, &good());
    let viewer = world.join(&good(), vec![video_slot("v", 500)], &[]);
    world.show(viewer, "v", 10, 720);
    world.run(secs(8.0));
    let before = world.kbit(viewer);
    world.tell_remb(viewer, 100_000);
    world.run(secs(2.0));
    assert!(world.kbit(viewer) >= before, "{before}, then {}", world.kbit(viewer));
    assert_eq!(heights(&world, viewer), [720]);
}
