//! From the full voice to the low one and back.

use super::*;
use crate::track::MappedReport;

/// What the listener hears, in the order of its clock: where a packet begins and ends, and the sound in it; in ms.
struct Heard {
    from: i32,
    to: i32,
    sound: u32,
    is_low: bool,
}

/// How the two layers come.
#[derive(Clone, Copy)]
struct Case {
    /// ms by which the low packets are off the grid of the full ones.
    phase: u32,
    /// ms that the low packets, and then the full ones, come late.
    late: (u32, u32),
    /// The speaker's sender reports are known, so many ms off.
    reports: Option<u32>,
    /// One packet in so many of either layer is lost on its way to the server.
    loses: u32,
}

const PLAIN: Case = Case {
    phase: 0,
    late: (0, 0),
    reports: Some(0),
    loses: 0,
};

/// Changes to the low layer at 1 s and on with every second for ten.
fn listen(case: Case, has_red: bool, redundancy: u8) -> Vec<Heard> {
    let epoch = Instant::now();
    let format = |layer| AudioFormat {
        layer,
        redundancy,
        ..AudioFormat::default()
    };
    let (mut full, mut low, mut slot) = (Speaker::full(), Speaker::low(), Slot::new(has_red, format(0)));
    if let Some(error) = case.reports {
        for (speaker, error) in [(&full, 0), (&low, error)] {
            slot.track.layers[usize::from(speaker.layer)].report = Some(MappedReport {
                at: epoch + MS * error,
                rtp: speaker.base,
            });
        }
    }
    // (time of arrival, packet)
    let mut packets = Vec::new();
    for at in (0..10_000).step_by(20) {
        packets.push((at + 20 + case.late.1, full.packet(epoch, at)));
    }
    for at in (case.phase..9_940).step_by(60) {
        packets.push((at + 60 + case.late.0, low.packet(epoch, at)));
    }
    packets.sort_by_key(|&(at, ref packet)| (at, packet.layer));
    let (mut listener, mut layer, mut seqs) = (Listener::default(), 0, Vec::new());
    for (count, (arrival, packet)) in (0..).zip(packets) {
        let wanted = (arrival / 1_000 % 2) as u8;
        if wanted != layer {
            layer = wanted;
            slot.downtrack.set_audio(format(layer));
            slot.downtrack.retarget(&slot.track);
        }
        if case.loses > 0 && count % case.loses == case.loses - 1 {
            continue;
        }
        let packet = PacketPool::new(0)
            .fill(
                PacketInfo {
                    arrival: epoch + MS * arrival,
                    ..**packet
                },
                packet.payload(),
                &[],
            )
            .expect("fits");
        if let Some(datagram) = slot.forward(&packet) {
            seqs.push(read(&datagram).seq);
            listener.receive(&datagram);
        }
    }
    if case.loses == 0 {
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    }
    listener
        .frames
        .iter()
        .map(|(&timestamp, frame)| Heard {
            from: timestamp / 48,
            to: (timestamp + opus::duration(frame).expect("Opus") as i32) / 48,
            sound: at(frame),
            is_low: frame[0] >> 3 == 3,
        })
        .collect()
}

/// The most that is missing and that is said twice at a change, in ms; and how many changes there are.
fn judge(heard: &[Heard]) -> (i32, i32, usize) {
    let (mut missing, mut twice, mut changes) = (0, 0, 0);
    for pair in heard.windows(2) {
        let [one, next] = pair else { continue };
        assert!(
            next.from >= one.to - 1,
            "a receiver drops what overlaps: {} {}",
            one.to,
            next.from
        );
        if one.is_low != next.is_low {
            changes += 1;
            let end = one.sound as i32 + if one.is_low { 60 } else { 20 };
            let gap = next.sound as i32 - end;
            missing = missing.max(gap);
            twice = twice.max(-gap);
        }
    }
    (missing, twice, changes)
}

#[test]
fn nothing_is_missing_and_nothing_is_said_twice() {
    // (name, how they come, most that is missing, most that is said twice)
    for (name, case, most_missing, most_twice) in [
        ("on one grid", PLAIN, 0, 0),
        ("10 ms apart", Case { phase: 10, ..PLAIN }, 10, 10),
        ("40 ms apart", Case { phase: 40, ..PLAIN }, 0, 0),
        ("the low one comes late", Case { late: (35, 0), ..PLAIN }, 20, 0),
        ("the full one comes late", Case { late: (0, 35), ..PLAIN }, 0, 0),
        ("the low one comes very late", Case { late: (75, 0), ..PLAIN }, 20, 0),
        ("without sender reports", Case { reports: None, ..PLAIN }, 0, 0),
        (
            "with sender reports 7 ms off",
            Case {
                reports: Some(7),
                ..PLAIN
            },
            20,
            20,
        ),
        ("with losses", Case { loses: 11, ..PLAIN }, 60, 20),
    ] {
        for (has_red, redundancy) in [(true, 0), (true, 2), (false, 0)] {
            let heard = listen(case, has_red, redundancy);
            let (missing, twice, changes) = judge(&heard);
            assert!((9..=10).contains(&changes), "{name}: {changes}");
            // Without RED what came too early cannot be sent any more.
            let most_missing = if has_red { most_missing } else { most_missing + 40 };
            assert!(missing <= most_missing, "{name}: {missing} ms missing");
            assert!(twice <= most_twice, "{name}: {twice} ms said twice");
            let last = heard.last().expect("something");
            let drift = last.from - last.sound as i32;
            let first = heard[0].from - heard[0].sound as i32;
            assert!((drift - first).abs() <= 50, "{name}: {} ms of drift", drift - first);
        }
    }
}

#[test]
fn a_layer_that_ends_is_replaced_and_one_that_does_not_come_is_not_waited_for() {
    let epoch = Instant::now();
    let low_wanted = AudioFormat {
        layer: 1,
        ..AudioFormat::default()
    };
    let (mut full, mut low, mut slot) = (Speaker::full(), Speaker::low(), Slot::new(true, low_wanted));
    let mut layers = Vec::new();
    for at in (0..6_000).step_by(20) {
        // The low one is there from 1 s to 3 s.
        if at % 60 == 0 && (1_000..3_000).contains(&at) {
            layers.extend(
                slot.forward(&low.packet(epoch, at - 60))
                    .map(|sent| (at, read(&sent).frames[0].1[0] >> 3)),
            );
        }
        let sent = slot.forward(&full.packet(epoch, at));
        layers.extend(sent.map(|sent| (at, read(&sent).frames[0].1[0] >> 3)));
        if at % 100 == 0 {
            slot.downtrack.retarget(&slot.track);
        }
    }
    let longest = layers
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .max()
        .expect("packets");
    let low: Vec<_> = layers
        .iter()
        .filter(|(_, config)| *config == 3)
        .map(|(at, _)| *at)
        .collect();
    assert!(low[0] < 1_300 && low[low.len() - 1] > 2_900, "{low:?}");
    // Until it is clear that the layer has ended.
    assert!(longest <= 1_240, "{longest} ms without sound");
    assert_eq!(layers.last().map(|(at, _)| *at), Some(5_980));
}

#[test]
fn in_silence_a_change_waits_for_nothing() {
    let epoch = Instant::now();
    let format = |layer| AudioFormat {
        layer,
        ..AudioFormat::default()
    };
    let (mut full, mut low, mut slot) = (Speaker::full(), Speaker::low(), Slot::new(true, format(0)));
    assert!(slot.forward(&full.packet_of(epoch, 0, 2)).is_some());
    assert!(slot.forward(&low.packet_of(epoch, 0, 2)).is_none());
    slot.downtrack.set_audio(format(1));
    slot.downtrack.retarget(&slot.track);
    // 400 ms later both say that they are silent still.
    let packet = low.packet_of(epoch, 420, 2);
    assert!(slot.forward(&packet).is_some());
    assert!(slot.forward(&full.packet_of(epoch, 440, 2)).is_none());
}

#[test]
fn another_speaker_s_first_packet_does_not_overlap_the_last_one_s() {
    let epoch = Instant::now();
    let format = AudioFormat {
        layer: 1,
        redundancy: 1,
        ..AudioFormat::default()
    };
    let (mut low, mut full, mut slot) = (Speaker::low(), Speaker::full(), Slot::new(true, format));
    let last = read(&slot.forward(&low.packet(epoch, 0)).expect("goes"));
    // 5 ms later another one speaks, who has no low voice.
    slot.downtrack.set_source(Some(TrackId(8)), 0);
    slot.track = Track::new(TrackId(8), MediaKind::Audio, Home::Unknown);
    let next = read(&slot.forward(&full.packet(epoch, 45)).expect("goes at once"));
    assert_eq!(next.frames.len(), 1, "nothing of another's goes with it");
    assert_eq!(next.seq, last.seq.wrapping_add(1));
    assert_eq!(next.frames[0].0, last.frames[0].0.wrapping_add(2_880));
}
