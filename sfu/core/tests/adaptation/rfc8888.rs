//! Subscribers that tell by RFC 8888 what came, without transport-wide numbers in packets.

use std::collections::BTreeMap;
use std::time::Duration;

use tianqiao_sfu_core::negotiated::NegotiatedMedia;
use tianqiao_sfu_core::packet::rtcp::write;
use tianqiao_sfu_core::units::Ssrc;
use tianqiao_testnet::profile::Profile;

use crate::world::{World, audio_slot, by_rfc8888, good, limited, profile, secs, video_slot};

const INTERVAL: Duration = Duration::from_millis(50);
/// The receiver's clock, whose 16 bits of seconds wrap soon.
const CLOCK: Duration = Duration::from_secs(65_530);

#[derive(Default)]
struct Stream {
    /// What is told of next.
    begin: u64,
    came: BTreeMap<u64, Duration>,
}

/// The reports of such a subscriber.
#[derive(Default)]
pub struct CongestionReports {
    streams: BTreeMap<u32, Stream>,
    next: Duration,
}

impl CongestionReports {
    pub fn on_packet(&mut self, now: Duration, ssrc: Ssrc, seq: u16) {
        let new = || Stream {
            begin: 1 << 16 | u64::from(seq),
            came: BTreeMap::new(),
        };
        let stream = self.streams.entry(ssrc.0).or_insert_with(new);
        let step = seq.wrapping_sub(stream.begin as u16) as i16;
        stream.came.insert(stream.begin.wrapping_add_signed(step.into()), now);
    }

    pub fn poll(&mut self, now: Duration, own: Ssrc) -> Option<Vec<u8>> {
        if now < self.next || self.streams.values().all(|stream| stream.came.is_empty()) {
            return None;
        }
        self.next = now + INTERVAL;
        let told: Vec<(Ssrc, u16, Vec<u16>)> = self
            .streams
            .iter_mut()
            .filter(|(_, stream)| !stream.came.is_empty())
            .map(|(&ssrc, stream)| {
                let came = std::mem::take(&mut stream.came);
                // Late ones are told of again, with what follows them.
                let begin = came
                    .keys()
                    .next()
                    .map_or(stream.begin, |&first| first.min(stream.begin));
                let end = came
                    .keys()
                    .next_back()
                    .map_or(begin, |&last| last + 1)
                    .max(stream.begin);
                stream.begin = end;
                let metrics = (begin..end).map(|seq| came.get(&seq).map_or(0, |&at| metric(now, at)));
                (Ssrc(ssrc), begin as u16, metrics.collect())
            })
            .collect();
        let streams: Vec<_> = told
            .iter()
            .map(|(ssrc, begin, metrics)| (*ssrc, *begin, &metrics[..]))
            .collect();
        let made = now + CLOCK;
        let timestamp = (made.as_secs() << 16) as u32 | ((u64::from(made.subsec_nanos()) << 16) / 1_000_000_000) as u32;
        let mut buffer = vec![0; 1_200];
        let len = write::congestion_feedback(own, &streams, timestamp, &mut buffer)?;
        buffer.truncate(len);
        Some(buffer)
    }
}

/// Received, with both bits of congestion experienced, so long before the report.
fn metric(now: Duration, at: Duration) -> u16 {
    0xe000 | ((now - at).as_micros() * 1_024 / 1_000_000) as u16
}

/// A viewer of a camera and its voice over a link, after a time; `is_new`: by RFC 8888.
fn watched(link: &Profile, time: Duration, is_new: bool) -> (World, usize) {
    let as_agreed = |slot: NegotiatedMedia| if is_new { by_rfc8888(slot) } else { slot };
    let mut world = World::new();
    world.publisher(10, &good());
    let slots = vec![as_agreed(video_slot("v", 500)), as_agreed(audio_slot("a", 600))];
    let viewer = world.open(link, slots, &[]);
    world.peers[viewer].reports = is_new.then(CongestionReports::default);
    while !world.is_up(viewer) {
        world.run(secs(0.1));
    }
    world.show(viewer, "v", 10, 720);
    world.show(viewer, "a", 11, 0);
    world.run(time);
    (world, viewer)
}

/// Estimate in kbit/s, and the latest picture's height.
fn outcome(link: &Profile, time: Duration, is_new: bool) -> (u64, u16) {
    let (world, viewer) = watched(link, time, is_new);
    let height = world
        .viewer(viewer, 500)
        .pictures
        .last()
        .map_or(0, |picture| picture.height);
    (world.kbit(viewer), height)
}

#[test]
fn a_link_is_found_out_as_with_transport_wide_feedback() {
    for (link, range) in [
        (limited(1_000), 800..1_050),
        (limited(300), 220..360),
        (good(), 1_500..100_000),
    ] {
        let (old, new) = (outcome(&link, secs(30.0), false), outcome(&link, secs(30.0), true));
        assert!(range.contains(&old.0) && range.contains(&new.0), "{old:?}, {new:?}");
        assert!(new.0.abs_diff(old.0) * 5 < old.0, "{old:?}, {new:?}");
        assert_eq!(old.1, new.1);
    }
}

/// Neither to remember what was sent nor to look it up.
#[test]
fn it_costs_no_allocation_that_transport_wide_feedback_does_not() {
    let allocations = |is_new| {
        let (mut world, _) = watched(&good(), secs(20.0), is_new);
        (world.allocations, world.sent) = (0, 0);
        world.run(secs(10.0));
        println!("{} allocations, {} packets", world.allocations, world.sent);
        world.allocations
    };
    let (old, new) = (allocations(false), allocations(true));
    assert!(new <= old, "{old}, {new}");
}

#[test]
fn what_is_lost_is_known() {
    let lossy = "[down]\nrate = '2Mbps'\nqueue = '1s'\ndelay = '25ms'\nloss = '10%'\n[up]\ndelay = '25ms'";
    let (world, viewer) = watched(&profile(lossy), secs(20.0), true);
    let stats = world
        .worker
        .link_stats(world.peers[viewer].connection)
        .expect("estimated");
    assert!((0.05..0.15).contains(&stats.inherent_loss), "{stats:?}");
    assert_eq!(stats.feedback.unknown_packets, 0);
    assert!(stats.feedback.received > 300);
}

#[test]
fn probes_are_measured_and_a_link_that_becomes_narrow_is_followed() {
    let (mut world, viewer) = watched(&good(), secs(10.0), true);
    let connection = world.peers[viewer].connection;
    let stats = world.worker.link_stats(connection).expect("estimated");
    assert!(
        stats.probes_measured > 0 && world.peers[viewer].paddings > 0,
        "{stats:?}"
    );
    world.set_link(viewer, &limited(400));
    world.run(secs(15.0));
    assert!((250..430).contains(&world.kbit(viewer)), "{}", world.kbit(viewer));
}
