//! What a subscriber gets is the publisher's payload under the slot's own numbers.

use crate::source::{Video, audio};
use crate::world::*;

fn publisher_and_subscriber(workers: u8, subscriber_worker: usize) -> (World, usize, usize) {
    let mut world = World::new(workers);
    let publisher = world.join(
        0,
        vec![camera("0", 1000, &[]), microphone("1", 2000)],
        &[("0", 71), ("1", 72)],
    );
    let subscriber = world.join(subscriber_worker, vec![video_slot("5", 50), audio_slot("6", 60)], &[]);
    world.show(subscriber, "5", Some((71, 0)), 360);
    world.show(subscriber, "6", Some((72, 0)), 0);
    (world, publisher, subscriber)
}

fn check_video(mut world: World, publisher: usize, subscriber: usize) {
    let mut video = Video::new(1000, 360);
    let delta = video.frame(false, 3);
    world.send_rtp(publisher, &delta);
    assert!(
        world.peers[subscriber].take_rtp().is_empty(),
        "decoding cannot start at a delta frame"
    );
    let frames = [video.frame(true, 4), video.frame(false, 4), video.frame(false, 4)];
    for frame in &frames {
        world.send_rtp(publisher, frame);
        world.advance(33 * MS);
    }
    let received = world.peers[subscriber].take_rtp();
    assert_eq!(received.len(), 12);
    for (index, (rtp, sent)) in received.iter().zip(frames.iter().flatten()).enumerate() {
        let first = &received[0].header;
        assert_eq!(rtp.header.ssrc.0, 50);
        assert_eq!(rtp.header.payload_type, SLOT_VP8);
        assert_eq!(rtp.csrcs, [71]);
        assert_eq!(rtp.header.seq, first.seq.wrapping_add(index as u16));
        assert_eq!(
            rtp.header.timestamp,
            first.timestamp.wrapping_add(2970 * (index as u32 / 4))
        );
        assert_eq!(rtp.header.marker, index % 4 == 3);
        // The first picture keeps its id, so the payload is unchanged.
        assert_eq!(rtp.payload, sent.0[sent.1..]);
    }
    // Four packets of a frame, a byte apart, go out as one GSO run each.
    assert_eq!(world.peers[subscriber].runs, [4, 4, 4]);
}

#[test]
fn a_subscriber_on_the_same_worker() {
    let (world, publisher, subscriber) = publisher_and_subscriber(1, 0);
    check_video(world, publisher, subscriber);
}

#[test]
fn a_subscriber_on_another_worker() {
    let (world, publisher, subscriber) = publisher_and_subscriber(2, 1);
    check_video(world, publisher, subscriber);
}

#[test]
fn frames_that_fill_the_slab_more_than_once_make_one_run_for_each_subscriber() {
    const SUBSCRIBERS: usize = 16;
    const PACKETS: usize = 10;
    let mut world = World::new(1);
    let publisher = world.join(0, vec![camera("0", 1000, &[])], &[("0", 71)]);
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| {
            let subscriber = world.join(0, vec![video_slot("5", 50)], &[]);
            world.show(subscriber, "5", Some((71, 0)), 360);
            subscriber
        })
        .collect();
    let mut video = Video::new(1000, 360);
    let frame = video.frame(true, PACKETS);
    let bytes: usize = frame.iter().map(|(packet, ..)| packet.len()).sum();
    assert!(bytes * SUBSCRIBERS > 2 * 65_536, "the slab is filled more than twice");
    world.send_rtp(publisher, &frame);
    for subscriber in subscribers {
        assert_eq!(world.peers[subscriber].runs, [PACKETS]);
    }
}

#[test]
fn audio_flows_from_any_packet_with_its_level() {
    let (mut world, publisher, subscriber) = publisher_and_subscriber(2, 1);
    for seq in 30..40 {
        world.send_rtp(publisher, &[audio(2000, seq, 25)]);
        world.advance(20 * MS);
    }
    let received = world.peers[subscriber].take_rtp();
    assert_eq!(received.len(), 10);
    assert!(
        received
            .iter()
            .all(|rtp| rtp.header.payload_type == SLOT_OPUS && rtp.csrcs == [72])
    );
    assert!(received.iter().all(|rtp| rtp.header.extension.is_some()));
    let levels: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            tianqiao_sfu_core::worker_api::WorkerEvent::AudioLevels { levels } => Some(levels[0]),
            _ => None,
        })
        .collect();
    assert!(
        (3..=6).contains(&levels.len()),
        "about one report every 50 ms: {levels:?}"
    );
    assert!(
        levels
            .iter()
            .all(|level| level.track.0 == 72 && level.level == 25 && level.voice)
    );
}

#[test]
fn a_paused_or_emptied_slot_gets_nothing_and_a_muted_track_goes_nowhere() {
    let (mut world, publisher, subscriber) = publisher_and_subscriber(2, 1);
    let mut video = Video::new(1000, 360);
    let mut received = |world: &mut World| {
        let frame = video.frame(true, 2);
        world.send_rtp(publisher, &frame);
        world.peers[subscriber].take_rtp().len()
    };
    assert_eq!(received(&mut world), 2);
    world.show(subscriber, "5", Some((71, 0)), 0);
    assert_eq!(received(&mut world), 0);
    world.show(subscriber, "5", Some((71, 0)), 90);
    assert_eq!(received(&mut world), 2);
    let muted = |muted| tianqiao_sfu_core::worker_api::WorkerCommand::SetMuted {
        track: tianqiao_sfu_core::units::TrackId(71),
        muted,
    };
    let now = world.now;
    world.workers[0].handle_command(now, muted(true));
    assert_eq!(received(&mut world), 0);
    world.workers[0].handle_command(now, muted(false));
    assert_eq!(received(&mut world), 2);
    world.show(subscriber, "5", None, 90);
    assert_eq!(received(&mut world), 0);
}
