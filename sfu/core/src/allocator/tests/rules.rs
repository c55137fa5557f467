//! Who gets what, and when that changes.

use super::*;

#[test]
fn voice_comes_before_video_and_a_slow_picture_before_none() {
    // One voice takes 22 kbit/s in its low layer, 61 in full; the base of the smallest picture 60.
    for (kbit, expected) in [
        (50, None),
        (80, None),
        (120, Some((0, 0))),
        (160, Some((0, 1))),
        (200, Some((0, 1))),
        (384, Some((0, 2))),
        (1_000, Some((1, 2))),
        (3_000, Some((2, 2))),
    ] {
        let mut subscriber = Subscriber::new(&[speech(0), speaker(720)]);
        subscriber.run_for(5.0, &link(kbit));
        assert_eq!(subscriber.layer(1), expected, "{kbit}");
        assert!(matches!(subscriber.choice(0), Choice::Audio(_)), "{kbit}");
    }
}

#[test]
fn losses_leave_room_for_what_is_sent_again() {
    let lossy = Link { loss: 0.2, ..link(700) };
    let (mut clean, mut repaired) = (Subscriber::new(&[speaker(720)]), Subscriber::new(&[speaker(720)]));
    clean.run(&link(700));
    repaired.run(&lossy);
    assert_eq!(clean.layer(0), Some((1, 2)));
    assert_eq!(repaired.layer(0), Some((1, 1)));
    // Losses that begin take from what is sent already.
    clean.run(&Link { loss: 0.3, ..link(700) });
    assert_eq!(clean.layer(0), Some((1, 1)));
}

#[test]
fn what_is_granted_fits_the_estimate_in_all_rooms() {
    let mut numbers = Numbers(7);
    for round in 0..300 {
        let mut demands = vec![speech(0), shared_screen(720), speaker(720)];
        demands.extend((0..numbers.below(20) as u16).map(|order| tile(order, 180)));
        let mut subscriber = Subscriber::new(&demands);
        for _ in 0..30 {
            let link = link(40 + numbers.below(6_000));
            subscriber.run(&link);
            let allocated = subscriber.allocation.allocated;
            assert!(
                allocated <= link.estimate,
                "{round}: {allocated:?} of {:?}",
                link.estimate
            );
        }
    }
}

#[test]
fn with_the_estimate_that_is_desired_everybody_gets_what_they_ask_for() {
    let mut numbers = Numbers(3);
    for round in 0..200 {
        let mut demands = vec![speech(0), speech(1)];
        demands.extend((0..1 + numbers.below(9) as u16).map(|order| tile(order, [90, 180, 360, 720][round % 4])));
        if round % 3 == 0 {
            demands.push(shared_screen(1_080));
        }
        let mut subscriber = Subscriber::new(&demands);
        let mut link = Link {
            loss: numbers.below(20) as f32 / 100.0,
            ..link(60 + numbers.below(500))
        };
        subscriber.run(&link);
        // Demands do not change, so neither does what is desired.
        link.estimate = subscriber.allocation.desired;
        subscriber.run_for(70.0, &link);
        let short = subscriber
            .allocation
            .slots
            .iter()
            .filter(|slot| slot.shortage != Shortage::None)
            .count();
        assert_eq!(short, 0, "{round}: {:?}", subscriber.allocation);
        let full =
            |slot: usize| matches!(subscriber.choice(slot), Choice::Audio(voice) if voice.layer == VoiceLayer::Full);
        assert!(full(0) && full(1), "{round}");
    }
}

#[test]
fn a_drop_is_answered_at_once_and_a_recovery_within_seconds() {
    let mut subscriber = Subscriber::new(&[speech(0), speaker(360), tile(1, 180)]);
    subscriber.run(&link(1_000));
    assert_eq!(subscriber.layers()[1..], [Some((1, 2)), Some((0, 2))]);
    subscriber.run(&link(250));
    assert_eq!(subscriber.layers()[1..], [Some((0, 2)), Some((0, 0))]);
    subscriber.run(&link(220));
    assert_eq!(subscriber.layers()[1..], [Some((0, 2)), None]);
    assert_eq!(subscriber.allocation.pauses_changed, [2]);
    assert_eq!(subscriber.run_for(20.0, &link(220)), 0);
    subscriber.run_for(0.9, &link(1_000));
    assert_eq!(subscriber.layer(1), Some((0, 2)));
    subscriber.run_for(0.2, &link(1_000));
    assert_eq!(subscriber.layers()[1..], [Some((1, 2)), Some((0, 2))]);
    assert!(subscriber.allocation.pauses_changed.contains(&2));
    subscriber.run(&link(1_000));
    assert!(subscriber.allocation.pauses_changed.is_empty());
}

#[test]
fn who_enlarges_a_tile_or_begins_to_speak_waits_for_nothing() {
    let mut subscriber = Subscriber::new(&[tile(0, 180), tile(1, 180)]);
    subscriber.run_for(3.0, &link(2_500));
    assert_eq!(subscriber.layers(), [Some((0, 2)), Some((0, 2))]);
    subscriber.video(1).height = 720;
    subscriber.run(&link(2_500));
    assert_eq!(subscriber.layers(), [Some((0, 2)), Some((2, 2))]);
    // On a link that has no more to give, the new speaker's picture grows at the cost of the others.
    let mut subscriber = Subscriber::new(&[tile(0, 720), tile(1, 720)]);
    subscriber.run_for(3.0, &link(780));
    assert_eq!(subscriber.layers(), [Some((1, 1)), Some((1, 1))]);
    subscriber.video(1).is_active_speaker = true;
    subscriber.run(&link(780));
    assert_eq!(subscriber.layers(), [Some((0, 2)), Some((1, 2))]);
}

#[test]
fn a_layer_that_its_publisher_stops_is_left_and_taken_again() {
    let mut subscriber = Subscriber::new(&[tile(0, 720)]);
    subscriber.run(&link(5_000));
    subscriber.video(0).layers[2].state = LayerState::Absent;
    subscriber.run(&link(5_000));
    assert_eq!(subscriber.layer(0), Some((1, 2)));
    assert_eq!(subscriber.allocation.slots[0].shortage, Shortage::None);
    subscriber.video(0).layers[2].state = LayerState::Active;
    subscriber.run_for(1.2, &link(5_000));
    assert_eq!(subscriber.layer(0), Some((2, 2)));
    for layer in &mut subscriber.video(0).layers {
        layer.state = LayerState::Absent;
    }
    subscriber.run(&link(5_000));
    assert_eq!(subscriber.choice(0), Choice::Paused(PauseCause::NotShown));
    assert!(subscriber.allocation.pauses_changed.is_empty());
}

#[test]
fn a_layer_that_must_be_asked_for_is_wished_while_the_one_below_is_sent() {
    let mut subscriber = Subscriber::new(&[tile(0, 720)]);
    subscriber.video(0).layers[2].state = LayerState::OnRequest;
    subscriber.run(&link(5_000));
    assert_eq!(subscriber.layer(0), Some((1, 2)));
    let top = Layer {
        spatial: 2,
        temporal: 2,
    };
    assert_eq!(subscriber.allocation.slots[0].wish, Wish::Video(top));
    subscriber.video(0).layers[2].state = LayerState::Active;
    subscriber.run(&link(5_000));
    assert_eq!(subscriber.layer(0), Some((2, 2)));
    // Where nothing lower is sent either, it is waited for: a weak link never takes what does not fit.
    let mut subscriber = Subscriber::new(&[tile(0, 720)]);
    subscriber.video(0).layers[0].state = LayerState::OnRequest;
    subscriber.video(0).layers[1].state = LayerState::OnRequest;
    subscriber.run(&link(200));
    assert_eq!(subscriber.layer(0), Some((0, 2)));
}

#[test]
fn who_cannot_afford_a_screen_is_named_so_that_a_still_can_be_sent() {
    for (kbit, expected) in [
        (50, Shortage::Nothing),
        (100, Shortage::Unreadable),
        (300, Shortage::Reduced),
        (3_000, Shortage::None),
    ] {
        let mut subscriber = Subscriber::new(&[shared_screen(720)]);
        subscriber.run(&link(kbit));
        assert_eq!(subscriber.allocation.slots[0].shortage, expected, "{kbit}");
    }
}

#[test]
fn nothing_is_allocated_once_the_buffers_have_their_size() {
    let mut demands: Vec<Demand> = (0..4).map(speech).collect();
    demands.extend([shared_screen(720), speaker(720)]);
    demands.extend((0..23).map(|order| tile(order, 180)));
    let mut subscriber = Subscriber::new(&demands);
    let mut numbers = Numbers(11);
    subscriber.run(&link(40));
    subscriber.run(&link(9_000));
    let info = allocation_counter::measure(|| {
        for _ in 0..200 {
            subscriber.run(&link(40 + numbers.below(9_000)));
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn what_piles_up_goes_on_smaller_and_a_voice_that_loses_is_repeated() {
    let mut subscriber = Subscriber::new(&[Demand::Video(camera(720))]);
    subscriber.run_for(5.0, &link(3_000));
    assert_eq!(subscriber.layer(0), Some((2, 2)));
    // No pause of what the estimate carries.
    for next in [(1, 2), (0, 2), (0, 0), (0, 0)] {
        subscriber.allocator.on_congestion(subscriber.now, 0);
        subscriber.run(&link(3_000));
        assert_eq!(subscriber.layer(0), Some(next));
    }
    subscriber.run_for(70.0, &link(3_000));
    assert_eq!(subscriber.layer(0), Some((2, 2)));
    let lossy = Link {
        lossless: kbps(80),
        loss: 0.2,
        ..link(25)
    };
    let mut subscriber = Subscriber::new(&[Demand::Audio(voice_with_low(0)), Demand::Video(camera(720))]);
    subscriber.run(&lossy);
    let Choice::Audio(voice) = subscriber.choice(0) else {
        panic!("{:?}", subscriber.choice(0))
    };
    assert_eq!(voice.redundancy, 2);
    assert_eq!(subscriber.layer(1), None);
}

#[test]
fn a_screen_that_stands_still_is_not_begun_where_its_next_slide_would_be_long_in_coming() {
    for (kbit, is_sent) in [(100, false), (250, false), (400, true)] {
        let mut subscriber = Subscriber::new(&[speech(0), shared_screen(1_080)]);
        let none = VideoLayer::default();
        subscriber.video(1).layers = [layer(1_080, 1, [3, 3, 3]), none, none];
        subscriber.run_for(60.0, &link(kbit));
        assert_eq!(subscriber.layer(1).is_some(), is_sent, "{kbit}");
    }
}
