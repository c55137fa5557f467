//! The packet path allocates nothing per packet once it is warm.

#[path = "../transport_handshake/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../forwarding/source.rs"]
#[allow(dead_code)]
mod source;
#[path = "../forwarding/world.rs"]
#[allow(dead_code)]
mod world;

use allocation_counter::measure;
use tianqiao_sfu_core::rate::RateLimits;
use tianqiao_sfu_core::send_batch::SendBatch;
use tianqiao_sfu_core::units::WorkerIndex;
use tianqiao_sfu_core::worker_core::PacketSink;

use source::{Video, audio};
use world::{World, audio_slot, camera, microphone, video_slot};

#[derive(Default)]
struct Count(usize);

impl PacketSink for Count {
    fn send(&mut self, batch: &SendBatch) {
        self.0 += batch.runs().iter().map(|run| run.segments).sum::<usize>();
    }
}

/// Frames of video and audio go from worker 0 to subscribers on both workers.
#[test]
fn nothing_is_allocated_per_packet() {
    let mut world = World::with(2, RateLimits::UNLIMITED);
    let publisher = world.join(
        0,
        vec![camera("0", 1000, &[]), microphone("1", 2000)],
        &[("0", 71), ("1", 72)],
    );
    for index in 0..10 {
        let subscriber = world.join(index % 2, vec![video_slot("5", 50), audio_slot("6", 60)], &[]);
        world.show(subscriber, "5", Some((71, 0)), 360);
        world.show(subscriber, "6", Some((72, 0)), 0);
    }
    let mut video = Video::new(1000, 360);
    let mut frames = Vec::new();
    for frame in 0..400 {
        let mut packets = video.frame(frame == 0, 8);
        packets.push(audio(2000, 100 + frame, 20));
        frames.push(world.encrypt(publisher, &packets));
    }
    // Rings and histories fill up, the pool and the queues grow to what they need.
    let (warm_up, measured) = frames.split_at_mut(200);
    forward(&mut world, publisher, warm_up);

    let mut sent = 0;
    let allocations = measure(|| sent = forward(&mut world, publisher, measured));
    assert_eq!(sent, 200 * 9 * 10);
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
}

/// Runs both workers as their threads do; packets that went out.
fn forward(world: &mut World, publisher: usize, frames: &mut [Vec<Vec<u8>>]) -> usize {
    let mut sink = Count::default();
    let now = world.now;
    for frame in frames {
        for packet in frame {
            world.deliver(publisher, packet);
        }
        world.workers[0].flush(now, &mut sink);
        while let Some((to, mail)) = world.workers[0].poll_mail() {
            world.workers[usize::from(to.0)].handle_mail(now, WorkerIndex(0), mail);
        }
        world.workers[1].flush(now, &mut sink);
    }
    sink.0
}
