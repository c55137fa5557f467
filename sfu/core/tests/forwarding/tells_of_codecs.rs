//! A subscriber that takes no codec of its source is told so, once; one that takes some of them gets those.

use tianqiao_sfu_core::negotiated::{Codec, NegotiatedMedia};
use tianqiao_sfu_core::units::TrackId;
use tianqiao_sfu_core::worker_api::WorkerEvent;

use crate::source::Video;
use crate::world::*;

fn told(world: &World) -> Vec<(String, TrackId, Codec)> {
    let told = world.events.iter().filter_map(|event| match event {
        WorkerEvent::CodecUnsupported { mid, track, codec, .. } => Some((mid.to_string(), *track, *codec)),
        _ => None,
    });
    told.collect()
}

/// A slot for H.264 only.
fn h264_slot(mid: &str, ssrc: u32) -> NegotiatedMedia {
    let mut media = video_slot(mid, ssrc);
    media.codecs[0].codec = Codec::H264 { profile: 0x42e0 };
    media
}

#[test]
fn a_subscriber_without_the_codec_is_told_once_and_again_of_another_source() {
    for worker in [0, 1] {
        let mut world = World::new(2);
        let publisher = world.join(
            0,
            vec![camera("0", 1000, &[]), camera("1", 2000, &[])],
            &[("0", 71), ("1", 72)],
        );
        let subscriber = world.join(worker, vec![h264_slot("5", 50)], &[]);
        let (mut one, mut two) = (Video::new(1000, 360), Video::new(2000, 360));
        world.show(subscriber, "5", Some((71, 0)), 360);
        assert_eq!(told(&world), []);
        let mut send = |world: &mut World| {
            for _ in 0..30 {
                for video in [&mut one, &mut two] {
                    let frame = video.frame(true, 2);
                    world.send_rtp(publisher, &frame);
                }
                world.advance(33 * MS);
            }
        };
        send(&mut world);
        assert_eq!(told(&world), [("5".to_owned(), TrackId(71), Codec::Vp8)]);
        assert!(
            world.peers[publisher].rtcp.is_empty(),
            "no key frame is asked for in vain"
        );
        world.show(subscriber, "5", Some((72, 0)), 360);
        send(&mut world);
        assert_eq!(told(&world).len(), 2);

        // With the next answer it takes VP8 too.
        world.renegotiate(subscriber, vec![video_slot("5", 50)]);
        send(&mut world);
        assert_eq!(told(&world).len(), 2);
        assert!(!world.peers[subscriber].take_rtp().is_empty());
    }
}
