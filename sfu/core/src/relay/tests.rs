//! Two ends of a link in virtual time, with a network between them that loses, delays, turns round and copies.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::drop_reason::DropReason;
use crate::mail::LayerState;
use crate::negotiated::{Codec, MediaKind};
use crate::packet::payload::FrameInfo;
use crate::path::Path;
use crate::pool::{PacketInfo, PacketPool, PacketRef};
use crate::track::MappedReport;
use crate::units::{ExtendedSeq, TrackId};

const ID: LinkId = LinkId(0x1234_5678_9abc_def0);
const TRACK: TrackId = TrackId(7);

fn key(byte: u8) -> LinkKey {
    LinkKey {
        key: [byte; 16],
        salt: [byte; 12],
    }
}

fn keys(generation: u8, is_first: bool) -> LinkKeys {
    let base = generation * 2 + 1;
    let (send, receive) = if is_first { (base, base + 1) } else { (base + 1, base) };
    LinkKeys {
        generation,
        send: key(send),
        receive: key(receive),
    }
}

fn path(port: u16) -> Path {
    Path::udp(([192, 0, 2, 1], port).into())
}

/// What the network does to a datagram.
#[derive(Clone, Copy)]
struct Network {
    loss: f64,
    copies: f64,
    delay: Duration,
    jitter: Duration,
    /// Bits per second; none: no queue.
    rate: Option<f64>,
    queue: Duration,
}

const CLEAN: Network = Network {
    loss: 0.0,
    copies: 0.0,
    delay: Duration::from_millis(5),
    jitter: Duration::ZERO,
    rate: None,
    queue: Duration::from_millis(300),
};

/// Track, what is known, payload, descriptor, and when it came.
type Arrived = (TrackId, PacketInfo, Vec<u8>, Vec<u8>, Instant);

#[derive(Default)]
struct Received {
    media: Vec<Arrived>,
    messages: Vec<LinkMessage>,
    signals: Vec<LinkSignal>,
    ups: usize,
    downs: usize,
    drops: Vec<DropReason>,
}

struct End {
    link: Link,
    received: Received,
    /// When its way out is free again.
    free: Instant,
}

struct Pair {
    now: Instant,
    ends: [End; 2],
    network: Network,
    is_cut: bool,
    rng: StdRng,
    /// When it arrives, at whom, and what.
    flying: Vec<(Instant, usize, Vec<u8>)>,
    /// Everything that ever went out.
    record: Vec<(usize, Vec<u8>)>,
    pool: PacketPool,
    seq: u64,
}

impl Pair {
    fn new(network: Network, seed: u64) -> Self {
        let now = Instant::now();
        let end = |is_first: bool| {
            let config = LinkConfig {
                id: ID,
                keys: keys(1, is_first),
                // The second learns from the first where it is.
                peer: is_first.then(|| path(2)),
            };
            End {
                link: Link::new(config, now),
                received: Received::default(),
                free: now,
            }
        };
        Self {
            now,
            ends: [end(true), end(false)],
            network,
            is_cut: false,
            rng: StdRng::seed_from_u64(seed),
            flying: Vec::new(),
            record: Vec::new(),
            pool: PacketPool::new(10_000),
            seq: 0,
        }
    }

    fn packet(&mut self, layer: u8, payload: &[u8]) -> PacketRef {
        let info = PacketInfo {
            seq: ExtendedSeq(70_000 + self.seq),
            timestamp: 3_000 * self.seq as u32,
            marker: self.seq.is_multiple_of(2),
            codec: Codec::Vp8,
            layer,
            arrival: self.now,
            frame: FrameInfo::default(),
            audio_level: None,
            video_orientation: Some(1),
            recovered: false,
        };
        self.seq += 1;
        self.pool.fill(info, payload, &[9, 8, 7]).expect("fits")
    }

    fn put(&mut self, from: usize, datagram: &[u8]) {
        self.record.push((from, datagram.to_vec()));
        if self.is_cut || self.rng.random_bool(self.network.loss) {
            return;
        }
        let end = &mut self.ends[from];
        let mut leaves = self.now;
        if let Some(rate) = self.network.rate {
            let start = end.free.max(self.now);
            if start.saturating_duration_since(self.now) > self.network.queue {
                return;
            }
            leaves = start + Duration::from_secs_f64((datagram.len() + 28) as f64 * 8.0 / rate);
            end.free = leaves;
        }
        let copies = 1 + usize::from(self.rng.random_bool(self.network.copies));
        for _ in 0..copies {
            let jitter = self.network.jitter.mul_f64(self.rng.random());
            self.flying
                .push((leaves + self.network.delay + jitter, 1 - from, datagram.to_vec()));
        }
    }

    /// A packet of `track` from one end, if its layer is admitted.
    fn send(&mut self, from: usize, track: TrackId, kind: MediaKind, layer: u8, payload: &[u8]) -> bool {
        let packet = self.packet(layer, payload);
        let mut out = [0; 2_000];
        let now = self.now;
        let link = &mut self.ends[from].link;
        if !link.admits(track, kind, &packet) {
            return false;
        }
        if let Some((_, len)) = link.send_media(now, track, &packet, 0, &mut out) {
            self.put(from, &out[..len]);
        }
        true
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
            self.now += Duration::from_millis(1);
        }
    }

    fn step(&mut self) {
        let now = self.now;
        let mut arrived: Vec<_> = self.flying.extract_if(.., |(at, ..)| *at <= now).collect();
        arrived.sort_by_key(|(at, ..)| *at);
        for (_, to, mut datagram) in arrived {
            self.deliver(to, &mut datagram);
        }
        for from in 0..2 {
            let link = &mut self.ends[from].link;
            if link.poll_timeout(now) <= now {
                link.handle_timeout(now);
            }
            let mut out = [0; 1_500];
            while let Some((_, len)) = self.ends[from].link.poll_transmit(now, &mut out) {
                self.put(from, &out[..len]);
            }
            self.ends[from].link.check_bounds();
            self.drain(from);
        }
    }

    fn deliver(&mut self, to: usize, datagram: &mut [u8]) {
        assert_eq!(peek_link(datagram), Some(ID));
        let end = &mut self.ends[to];
        match end.link.handle_datagram(self.now, path(1 + 1 - to as u16), datagram) {
            Ok(Some(media)) => {
                let payload = datagram[media.payload].to_vec();
                let descriptor = datagram[media.descriptor].to_vec();
                let media = (media.track, media.info, payload, descriptor, self.now);
                end.received.media.push(media);
            }
            Ok(None) => {}
            Err(reason) => end.received.drops.push(reason),
        }
        self.drain(to);
    }

    fn drain(&mut self, of: usize) {
        let end = &mut self.ends[of];
        while let Some(event) = end.link.poll_event() {
            match event {
                LinkEvent::Message(message) => end.received.messages.push(message),
                LinkEvent::Signal(signal) => end.received.signals.push(signal),
                LinkEvent::Up => end.received.ups += 1,
                LinkEvent::Down => end.received.downs += 1,
            }
        }
    }
}

fn want(track: u32, layers: u8) -> LinkMessage {
    LinkMessage::Want {
        track: TrackId(track),
        layers,
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn the_second_learns_where_the_first_is_and_both_are_up() {
    let mut pair = Pair::new(CLEAN, 1);
    assert!(!pair.send(1, TRACK, MediaKind::Video, 0, b"nowhere to") || pair.record.is_empty());
    pair.run(50 * MS);
    assert_eq!((pair.ends[0].received.ups, pair.ends[1].received.ups), (1, 1));
    assert!(pair.ends[1].link.peer().is_some());
}

#[test]
fn a_packet_arrives_with_all_that_is_known_of_it() {
    let mut pair = Pair::new(CLEAN, 1);
    pair.run(50 * MS);
    pair.send(0, TRACK, MediaKind::Video, 2, b"payload");
    pair.run(20 * MS);
    let (track, info, payload, descriptor, at) = pair.ends[1].received.media.pop().expect("it arrives");
    assert_eq!(
        (track, payload.as_slice(), descriptor.as_slice()),
        (TRACK, &b"payload"[..], &[9, 8, 7][..])
    );
    assert_eq!((info.seq, info.layer, info.codec), (ExtendedSeq(70_000), 2, Codec::Vp8));
    assert_eq!((info.marker, info.video_orientation, info.arrival), (true, Some(1), at));
}

#[test]
fn what_is_lost_is_sent_again_within_some_round_trips() {
    let network = Network {
        loss: 0.1,
        copies: 0.02,
        jitter: 3 * MS,
        ..CLEAN
    };
    for seed in 0..10 {
        let mut pair = Pair::new(network, seed);
        pair.run(100 * MS);
        for number in 0_u32..2_000 {
            pair.send(0, TRACK, MediaKind::Video, 0, &number.to_be_bytes());
            pair.run(MS);
        }
        pair.run(300 * MS);
        let received = &pair.ends[1].received;
        let mut numbers: Vec<Vec<u8>> = received.media.iter().map(|media| media.2.clone()).collect();
        numbers.sort();
        let before = numbers.len();
        numbers.dedup();
        assert_eq!(before, numbers.len(), "none comes twice");
        assert!(numbers.len() >= 1_999, "{} of 2000 with seed {seed}", numbers.len());
        let late = received.media.iter().filter(|media| {
            let number = u32::from_be_bytes(media.2[..4].try_into().expect("four bytes"));
            media.4 > pair.now - 2_300 * MS + number * MS + 120 * MS
        });
        assert!(late.count() <= 20, "repairs are quick");
        assert!(pair.ends[0].link.stats().repairs_out >= 150);
    }
}

#[test]
fn messages_arrive_once_and_in_order_whatever_the_network_does() {
    let network = Network {
        loss: 0.3,
        copies: 0.2,
        jitter: 30 * MS,
        ..CLEAN
    };
    for seed in 0..20 {
        let mut pair = Pair::new(network, seed);
        for number in 0..400 {
            pair.ends[0].link.send_message(&want(number, 1));
            pair.ends[1].link.send_message(&want(number, 2));
            if number % 5 == 0 {
                pair.run(10 * MS);
            }
        }
        pair.run(Duration::from_secs(20));
        for (end, layers) in [(1, 1), (0, 2)] {
            let messages = pair.ends[end].received.messages.iter();
            let got: Vec<(u32, u8)> = messages
                .map(|message| match message {
                    LinkMessage::Want { track, layers } => (track.0, *layers),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(
                got,
                (0..400).map(|number| (number, layers)).collect::<Vec<_>>(),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn of_what_has_not_gone_out_only_the_latest_goes() {
    let mut pair = Pair::new(CLEAN, 1);
    for layers in [1, 3, 7, 0] {
        pair.ends[0].link.send_message(&want(1, layers));
    }
    pair.run(100 * MS);
    let messages = &pair.ends[1].received.messages;
    assert!(
        matches!(messages.as_slice(), [LinkMessage::Want { layers: 0, .. }]),
        "{messages:?}"
    );
}

#[test]
fn times_arrive_on_the_other_clock() {
    let mut pair = Pair::new(CLEAN, 1);
    pair.run(100 * MS);
    let report = MappedReport {
        at: pair.now - 30 * MS,
        rtp: 42,
    };
    let layer = LayerState {
        codec: Some(Codec::H264 { profile: 0x42e0 }),
        resolution: Some((320, 180)),
        last_packet: Some(pair.now - 10 * MS),
        report: Some(report),
    };
    pair.ends[0].link.send_message(&LinkMessage::Layers {
        track: TRACK,
        layers: [layer].into_iter().collect(),
        streams: 3,
    });
    pair.ends[0].link.send_signal(LinkSignal::Report {
        track: TRACK,
        layer: 1,
        report,
    });
    let sent = pair.now;
    pair.run(50 * MS);
    let received = &pair.ends[1].received;
    let Some(LinkMessage::Layers { layers, streams: 3, .. }) = received.messages.first() else {
        panic!("{:?}", received.messages);
    };
    assert_eq!(layers[0].codec, layer.codec);
    // One way is what clocks cannot tell.
    assert_eq!(layers[0].last_packet, Some(sent - 10 * MS + CLEAN.delay));
    let Some(LinkSignal::Report { report: got, .. }) = received.signals.first() else {
        panic!("{:?}", received.signals);
    };
    assert_eq!((got.rtp, got.at), (42, report.at + CLEAN.delay));
}

#[test]
fn nothing_forged_replayed_or_cut_short_is_taken() {
    let mut pair = Pair::new(CLEAN, 1);
    pair.run(50 * MS);
    pair.is_cut = true;
    pair.send(0, TRACK, MediaKind::Video, 0, &[1; 500]);
    let (_, good) = pair.record.last().cloned().expect("sent");
    let take = |pair: &mut Pair, mut datagram: Vec<u8>| {
        let before = pair.ends[1].received.media.len();
        pair.deliver(1, &mut datagram);
        let end = &mut pair.ends[1].received;
        (end.media.len() - before, end.drops.pop())
    };
    // Another number, generation, byte or tag.
    for at in [17, 1, HEADER_LEN + 3, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        assert_eq!(take(&mut pair, bad), (0, Some(DropReason::LinkAuth)), "{at}");
    }
    let short = good[..HEADER_LEN + 16].to_vec();
    assert_eq!(take(&mut pair, short), (0, Some(DropReason::LinkAuth)));
    assert_eq!(take(&mut pair, good.clone()), (1, None));
    assert_eq!(take(&mut pair, good.clone()), (0, Some(DropReason::LinkReplay)));
    assert_eq!(peek_link(&good[..20]), None);
    assert_eq!(peek_link(&[]), None);
}

#[test]
fn keys_change_under_traffic_and_nothing_is_lost() {
    let mut pair = Pair::new(CLEAN, 3);
    pair.run(50 * MS);
    for number in 0_u32..3_000 {
        // The ends hear of it at different times; each generation lives for a second.
        if number % 1_000 == 200 {
            let generation = 2 + (number / 1_000) as u8;
            pair.ends[0].link.rekey(pair.now, &keys(generation, true));
        }
        if number % 1_000 == 500 {
            let generation = 2 + (number / 1_000) as u8;
            pair.ends[1].link.rekey(pair.now, &keys(generation, false));
        }
        pair.send(0, TRACK, MediaKind::Video, 0, &number.to_be_bytes());
        pair.run(MS);
    }
    pair.run(100 * MS);
    let received = &pair.ends[1].received;
    assert_eq!((received.media.len(), received.drops.as_slice()), (3_000, &[][..]));
    let last = pair.record.iter().rfind(|(from, _)| *from == 0).expect("sent");
    assert_eq!(last.1[1], 0x44, "the last generation is in use");
}

#[test]
fn a_cut_link_says_so_and_goes_on_when_it_is_back() {
    let mut pair = Pair::new(CLEAN, 3);
    pair.run(100 * MS);
    pair.is_cut = true;
    pair.ends[0].link.send_message(&want(5, 1));
    pair.run(Duration::from_secs(5));
    assert_eq!((pair.ends[0].received.downs, pair.ends[1].received.downs), (1, 1));
    pair.is_cut = false;
    pair.run(Duration::from_millis(1_500));
    assert_eq!((pair.ends[0].received.ups, pair.ends[1].received.ups), (2, 2));
    assert_eq!(pair.ends[1].received.messages.len(), 1);
    pair.send(0, TRACK, MediaKind::Video, 0, b"on");
    pair.run(20 * MS);
    assert_eq!(pair.ends[1].received.media.len(), 1);
}

#[test]
fn a_full_link_carries_voices_and_the_small_pictures_without_a_long_queue() {
    let network = Network {
        rate: Some(2_000_000.0),
        ..CLEAN
    };
    let mut pair = Pair::new(network, 5);
    pair.run(100 * MS);
    let started = pair.now;
    let mut refused = [0; 2];
    for tick in 0_u32..10_000 {
        // A voice of 40 kbit/s, a small picture of 400 kbit/s and a large one of 4 Mbit/s.
        if tick % 20 == 0 {
            pair.send(0, TrackId(1), MediaKind::Audio, 0, &[0; 100]);
            refused[0] += usize::from(!pair.send(0, TrackId(2), MediaKind::Video, 0, &[1; 1_000]));
        }
        if tick % 2 == 0 {
            refused[1] += usize::from(!pair.send(0, TrackId(2), MediaKind::Video, 1, &[2; 1_000]));
        }
        pair.run(MS);
    }
    pair.run(500 * MS);
    let after = started + Duration::from_secs(4);
    let media = &pair.ends[1].received.media;
    let of = |track: u32, layer: u8| {
        media
            .iter()
            .filter(move |media| (media.0, media.1.layer) == (TrackId(track), layer) && media.4 > after)
            .count()
    };
    assert!(of(1, 0) >= 300, "{} of 300 voices", of(1, 0));
    assert!(of(2, 0) >= 290, "{} of 300 small pictures, {refused:?}", of(2, 0));
    assert!(refused[1] > 2_500, "{refused:?}");
    let queue = pair.ends[0].free.saturating_duration_since(pair.now);
    assert!(queue < 250 * MS, "{queue:?}");
}

#[test]
fn on_a_good_network_nothing_is_held_back() {
    let mut pair = Pair::new(CLEAN, 6);
    pair.run(20 * MS);
    // 40 Mbit/s from the first moment on.
    for _ in 0..2_000 {
        for _ in 0..5 {
            assert!(pair.send(0, TrackId(2), MediaKind::Video, 1, &[2; 1_000]));
        }
        pair.run(MS);
    }
    pair.run(50 * MS);
    let media = &pair.ends[1].received.media;
    assert_eq!(media.len(), 10_000);
}

#[test]
fn whatever_an_authentic_peer_says_it_is_bounded_and_no_panic() {
    let mut rng = StdRng::seed_from_u64(9);
    let now = Instant::now();
    let mut pair = Pair::new(CLEAN, 9);
    pair.run(50 * MS);
    pair.send(0, TRACK, MediaKind::Video, 1, &[5; 60]);
    pair.run(50 * MS);
    let mut sealer = seal::Sealer::new(ID, &keys(1, true), now);
    // Above what the true peer has used.
    for _ in 0..1_000 {
        let mut waste = [0; 100];
        sealer.seal(now, &mut waste, 40);
    }
    let packet = pair.packet(0, &[1, 2, 3]);
    for round in 0..20_000 {
        let mut datagram = [0; 600];
        let mut len = wire::write_media(
            &mut datagram[HEADER_LEN..],
            TRACK,
            &packet,
            (round % 3 == 0).then_some(1),
            5,
        )
        .expect("fits");
        if round % 2 == 0 {
            len = rng.random_range(0..200);
            rng.fill(&mut datagram[HEADER_LEN..HEADER_LEN + len]);
            if let Some(kind) = datagram[HEADER_LEN..].first_mut() {
                *kind = rng.random_range(0..9);
            }
        } else {
            let at = HEADER_LEN + rng.random_range(0..len);
            datagram[at] = rng.random();
        }
        let len = sealer.seal(now, &mut datagram, HEADER_LEN + len).expect("room");
        pair.deliver(1, &mut datagram[..len]);
        pair.ends[1].link.check_bounds();
        let mut out = [0; 1_500];
        while pair.ends[1].link.poll_transmit(pair.now, &mut out).is_some() {}
    }
}

#[test]
fn to_send_media_allocates_nothing() {
    let mut pair = Pair::new(CLEAN, 1);
    pair.run(50 * MS);
    let packet = pair.packet(0, &[3; 1_100]);
    let mut out = [0; 2_000];
    let now = pair.now;
    let link = &mut pair.ends[0].link;
    let mut send = || {
        assert!(link.admits(TRACK, MediaKind::Video, &packet));
        assert!(link.send_media(now, TRACK, &packet, 0, &mut out).is_some());
    };
    // Until every ring has grown to its full size.
    (0..20_000).for_each(|_| send());
    let counted = allocation_counter::measure(|| (0..1_000).for_each(|_| send()));
    assert_eq!(counted.count_total, 0);
}

/// `cargo test --release -p tianqiao-sfu-core relay::tests::cost -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn cost() {
    const ROUNDS: u32 = 100_000;
    let mut pair = Pair::new(CLEAN, 1);
    pair.run(50 * MS);
    let packet = pair.packet(0, &[3; 1_100]);
    let mut out = [0; 2_000];
    let now = pair.now;
    let [one, other] = &mut pair.ends;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        one.link.send_media(now, TRACK, &packet, 0, &mut out);
    }
    println!("send: {:?}", start.elapsed() / ROUNDS);
    let datagrams: Vec<Vec<u8>> = (0..ROUNDS)
        .map(|_| {
            let (_, len) = one.link.send_media(now, TRACK, &packet, 0, &mut out).expect("a peer");
            out[..len].to_vec()
        })
        .collect();
    let start = Instant::now();
    for mut datagram in datagrams {
        other
            .link
            .handle_datagram(now, path(1), &mut datagram)
            .expect("authentic");
    }
    println!("receive: {:?}", start.elapsed() / ROUNDS);
}
