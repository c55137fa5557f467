//! Media that stops as consent is lost (RFC 7675) and goes on when the client answers again.

use tianqiao_sfu_core::units::Ssrc;

use crate::source::Video;
use crate::world::*;

#[test]
fn a_key_frame_is_asked_for_when_the_client_answers_again() {
    let mut world = World::new(1);
    let publisher = world.join(0, vec![camera("0", 1000, &[])], &[("0", 71)]);
    let subscriber = world.join(0, vec![video_slot("5", 50)], &[]);
    world.show(subscriber, "5", Some((71, 0)), 360);
    let mut video = Video::new(1000, 360);
    let mut goes_out = |world: &mut World, keyframe| {
        let frame = video.frame(keyframe, 2);
        world.send_rtp(publisher, &frame);
        !world.peers[subscriber].take_rtp().is_empty()
    };
    assert!(goes_out(&mut world, true));

    world.peers[subscriber].set_answers(false);
    let mut rounds = 0;
    while goes_out(&mut world, false) {
        world.advance(500 * MS);
        rounds += 1;
        assert!(rounds < 100, "media never stops");
    }
    assert!(rounds > 50, "it stopped after {rounds} half seconds");

    world.peers[publisher].rtcp.clear();
    world.peers[subscriber].set_answers(true);
    // A key frame before the client answers was not for it, and nobody lacks one.
    for _ in 0..20 {
        world.advance(500 * MS);
        if goes_out(&mut world, false) {
            break;
        }
        assert!(!world.peers[publisher].rtcp.contains(&Rtcp::Pli(Ssrc(1000))));
    }
    assert!(world.peers[publisher].rtcp.contains(&Rtcp::Pli(Ssrc(1000))));
}
