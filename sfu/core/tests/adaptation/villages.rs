//! Links of villages: speech gets through, pictures stand still.

use std::time::Duration;

use tianqiao_testnet::profile::Profile;

use crate::publisher::{Camera, RIDS, Speech};
use crate::world::{LOW_VOICE, MS, World, audio_slot, camera, good, microphone, secs, video_slot};

/// Of who only listens: the page holds sound back for so long where much is lost, and what is lost is sent again.
const PATIENCE: Duration = MS.saturating_mul(1_000);

/// Somebody with a camera (track `track`) and a microphone (`track` + 1), whose voice also comes low.
fn speaker(world: &mut World, track: u32) {
    let media = vec![
        camera("cam", &RIDS),
        microphone("mic", 2_000),
        microphone(LOW_VOICE, 3_000),
    ];
    let tracks = [("cam", track), ("mic", track + 1), (LOW_VOICE, track + 1)];
    let speaker = world.join(&good(), media, &tracks);
    let now = world.time();
    let peer = &mut world.peers[speaker];
    peer.cameras.push(Camera::new("cam", 1_000, 3, now, |_| 1.0));
    peer.voices.push(Speech::new(2_000, false, now));
    peer.voices.push(Speech::new(3_000, true, now));
}

fn listen(name: &str, has_low: bool, seed: u64) -> (World, usize) {
    let mut world = World::with_seed(seed);
    match has_low {
        false => drop(world.publisher(71, &good())),
        true => speaker(&mut world, 71),
    }
    let link = Profile::shipped(name).expect("shipped");
    let viewer = world.join(&link, vec![video_slot("v", 50), audio_slot("a", 60)], &[]);
    world.show(viewer, "v", 71, 720);
    world.show(viewer, "a", 72, 0);
    (world, viewer)
}

/// `lost` bounds the mean of several links' losses: one has some luck.
fn speech_gets_through(name: &str, has_low: bool, lost: f64) {
    const SEEDS: u64 = 5;
    let mean = (0..SEEDS).map(|seed| lost_on(name, has_low, seed)).sum::<f64>() / SEEDS as f64;
    println!("{name} low {has_low}: {mean:.4}");
    assert!(mean < lost, "{mean}");
}

/// The share of what is said that is not heard, or too late.
fn lost_on(name: &str, has_low: bool, seed: u64) -> f64 {
    let (mut world, viewer) = listen(name, has_low, seed);
    world.run(secs(15.0));
    let begins = world.listener(viewer, 60).heard(secs(4.0), secs(14.0), MS * 300);
    println!("{name} low {has_low} at first {begins:?}");
    let from = world.time();
    world.peers[viewer].queue = Duration::ZERO;
    world.run(secs(40.0));
    let heard = world
        .listener(viewer, 60)
        .heard(from, world.time() - secs(1.0), PATIENCE);
    let queue = world.peers[viewer].queue;
    println!(
        "{name} low {has_low}: {heard:?} queue {queue:?} {} kbit/s {:?}",
        world.kbit(viewer),
        world.pauses(viewer)
    );
    assert!(heard.most < MS * 800 && heard.late < 0.03, "{heard:?}");
    assert!(queue < MS * 400, "{queue:?}");
    println!("{:?}", world.spares(viewer));
    let spare = world.spares(viewer).last().map_or(0, |(_, kbit)| *kbit);
    assert!(spare < 60, "beside the voice there is not that much: {spare} kbit/s");
    assert!(
        world.pauses(viewer).last().is_some_and(|(_, is_paused)| *is_paused),
        "{:?}",
        world.pauses(viewer)
    );
    heard.lost + heard.late
}

#[test]
fn at_the_edge_of_a_cell() {
    speech_gets_through("village-2g-edge", true, 0.005);
}

#[test]
fn at_the_edge_of_a_cell_without_a_low_voice() {
    speech_gets_through("village-2g-edge", false, 0.008);
}

#[test]
fn on_a_bad_day() {
    speech_gets_through("village-bad", true, 0.01);
}

#[test]
fn on_a_bad_day_without_a_low_voice() {
    speech_gets_through("village-bad", false, 0.04);
}

/// Who asks something is heard as well as who answers, though not as well as one alone.
#[test]
fn two_who_talk_at_once_are_both_heard() {
    const SEEDS: u64 = 5;
    let mut lost = [0.0; 2];
    for seed in 0..SEEDS {
        let mut world = World::with_seed(seed);
        speaker(&mut world, 71);
        speaker(&mut world, 81);
        let link = Profile::shipped("village-bad").expect("shipped");
        let slots = vec![video_slot("v", 50), audio_slot("a", 60), audio_slot("b", 61)];
        let viewer = world.join(&link, slots, &[]);
        world.show(viewer, "v", 71, 720);
        world.show(viewer, "a", 72, 0);
        world.show(viewer, "b", 82, 0);
        world.run(secs(15.0));
        let from = world.time();
        world.run(secs(60.0));
        let to = world.time() - secs(1.0);
        for (slot, lost) in [60, 61].into_iter().zip(&mut lost) {
            let heard = world.listener(viewer, slot).heard(from, to, PATIENCE);
            println!("{seed} {slot} {heard:?}");
            *lost += (heard.lost + heard.late) / SEEDS as f64;
        }
    }
    println!("{lost:?}");
    assert!(lost.iter().all(|&lost| lost < 0.15), "{lost:?}");
}
