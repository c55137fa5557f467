//! What people ask for, and slots that come, go and move.

use super::*;

#[test]
fn audio_only_sends_no_video_and_tells_nobody_of_a_weak_network() {
    let mut subscriber = Subscriber::new(&[speech(0), speaker(720)]);
    subscriber.run(&link(2_000));
    let mode = Mode::AudioOnly;
    subscriber.run(&Link { mode, ..link(2_000) });
    assert_eq!(subscriber.choice(1), Choice::Paused(PauseCause::Unwanted));
    assert!(subscriber.allocation.pauses_changed.is_empty());
    // No more is looked for than the voice takes.
    assert!(
        subscriber.allocation.desired < kbps(100),
        "{:?}",
        subscriber.allocation.desired
    );
    // Back again it comes at once.
    subscriber.run(&link(2_500));
    assert_eq!(subscriber.layer(1), Some((2, 2)));
}

#[test]
fn save_data_never_takes_nor_looks_for_more_than_its_cap() {
    let mut subscriber = Subscriber::new(&[speech(0), speaker(720), tile(1, 360)]);
    let mode = Mode::SaveData { cap: kbps(300) };
    subscriber.run_for(20.0, &Link { mode, ..link(5_000) });
    assert!(subscriber.allocation.allocated <= kbps(300));
    assert!(subscriber.allocation.desired <= kbps(300));
    assert_eq!(subscriber.layer(1), Some((0, 2)));
}

#[test]
fn what_goes_beside_the_media_is_left_free() {
    let mut subscriber = Subscriber::new(&[speaker(720)]);
    subscriber.run(&Link {
        reserved: kbps(100),
        ..link(700)
    });
    assert_eq!(subscriber.layer(0), Some((1, 1)));
}

#[test]
fn a_slot_that_is_hidden_or_emptied_pauses_without_a_word() {
    let mut subscriber = Subscriber::new(&[tile(0, 180)]);
    subscriber.run(&link(1_000));
    subscriber.video(0).height = 0;
    subscriber.run(&link(1_000));
    assert_eq!(subscriber.choice(0), Choice::Paused(PauseCause::NotShown));
    assert!(subscriber.allocation.pauses_changed.is_empty());
    subscriber.demands[0] = Demand::Empty;
    subscriber.run(&link(1_000));
    assert_eq!(subscriber.choice(0), Choice::Empty);
    assert_eq!(subscriber.allocation.desired, Bitrate(1_000));
}

#[test]
fn a_pause_that_ends_because_the_slot_is_emptied_is_told() {
    let mut subscriber = Subscriber::new(&[tile(0, 180)]);
    subscriber.run(&link(40));
    assert_eq!(subscriber.allocation.pauses_changed, [0]);
    subscriber.run(&link(40));
    assert!(subscriber.allocation.pauses_changed.is_empty());
    subscriber.demands[0] = Demand::Empty;
    subscriber.run(&link(40));
    assert_eq!(subscriber.allocation.pauses_changed, [0]);
}

#[test]
fn slots_keep_what_is_remembered_of_them_when_an_offer_moves_them() {
    let mut subscriber = Subscriber::new(&[tile(0, 180), tile(1, 180)]);
    subscriber.run(&link(130));
    assert_eq!(subscriber.allocation.pauses_changed, [1]);
    subscriber.demands = vec![tile(2, 0), tile(1, 180), tile(0, 180)];
    subscriber.allocator.move_slots(3, |old| Some(2 - old));
    subscriber.run(&link(130));
    assert_eq!(subscriber.layers()[1..], [None, Some((0, 1))]);
    assert!(
        subscriber.allocation.pauses_changed.is_empty(),
        "{:?}",
        subscriber.allocation.pauses_changed
    );
}
