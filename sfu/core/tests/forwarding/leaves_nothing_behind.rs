//! Sessions that come and go leave neither connections nor tracks.

use tianqiao_sfu_core::worker_api::{CloseReason, WorkerEvent};

use crate::source::Video;
use crate::world::*;

#[test]
fn many_sessions_come_and_go() {
    let mut world = World::new(2);
    for round in 0..30u32 {
        let publisher = world.join(0, vec![camera("0", 1000, &[])], &[("0", 100 + round)]);
        let subscriber = world.join(1, vec![video_slot("5", 50)], &[]);
        world.show(subscriber, "5", Some((100 + round, 0)), 360);
        let frame = Video::new(1000, 360).frame(true, 2);
        world.send_rtp(publisher, &frame);
        assert_eq!(world.peers[subscriber].take_rtp().len(), 2);
        // Either side may go first.
        let order = if round % 2 == 0 {
            [publisher, subscriber]
        } else {
            [subscriber, publisher]
        };
        order.into_iter().for_each(|peer| world.leave(peer));
        world.peers.clear();
        assert!(world.workers.iter().all(|worker| worker.is_empty()), "round {round}");
    }
    assert!(world.workers.iter_mut().all(|worker| worker.poll_timeout().is_none()));
}

#[test]
fn a_client_that_falls_silent_is_given_up_within_45_seconds() {
    let mut world = World::new(1);
    let peer = world.join(0, vec![video_slot("5", 50)], &[]);
    let connection = world.peers[peer].connection;
    world.advance(20_000 * MS);
    assert!(!world.workers[0].is_empty(), "checks keep it alive");
    world.peers.clear();
    world.advance(30_000 * MS);
    assert!(!world.workers[0].is_empty(), "an outage of half a minute is none");
    world.advance(15_000 * MS);
    assert!(world.workers[0].is_empty());
    assert!(world.events.contains(&WorkerEvent::Closed {
        connection,
        reason: CloseReason::IceTimeout
    }));
}
