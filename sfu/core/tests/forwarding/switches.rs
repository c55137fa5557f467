//! Changes of layer and of source are seamless: no gap in sequence numbers, time goes on, and decoding can start.

use crate::source::Video;
use crate::world::*;

const RIDS: &[&str] = &["q", "h", "f"];

fn simulcast() -> [Video; 3] {
    [("q", 180), ("h", 360), ("f", 720)].map(|(rid, height)| {
        let mut layer = Video::new(3000 + u32::from(height), height);
        layer.names = Some(("0", rid));
        layer
    })
}

/// All layers send a frame.
fn send(world: &mut World, publisher: usize, layers: &mut [Video], keyframe: &[bool]) {
    for (layer, &keyframe) in layers.iter_mut().zip(keyframe) {
        let frame = layer.frame(keyframe, 2);
        world.send_rtp(publisher, &frame);
    }
    world.advance(33 * MS);
}

fn assert_seamless(received: &[Rtp]) {
    for pair in received.windows(2) {
        assert_eq!(pair[1].header.seq, pair[0].header.seq.wrapping_add(1));
        let step = pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp) as i32;
        assert!((0..9000).contains(&step), "{step}");
        let picture = |rtp: &Rtp| u16::from_be_bytes([rtp.payload[2] & 0x7f, rtp.payload[3]]);
        let step = picture(&pair[1]).wrapping_sub(picture(&pair[0])) & 0x7fff;
        assert!(step <= 1, "picture ids go on: {step}");
    }
}

fn heights(received: &[Rtp]) -> Vec<u16> {
    let key = |rtp: &&Rtp| rtp.payload[0] & 0x10 != 0 && rtp.payload[6] & 1 == 0;
    received
        .iter()
        .filter(key)
        .map(|rtp| u16::from_le_bytes([rtp.payload[14], rtp.payload[15]]))
        .collect()
}

#[test]
fn the_layer_follows_the_height_at_which_the_slot_is_shown() {
    let mut world = World::new(2);
    let publisher = world.join(0, vec![camera("0", 0, RIDS)], &[("0", 71)]);
    let subscriber = world.join(1, vec![video_slot("5", 50)], &[]);
    let mut layers = simulcast();
    send(&mut world, publisher, &mut layers, &[true; 3]);
    world.show(subscriber, "5", Some((71, 0)), 200);
    // The publisher is asked for a key frame of the layer that fits, and of no other.
    assert_eq!(
        world.peers[publisher].rtcp,
        [Rtcp::Pli(tianqiao_sfu_core::units::Ssrc(3360))]
    );
    send(&mut world, publisher, &mut layers, &[false, true, false]);
    send(&mut world, publisher, &mut layers, &[false; 3]);

    world.peers[publisher].rtcp.clear();
    world.show(subscriber, "5", Some((71, 0)), 720);
    assert_eq!(
        world.peers[publisher].rtcp,
        [Rtcp::Pli(tianqiao_sfu_core::units::Ssrc(3720))]
    );
    // Until it comes, the old layer goes on.
    send(&mut world, publisher, &mut layers, &[false; 3]);
    send(&mut world, publisher, &mut layers, &[false, false, true]);
    send(&mut world, publisher, &mut layers, &[false; 3]);
    let received = world.peers[subscriber].take_rtp();
    assert_eq!(received.len(), 12);
    assert_seamless(&received);
    assert_eq!(heights(&received), [360, 720]);
}

#[test]
fn when_the_publisher_stops_a_layer_the_next_one_takes_over() {
    let mut world = World::new(1);
    let publisher = world.join(0, vec![camera("0", 0, RIDS)], &[("0", 71)]);
    let subscriber = world.join(0, vec![video_slot("5", 50)], &[]);
    let mut layers = simulcast();
    send(&mut world, publisher, &mut layers, &[true; 3]);
    world.show(subscriber, "5", Some((71, 0)), 720);
    send(&mut world, publisher, &mut layers, &[true; 3]);
    world.peers[publisher].rtcp.clear();
    for _ in 0..40 {
        send(&mut world, publisher, &mut layers[..2], &[false; 2]);
    }
    assert!(
        world.peers[publisher]
            .rtcp
            .contains(&Rtcp::Pli(tianqiao_sfu_core::units::Ssrc(3360)))
    );
    send(&mut world, publisher, &mut layers[..2], &[true; 2]);
    let received = world.peers[subscriber].take_rtp();
    // The first key frame to come is shown at once, the right layer's next.
    assert_eq!(heights(&received), [180, 720, 360]);
    for pair in received.windows(2) {
        assert_eq!(pair[1].header.seq, pair[0].header.seq.wrapping_add(1));
    }
}

#[test]
fn another_participant_takes_the_slot_over() {
    let mut world = World::new(2);
    let first = world.join(0, vec![camera("0", 1000, &[])], &[("0", 71)]);
    let second = world.join(1, vec![camera("0", 2000, &[])], &[("0", 72)]);
    let subscriber = world.join(0, vec![video_slot("5", 50)], &[]);
    let (mut one, mut two) = (Video::new(1000, 360), Video::new(2000, 360));
    two.seq.0 = 7;
    two.picture_id = 100;
    world.show(subscriber, "5", Some((71, 0)), 360);
    for keyframe in [true, false, false] {
        let frame = one.frame(keyframe, 2);
        world.send_rtp(first, &frame);
        world.advance(33 * MS);
    }
    world.show(subscriber, "5", Some((72, 1)), 360);
    for keyframe in [false, true, false] {
        let frame = two.frame(keyframe, 2);
        world.send_rtp(second, &frame);
        world.advance(33 * MS);
    }
    let received = world.peers[subscriber].take_rtp();
    assert_eq!(
        received.iter().map(|rtp| rtp.csrcs[0]).collect::<Vec<_>>(),
        [71, 71, 71, 71, 71, 71, 72, 72, 72, 72]
    );
    assert_seamless(&received);
}
