//! The packet path allocates nothing per packet once it is warm.

#[path = "../transport_handshake/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../forwarding/source.rs"]
#[allow(dead_code)]
mod source;
#[path = "../layers/svc.rs"]
#[allow(dead_code)]
mod svc;
#[path = "../layers/viewer.rs"]
#[allow(dead_code)]
mod viewer;
#[path = "../forwarding/world.rs"]
#[allow(dead_code)]
mod world;

use allocation_counter::measure;
use tianqiao_sfu_core::negotiated::Codec;
use tianqiao_sfu_core::packet::described_frame::DescriptorReader;
use tianqiao_sfu_core::rate::RateLimits;
use tianqiao_sfu_core::send_batch::SendBatch;
use tianqiao_sfu_core::track::view::LayerTarget;
use tianqiao_sfu_core::units::{TrackId, WorkerIndex};
use tianqiao_sfu_core::worker_core::PacketSink;

use source::{Video, audio, low_speech, red, speech};
use tianqiao_sfu_core::downtrack::voice::AudioFormat;
use world::{LOW_VOICE, MS, World, audio_slot, camera, microphone, red_slot, video_slot};

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

/// Voices with redundancy, in bundles, kept for repeats and in their low layer, from publishers with and without RED.
#[test]
fn nothing_is_allocated_per_packet_of_a_voice() {
    let mut world = World::with(2, RateLimits::UNLIMITED);
    let media = vec![microphone("1", 2000), microphone(LOW_VOICE, 3000)];
    let publisher = world.join(0, media, &[("1", 72), (LOW_VOICE, 72)]);
    for index in 0..8u8 {
        let subscriber = world.join(usize::from(index) % 2, vec![red_slot("6", 60)], &[]);
        world.show(subscriber, "6", Some((72, 0)), 0);
        let format = AudioFormat {
            redundancy: index % 4,
            distance: 1 + index % 3,
            frames_per_packet: 1 + index / 3,
            layer: u8::from(index == 7),
            resend: index % 2 == 0,
        };
        world.set_audio(subscriber, "6", format);
    }
    let mut batches = Vec::new();
    for number in 0..1_200 {
        let packet = match number % 10 {
            // Lost on their way to the server: a later packet brings them.
            3 | 4 => continue,
            5.. => red(2000, number, &[number - 2, number - 1]),
            _ => speech(2000, number),
        };
        let mut packets = vec![packet];
        if number % 3 == 2 {
            packets.push(low_speech(3000, number / 3));
        }
        batches.push(world.encrypt(publisher, &packets));
    }
    let (warm_up, measured) = batches.split_at_mut(600);
    let mut sent = forward(&mut world, publisher, warm_up);
    assert!(sent > 1_500, "{sent} packets");
    world.advance(MS);
    let allocations = measure(|| sent = forward(&mut world, publisher, measured));
    assert!(sent > 1_000, "{sent} packets");
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
    assert!(world.workers[0].counters().red_frames_recovered > 80);
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

/// Reading descriptors, choosing layers, going up and down, and writing masks.
#[test]
fn nothing_is_allocated_to_choose_layers() {
    let mode = svc::Mode {
        spatial: 3,
        temporal: 3,
        key: false,
    };
    let av1 = Codec::Av1 { profile: 0 };
    let mut encoder = svc::Encoder::new(mode, av1, std::time::Instant::now());
    let mut viewer = viewer::Viewer::new(av1, true, 720);
    let pictures: Vec<_> = (0..600).map(|picture| encoder.picture(picture % 100 == 0)).collect();
    let mut out = vec![0; 2_000];
    let mut reader = DescriptorReader::default();
    let mut forward = |pictures: &[Vec<tianqiao_sfu_core::pool::PacketRef>]| {
        let mut sent = 0;
        for (number, packets) in pictures.iter().enumerate() {
            viewer.slot.set_target(Some(LayerTarget {
                spatial_or_simulcast: (number / 17 % 3) as u8,
                temporal: (number / 5 % 3) as u8,
            }));
            viewer.slot.retarget(&viewer.track);
            for packet in packets {
                if !packet.frame.keyframe {
                    reader.read(packet.dependency_descriptor());
                }
                viewer.track.on_packet(packet.clone());
                if let Some(decision) = viewer.slot.rewrite(packet, &viewer.track, 0) {
                    let written = viewer.slot.write(&mut out, packet, &decision, TrackId(7), 0);
                    sent += usize::from(written.is_some());
                }
            }
            viewer.track.pending.clear();
            viewer.track.update_meters(packets[0].arrival);
        }
        sent
    };
    let (warm_up, measured) = pictures.split_at(300);
    forward(warm_up);
    let mut sent = 0;
    let allocations = measure(|| sent = forward(measured));
    assert!(sent > 150, "{sent}");
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
}
