//! Streams with dependency descriptors.

use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tianqiao_sfu_core::negotiated::Codec;

use crate::svc::{Encoder, Mode};
use crate::viewer::{Viewer, check_descriptors, decode};

const AV1: Codec = Codec::Av1 { profile: 0 };
const H264: Codec = Codec::H264 { profile: 0x42e0 };

fn mode(spatial: u8, temporal: u8, key: bool) -> Mode {
    Mode { spatial, temporal, key }
}

const MODES: [Mode; 7] = [
    Mode {
        spatial: 1,
        temporal: 1,
        key: false,
    },
    Mode {
        spatial: 1,
        temporal: 2,
        key: false,
    },
    Mode {
        spatial: 1,
        temporal: 3,
        key: false,
    },
    Mode {
        spatial: 2,
        temporal: 2,
        key: false,
    },
    Mode {
        spatial: 3,
        temporal: 3,
        key: false,
    },
    Mode {
        spatial: 2,
        temporal: 3,
        key: true,
    },
    Mode {
        spatial: 3,
        temporal: 3,
        key: true,
    },
];

/// The publisher answers requests for key frames two pictures later.
struct Link {
    encoder: Encoder,
    due: Option<u32>,
    pictures: u32,
}

impl Link {
    fn new(mode: Mode, codec: Codec) -> Self {
        Self {
            encoder: Encoder::new(mode, codec, Instant::now()),
            due: None,
            pictures: 0,
        }
    }

    fn step(&mut self, viewer: &mut Viewer) -> Vec<tianqiao_sfu_core::pool::PacketRef> {
        self.pictures += 1;
        if viewer.asks.take().is_some() {
            self.due.get_or_insert(self.pictures + 2);
        }
        let keyframe = self.due.is_some_and(|due| due <= self.pictures);
        if keyframe {
            self.due = None;
        }
        let packets = self.encoder.picture(keyframe);
        // The worker looks at the layers every 100 ms.
        if self.pictures.is_multiple_of(3) {
            viewer.retarget();
        }
        packets
    }

    fn run(&mut self, viewer: &mut Viewer, pictures: u32) {
        for _ in 0..pictures {
            let packets = self.step(viewer);
            viewer.take(&packets);
        }
    }
}

#[test]
fn the_layer_that_fits_the_height_is_sent_from_the_first_key_frame_on() {
    for mode in MODES {
        for has_descriptor in [true, false] {
            for (height, spatial) in [(180, 0), (360, 1), (720, 2), (1080, 2)] {
                // Heights of the layers are 720, 360 and 180, the highest last.
                let spatial = (spatial + i32::from(mode.spatial) - 3).max(0) as u8;
                let mut viewer = Viewer::new(AV1, has_descriptor, height);
                let mut link = Link::new(mode, AV1);
                link.run(&mut viewer, 40);
                viewer.assert_no_gaps();
                let pictures = decode(&viewer.received, &link.encoder.frames, has_descriptor);
                assert_eq!(pictures.len(), 40, "{mode:?}");
                assert!(
                    pictures.iter().all(|picture| picture.1 == spatial),
                    "{mode:?} {height}: {pictures:?}"
                );
                assert_eq!(viewer.asked, 0, "nothing is asked for");
            }
        }
    }
}

#[test]
fn every_target_is_reached_from_every_other_and_all_that_is_sent_can_be_decoded() {
    for mode in MODES {
        let targets: Vec<_> = mode.targets().collect();
        for &from in &targets {
            for &to in &targets {
                let mut viewer = Viewer::new(H264, true, 720);
                let mut link = Link::new(mode, H264);
                viewer.target(from.0, from.1);
                link.run(&mut viewer, 23);
                viewer.target(to.0, to.1);
                link.run(&mut viewer, 30);
                viewer.assert_no_gaps();
                check_descriptors(&viewer.received, &link.encoder.frames);
                let pictures = decode(&viewer.received, &link.encoder.frames, true);
                let reached = |target: (u8, u8), pictures: &[(u32, u8, u8)]| {
                    assert!(
                        pictures.iter().all(|picture| picture.1 == target.0),
                        "{mode:?} {from:?} {to:?}"
                    );
                    let temporal = pictures.iter().map(|picture| picture.2).max();
                    assert_eq!(temporal, Some(target.1), "{mode:?} {from:?} {to:?} {pictures:?}");
                };
                let (before, after) = pictures.split_at(pictures.partition_point(|picture| picture.0 <= 23));
                reached(from, before);
                reached(to, &after[after.partition_point(|picture| picture.0 < 40)..]);
                // Down at once: nothing higher than the target goes out any more, where it needs no key frame.
                let is_below = to.0 <= from.0 && to.1 <= from.1;
                if is_below && (to.0 == from.0 || !mode.key) {
                    assert!(
                        after.iter().all(|picture| picture.1 <= to.0 && picture.2 <= to.1),
                        "{mode:?} {from:?} {to:?}"
                    );
                }
                // A temporal layer costs no key frame, a spatial one at most one.
                let keyframes = link.encoder.frames.iter().filter(|frame| frame.keyframe).count();
                assert!(keyframes <= 1 + usize::from(to.0 != from.0), "{mode:?} {from:?} {to:?}");
            }
        }
    }
}

#[test]
fn random_switches_losses_and_switched_off_layers_leave_everything_decodable() {
    let mut random = SmallRng::seed_from_u64(3);
    for round in 0..60 {
        let mode = MODES[round % MODES.len()];
        let mut viewer = Viewer::new(AV1, true, 720);
        let mut link = Link::new(mode, AV1);
        for _ in 0..400 {
            if random.random_ratio(1, 15) {
                viewer.target(random.random_range(0..3), random.random_range(0..3));
            }
            if random.random_ratio(1, 60) {
                // Chromium switches its upper layers off with the next picture, and on with a key frame.
                let active = random.random_range(1..=mode.spatial);
                if active > link.encoder.active {
                    link.due = Some(0);
                }
                link.encoder.active = active;
            }
            let packets = link.step(&mut viewer);
            viewer.take(&packets);
        }
        viewer.assert_no_gaps();
        check_descriptors(&viewer.received, &link.encoder.frames);
        decode(&viewer.received, &link.encoder.frames, true);
        assert!(viewer.received.len() > 150);
        for _ in 0..50 {
            let recent = viewer.received.len() - 100;
            let index = random.random_range(recent..viewer.received.len());
            if let Some(again) = viewer.again(index) {
                assert_eq!(
                    again, viewer.received[index].bytes,
                    "the same SRTP nonce, so equal to the bit"
                );
            }
        }
    }
}

#[test]
fn what_was_lost_on_the_way_in_and_comes_late_has_its_place() {
    let mut random = SmallRng::seed_from_u64(4);
    for round in 0..40 {
        let mode = MODES[round % MODES.len()];
        let mut viewer = Viewer::new(AV1, true, 720);
        let mut link = Link::new(mode, AV1);
        link.run(&mut viewer, 8);
        let mut late = Vec::new();
        for picture in 0..200 {
            if random.random_ratio(1, 20) {
                viewer.target(random.random_range(0..3), random.random_range(0..3));
            }
            let (mut now, lost): (Vec<_>, Vec<_>) = link
                .step(&mut viewer)
                .into_iter()
                .partition(|packet| packet.frame.keyframe || random.random_ratio(19, 20));
            late.extend(lost.into_iter().map(|packet| (picture + 2, packet)));
            let due = late.partition_point(|(due, _)| *due <= picture);
            now.splice(0..0, late.drain(..due).map(|(_, packet)| packet));
            viewer.take(&now);
        }
        let mut numbers: Vec<u16> = viewer
            .received
            .iter()
            .map(|packet| packet.seq.wrapping_sub(30_000))
            .collect();
        numbers.sort_unstable();
        let count = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "no number is used twice");
        let first = viewer.received[0].seq;
        viewer.received.sort_by_key(|packet| packet.seq.wrapping_sub(first));
        let order: Vec<u64> = viewer.received.iter().map(|packet| packet.source).collect();
        assert!(order.is_sorted(), "in the publisher's order");
    }
}

#[test]
fn layers_that_their_publisher_switches_off_are_not_asked_for() {
    for key in [false, true] {
        let mut viewer = Viewer::new(AV1, true, 720);
        let mut link = Link::new(mode(3, 3, key), AV1);
        link.run(&mut viewer, 30);
        link.encoder.active = 2;
        link.run(&mut viewer, 30);
        let asked = viewer.asked;
        // L3T3_KEY needs a key frame to go down; asked for until it comes.
        assert!(if key { (1..=3).contains(&asked) } else { asked == 0 }, "{asked}");
        link.run(&mut viewer, 200);
        assert_eq!(viewer.asked, asked, "nothing more");
        let pictures = decode(&viewer.received, &link.encoder.frames, true);
        assert!(pictures[60..].iter().all(|picture| picture.1 == 1));
        // It comes back with a key frame.
        link.encoder.active = 3;
        link.due = Some(0);
        link.run(&mut viewer, 10);
        let pictures = decode(&viewer.received, &link.encoder.frames, true);
        assert_eq!(pictures.last().map(|picture| picture.1), Some(2));
        assert_eq!(viewer.asked, asked);
        viewer.assert_no_gaps();
    }
}

#[test]
fn a_publisher_that_sends_the_smallest_layer_alone_could_still_send_the_others() {
    let mut viewer = Viewer::new(AV1, true, 180);
    let mut link = Link::new(mode(3, 3, true), AV1);
    link.run(&mut viewer, 30);
    link.encoder.active = 1;
    link.run(&mut viewer, 60);
    assert_eq!(viewer.track.heights(), [180, 360, 720]);
    let view = viewer.track.layers_view();
    let active: Vec<_> = view.iter().map(|layer| (layer.height, layer.active)).collect();
    assert_eq!(active, [(Some(180), true), (Some(360), false), (Some(720), false)]);
}

#[test]
fn frame_numbers_go_on_over_a_switch_of_streams() {
    let mut viewer = Viewer::new(AV1, true, 720);
    let now = Instant::now();
    let mut first = Encoder::new(mode(1, 1, false), AV1, now);
    let mut second = Encoder::new(mode(1, 1, false), AV1, now);
    second.stream = 1;
    second.first_number = 12;
    viewer.target(0, 0);
    let mut numbers = Vec::new();
    for picture in 0..20 {
        let packets = [first.picture(picture == 0), second.picture(picture == 10)].concat();
        viewer.take(&packets);
        if picture == 8 {
            viewer.target(1, 0);
        }
    }
    for packet in &viewer.received {
        numbers.push(packet.descriptor.expect("a descriptor").frame.number);
    }
    numbers.dedup();
    // Of the picture at which they are switched both are sent.
    assert_eq!(numbers.len(), 21);
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)),
        "{numbers:?}"
    );
    viewer.assert_no_gaps();
}

#[test]
fn the_view_tells_of_layers_alike_for_svc_and_simulcast() {
    let mut viewer = Viewer::new(AV1, true, 720);
    let mut link = Link::new(mode(3, 3, true), AV1);
    for _ in 0..90 {
        link.run(&mut viewer, 3);
        viewer.track.update_meters(link.encoder.now);
    }
    let view = viewer.track.layers_view();
    let heights: Vec<_> = view.iter().map(|layer| layer.height).collect();
    assert_eq!(heights, [Some(180), Some(360), Some(720)]);
    for (spatial, layer) in view.iter().enumerate() {
        assert!(layer.active && layer.temporal_layers == 3, "{layer:?}");
        // Without what lies below: the layers are independent. 1, 2 or 3 packets of 268 bytes and a descriptor.
        let expected = (spatial as u64 + 1) * 272 * 8 * 30;
        let rate = layer.rates[2].smoothed.0;
        assert!(
            rate.abs_diff(expected) < expected / 8,
            "{spatial}: {rate} of {expected}"
        );
        assert!(layer.rates[0].smoothed.0 < rate / 3);
    }
}
