//! Whatever a joined client can make the worker keep, it drives beyond its bound; the worker itself
//! looks whether all is within them.

use tianqiao_sfu_core::negotiated::IceCredentials;
use tianqiao_sfu_core::packet::rtcp::write;
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::transport::ufrag;
use tianqiao_sfu_core::units::{Ssrc, WorkerIndex};
use tianqiao_sfu_core::worker_api::{MAX_SLOT_SSRCS, WorkerCommand};

use crate::client::Client;
use crate::source::Video;
use crate::world::*;

/// A publisher of three layers and a subscriber.
struct Scene {
    world: World,
    publisher: usize,
    subscriber: usize,
}

impl Scene {
    fn video(&mut self, ssrc: u32, rid: &'static str, first_seq: u64, frames: usize, packets: usize, skip: u64) {
        let mut video = Video::new(ssrc, 360);
        video.names = Some(("0", rid));
        video.seq.0 = first_seq;
        for frame in 0..frames {
            let packets = video.frame(frame == 0, packets);
            self.world.send_rtp(self.publisher, &packets);
            video.seq.0 += skip;
        }
    }
}

/// Makes the worker keep something, for as long as it lets itself.
type Drive = fn(&mut Scene);

#[test]
fn nothing_that_a_client_makes_grow_grows_past_its_bound() {
    let drives: [(&str, Drive); 8] = [
        ("SSRCs, each of a layer", |scene| {
            for ssrc in 0..2_000 {
                let rid = ["a", "b", "c"][ssrc as usize % 3];
                scene.video(10_000 + ssrc, rid, 100, 1, 1, 0);
            }
        }),
        ("missing packets", |scene| scene.video(1_000, "a", 100, 2_000, 1, 7)),
        ("gaps past repair", |scene| scene.video(1_000, "a", 100, 200, 1, 2_000)),
        ("packets in the rings", |scene| scene.video(1_000, "a", 100, 500, 10, 0)),
        ("key frame requests", |scene| {
            for seq in 0..2_000u32 {
                let subscriber = scene.subscriber;
                scene
                    .world
                    .send_rtcp(subscriber, |out| write::pli(Ssrc(1), Ssrc(50), out));
                let fir = |out: &mut [u8]| write::fir(Ssrc(1), Ssrc(50), seq as u8, out);
                scene.world.send_rtcp(subscriber, fir);
            }
        }),
        ("paths", |scene| {
            let mut check = scene.world.peers[scene.publisher].check();
            for port in 0..1_000 {
                let path = Path::udp(([192, 0, 2, 1], 1_000 + port).into());
                let now = scene.world.now;
                scene.world.workers[0].handle_packet(now, path, &mut check);
            }
            scene.world.advance(MS);
        }),
        ("SSRCs of slots", |scene| {
            for round in 0..2 * MAX_SLOT_SSRCS as u32 {
                scene.world.renegotiate(
                    scene.subscriber,
                    vec![video_slot("5", 50), video_slot("6", 100 + 2 * round)],
                );
                scene.world.renegotiate(scene.subscriber, vec![video_slot("5", 50)]);
            }
        }),
        ("ICE restarts", |scene| {
            for _ in 0..1_000 {
                let connection = scene.world.peers[scene.publisher].connection;
                let local: IceCredentials = ufrag::generate(WorkerIndex(0), connection);
                let remote = Client::credentials();
                let restart = WorkerCommand::RestartIce {
                    connection,
                    local,
                    remote,
                };
                let now = scene.world.now;
                scene.world.workers[0].handle_command(now, restart);
            }
            scene.world.advance(MS);
        }),
    ];
    for (what, drive) in drives {
        let mut world = World::new(1);
        let publisher = world.join(0, vec![camera("0", 1000, &["a", "b", "c"])], &[("0", 71)]);
        let subscriber = world.join(0, vec![video_slot("5", 50)], &[]);
        world.show(subscriber, "5", Some((71, 0)), 360);
        let mut scene = Scene {
            world,
            publisher,
            subscriber,
        };
        scene.video(1_000, "a", 50, 1, 2, 0);
        println!("{what}");
        drive(&mut scene);
        scene.world.workers[0].check_bounds();
        scene.world.advance(200 * MS);
        scene.world.workers[0].check_bounds();
        assert!(
            scene.world.workers[0].counters().connections == 2,
            "{what}: both are still there"
        );
    }
}
