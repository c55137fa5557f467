//! How much of a voice is left where packets are lost.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

const FRAMES: u32 = 20_000;

/// Of frames that do not come, in percent, and of packets that were sent.
fn run(format: AudioFormat, mut is_lost: impl FnMut(usize) -> bool) -> (f64, usize) {
    let epoch = Instant::now();
    let (mut speaker, mut slot, mut listener) = (Speaker::full(), Slot::new(true, format), Listener::default());
    let (mut sent, mut next_seq) = (0, None);
    for frame in 0..FRAMES {
        let packet = speaker.packet(epoch, frame * 20);
        let Some(datagram) = slot.forward(&packet) else {
            continue;
        };
        let seq = read(&datagram).seq;
        assert!(next_seq.is_none_or(|next| next == seq), "numbers go on without a gap");
        next_seq = Some(seq.wrapping_add(1));
        if sent == 0 || !is_lost(sent) {
            listener.receive(&datagram);
        }
        sent += 1;
    }
    let missing = FRAMES as usize - listener.frames.len();
    for (index, (timestamp, frame)) in listener.frames.iter().enumerate() {
        assert!(index > 0 || *timestamp == 0 || format.frames_per_packet > 1);
        let first = listener.frames.first_key_value().expect("some came").0;
        assert_eq!((timestamp - first) as u32 / 48, at(frame), "each stands at its time");
    }
    (100.0 * missing as f64 / f64::from(FRAMES), sent)
}

fn redundant(redundancy: u8, distance: u8) -> AudioFormat {
    AudioFormat {
        redundancy,
        distance,
        ..AudioFormat::default()
    }
}

#[test]
fn random_losses_shrink_by_their_share_with_each_earlier_frame() {
    for share in [0.05, 0.2] {
        for redundancy in 0..=3 {
            let mut random = SmallRng::seed_from_u64(u64::from(redundancy));
            let (missing, _) = run(redundant(redundancy, 1), |_| random.random_bool(share));
            let expected = 100.0 * share.powi(i32::from(redundancy) + 1);
            println!("{share} lost, {redundancy} earlier frames: {missing} % missing");
            assert!(
                missing < expected * 1.25 + 0.05 && missing > expected * 0.7 - 0.05,
                "{share} {redundancy}: {missing} % missing, not {expected}"
            );
        }
    }
}

#[test]
fn bursts_are_outlived_by_distance() {
    // (redundancy, distance, packets lost in a row, frames missing in each burst)
    for (redundancy, distance, burst, missing_each) in [
        (0, 1, 3, 3),
        (1, 1, 3, 2),
        (1, 3, 3, 0),
        (2, 1, 3, 1),
        (3, 1, 3, 0),
        (2, 2, 4, 0),
        (2, 2, 5, 1),
        (3, 5, 15, 0),
    ] {
        let (missing, sent) = run(redundant(redundancy, distance), |packet| packet % 50 >= 50 - burst);
        // The last burst has nothing behind it.
        let bursts = sent / 50;
        let missing = (missing * f64::from(FRAMES) / 100.0).round() as usize;
        let expected = (bursts - 1) * missing_each;
        assert!(
            (expected..=expected + burst).contains(&missing),
            "{redundancy} × {distance}, {burst} lost in a row: {missing} missing, not {expected}"
        );
    }
}

/// Losses that come in bursts (Gilbert–Elliott): 10 % of packets, three in a row on average.
#[test]
fn on_a_bursty_link_distance_does_more_than_number() {
    let lossy = |format| {
        let (mut random, mut is_bad) = (SmallRng::seed_from_u64(9), false);
        let (missing, _) = run(format, |_| {
            is_bad = random.random_bool(if is_bad { 2.0 / 3.0 } else { 1.0 / 27.0 });
            is_bad
        });
        missing
    };
    let [plain, near, far] = [redundant(0, 1), redundant(1, 1), redundant(1, 5)].map(lossy);
    println!("{plain} % missing, {near} with the frame before, {far} with the fifth before");
    assert!(plain > 8.0 && near > 5.0 && far < 3.0, "{plain} {near} {far}");
}

#[test]
fn bundles_carry_all_frames_in_a_half_or_a_third_of_the_packets() {
    for (frames_per_packet, redundancy, lost, most_missing) in [
        (2, 0, 0.0, 0.01),
        (3, 0, 0.0, 0.02),
        (3, 1, 0.05, 0.4),
        (2, 2, 0.2, 1.2),
    ] {
        let format = AudioFormat {
            frames_per_packet,
            redundancy,
            ..AudioFormat::default()
        };
        let mut random = SmallRng::seed_from_u64(3);
        let (missing, sent) = run(format, |_| random.random_bool(lost));
        assert_eq!(sent, FRAMES as usize / usize::from(frames_per_packet));
        assert!(missing <= most_missing, "{frames_per_packet} {redundancy}: {missing} %");
    }
}
