//! The pure pieces of the packet path, without a socket: CPU time of each per packet.
//! `cargo bench -p tianqiao-sfu-core`; the whole path over real sockets is `make bench-forward`.

#[path = "../tests/transport_handshake/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../tests/forwarding/source.rs"]
#[allow(dead_code)]
mod source;
#[path = "../tests/forwarding/world.rs"]
#[allow(dead_code)]
mod world;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tianqiao_sfu_core::downtrack::{Downtrack, SlotFormat};
use tianqiao_sfu_core::negotiated::{Codec, MediaKind, SendMedia};
use tianqiao_sfu_core::packet::payload;
use tianqiao_sfu_core::pool::{PacketInfo, PacketPool, PacketRef};
use tianqiao_sfu_core::rate::RateLimits;
use tianqiao_sfu_core::send_batch::SendBatch;
use tianqiao_sfu_core::track::{Home, Track};
use tianqiao_sfu_core::transport::SRTP_MAX_OVERHEAD;
use tianqiao_sfu_core::transport::srtp::{Inbound, MasterKey, Outbound, Profile};
use tianqiao_sfu_core::units::{ExtendedSeq, Ssrc, TrackId};
use tianqiao_sfu_core::worker_core::PacketSink;

use source::{Outgoing, Video};
use world::{World, audio_slot, camera, microphone, video_slot};

/// Packets of a frame and bytes of each: video of 2.5 Mbit/s at 30 frames/s.
const FRAME: usize = 10;
const PACKET: usize = 1_100;
const SUBSCRIBERS: usize = 100;

const PROFILES: [(&str, Profile); 2] = [
    ("AES-128-GCM", Profile::AeadAes128Gcm),
    ("AES-CM-128-HMAC-SHA1-80", Profile::Aes128CmSha1_80),
];

fn master(profile: Profile) -> MasterKey {
    MasterKey::new(profile, &vec![7; profile.key_len()], &vec![9; profile.salt_len()]).expect("lengths of the profile")
}

/// A packet of [`PACKET`] bytes without extensions, and its header's length.
fn packet(seq: ExtendedSeq) -> (Vec<u8>, usize) {
    let (mut packet, header_len, _) = source::audio(1, seq.0, 20);
    packet.resize(PACKET, 0x55);
    (packet, header_len)
}

fn srtp(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp");
    group.throughput(Throughput::Elements(1));
    for (name, profile) in PROFILES {
        let mut outbound = Outbound::new(&master(profile));
        let mut seq = ExtendedSeq(0);
        let (mut buffer, header_len) = packet(seq);
        buffer.resize(PACKET + SRTP_MAX_OVERHEAD, 0);
        group.bench_function(format!("protect {PACKET} B, {name}"), |b| {
            b.iter(|| {
                seq.0 += 1;
                buffer[2..4].copy_from_slice(&seq.truncate().to_be_bytes());
                outbound.protect_rtp(black_box(&mut buffer), PACKET, header_len, seq)
            });
        });

        // A replay window takes each packet once, so a receiver is new with every batch.
        let protected: Vec<Vec<u8>> = (0..1_000)
            .map(|seq| {
                let (mut buffer, header_len) = packet(ExtendedSeq(seq));
                buffer.resize(PACKET + SRTP_MAX_OVERHEAD, 0);
                let len =
                    Outbound::new(&master(profile)).protect_rtp(&mut buffer, PACKET, header_len, ExtendedSeq(seq));
                buffer.truncate(len.expect("fits"));
                buffer
            })
            .collect();
        group.throughput(Throughput::Elements(protected.len() as u64));
        group.bench_function(format!("unprotect {} × {PACKET} B, {name}", protected.len()), |b| {
            b.iter_batched(
                || (Inbound::new(&master(profile)), protected.clone()),
                |(mut inbound, mut packets)| {
                    for packet in &mut packets {
                        inbound.unprotect_rtp(packet).expect("authentic and new");
                    }
                    (inbound, packets)
                },
                BatchSize::LargeInput,
            );
        });
        group.throughput(Throughput::Elements(1));
    }
    group.finish();
}

/// The packets of a frame as a publisher's worker holds them.
fn pooled_frame(pool: &mut PacketPool, now: Instant, frame: &[Outgoing]) -> Vec<PacketRef> {
    let fill = |(bytes, header_len, seq): &Outgoing| {
        let payload = &bytes[*header_len..];
        let info = PacketInfo {
            seq: *seq,
            timestamp: 0,
            marker: false,
            codec: Codec::Vp8,
            layer: 0,
            arrival: now,
            frame: payload::describe(Codec::Vp8, payload),
            audio_level: None,
            video_orientation: None,
            recovered: false,
        };
        pool.fill(info, payload, &[]).expect("fits")
    };
    frame.iter().map(fill).collect()
}

fn rewrite(c: &mut Criterion) {
    let now = Instant::now();
    let (mut video, mut pool) = (Video::new(1_000, 720), PacketPool::new(4_096));
    let track = Track::new(TrackId(7), MediaKind::Video, Home::Unknown);
    let ssrcs = SendMedia {
        ssrc: Ssrc(50),
        rtx_ssrc: Ssrc(51),
    };
    let media = video_slot("5", 50);
    let mut slot = Downtrack::new(&media, ssrcs, SlotFormat::shared(&media, []), 1);
    slot.set_source(Some(track.id), 720);
    let key = pooled_frame(&mut pool, now, &video.frame(true, FRAME));
    assert!(slot.rewrite(&key[0], &track, 0).is_some(), "begins with the key frame");

    let mut out = vec![0; 2_000];
    let mut group = c.benchmark_group("rewrite");
    group.throughput(Throughput::Elements(FRAME as u64));
    group.bench_function(format!("{FRAME} packets of VP8 into the slab"), |b| {
        b.iter_batched(
            || pooled_frame(&mut pool, now, &video.frame(false, FRAME)),
            |frame| {
                for packet in &frame {
                    let decision = slot.rewrite(packet, &track, 0).expect("forwarded");
                    black_box(slot.write(&mut out, packet, &decision, track.id, 0));
                }
                frame
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Takes the packets as a socket would, but for the kernel.
#[derive(Default)]
struct VirtualSocket(usize);

impl PacketSink for VirtualSocket {
    fn send(&mut self, batch: &SendBatch) {
        self.0 += batch.runs().iter().map(|run| run.segments).sum::<usize>();
        black_box(batch.slab());
    }
}

/// From the publisher's datagrams to encrypted packets of all subscribers, through a whole worker.
fn route(c: &mut Criterion) {
    let mut world = World::with(1, RateLimits::UNLIMITED);
    let media = vec![camera("0", 1_000, &[]), microphone("1", 2_000)];
    let publisher = world.join(0, media, &[("0", 71), ("1", 72)]);
    for _ in 0..SUBSCRIBERS {
        let subscriber = world.join(0, vec![video_slot("5", 50), audio_slot("6", 60)], &[]);
        world.show(subscriber, "5", Some((71, 0)), 720);
        world.show(subscriber, "6", Some((72, 0)), 0);
    }
    let mut video = Video::new(1_000, 720);
    let key = video.frame(true, FRAME);
    world.send_rtp(publisher, &key);

    let mut group = c.benchmark_group("route");
    group.throughput(Throughput::Elements((FRAME * SUBSCRIBERS) as u64));
    group.measurement_time(Duration::from_secs(8));
    group.bench_function(format!("{FRAME} packets to {SUBSCRIBERS} downtracks"), |b| {
        b.iter_custom(|frames| {
            let mut spent = Duration::ZERO;
            let mut socket = VirtualSocket::default();
            for _ in 0..frames {
                let frame = video.frame(false, FRAME);
                let mut datagrams = world.encrypt(publisher, &frame);
                let now = world.now;
                let begun = Instant::now();
                for datagram in &mut datagrams {
                    world.deliver(publisher, datagram);
                }
                world.workers[0].flush(now, &mut socket);
                spent += begun.elapsed();
            }
            assert_eq!(socket.0, frames as usize * FRAME * SUBSCRIBERS);
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, srtp, rewrite, route);
criterion_main!(benches);
