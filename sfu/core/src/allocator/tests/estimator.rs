//! The allocator in a loop with an estimator: what each does changes what the other sees.

use super::*;

/// A link and an estimator that believes only what was sent, as GCC does: the estimate grows up to half as much
/// again as goes over the link, and falls below what the link carries when more is sent.
struct SimulatedLink {
    capacity: Bitrate,
    estimate: Bitrate,
    /// It looks for what is desired by probing, every second.
    probes: bool,
    steps: u32,
}

impl SimulatedLink {
    fn new(capacity: u64, estimate: u64, probes: bool) -> Self {
        Self {
            capacity: kbps(capacity),
            estimate: kbps(estimate),
            probes,
            steps: 0,
        }
    }

    /// 100 ms in which `sent` went out.
    fn step(&mut self, sent: Bitrate, desired: Bitrate) -> Link {
        self.steps += 1;
        if sent > self.capacity {
            // libwebrtc's AIMD falls to 85 % of what arrives.
            self.estimate = times(self.capacity, 0.85);
        } else {
            let believed = plus(times(sent, 1.5), kbps(10));
            // 8 % a second, as far as is believed; what is believed no longer is not given up.
            let grown = times(self.estimate, 1.008).min(believed.max(self.estimate));
            self.estimate = grown.min(self.capacity);
            if self.probes && self.steps.is_multiple_of(10) {
                self.estimate = self.estimate.max(desired.min(times(self.capacity, 0.95)));
            }
        }
        Link {
            estimate: self.estimate,
            undrained: self.estimate,
            lossless: self.estimate,
            is_probed: self.probes,
            ..link(0)
        }
    }
}

/// What video slots send now, by their demands' smoothed rates.
fn sent(subscriber: &Subscriber) -> Bitrate {
    subscriber.allocation.allocated
}

fn set_rates(demand: &mut VideoDemand, smoothed: [u64; 3], peak: [u64; 3]) {
    for (rate, (smoothed, peak)) in demand.layers[0].rates.iter_mut().zip(smoothed.into_iter().zip(peak)) {
        *rate = MeasuredRate {
            smoothed: kbps(smoothed),
            peak: kbps(peak),
        };
    }
}

/// A screen of one layer that stands still for most of the time: 5, 8 and 20 kbit/s, and 900 for a second
/// when the slide changes.
fn slides() -> Demand {
    let mut demand = VideoDemand {
        track: TrackId(60),
        ..screen(1_080)
    };
    demand.layers = [layer(1_080, 3, [0; 3]), VideoLayer::default(), VideoLayer::default()];
    set_rates(&mut demand, [5, 8, 20], [360, 540, 900]);
    Demand::Video(demand)
}

/// One slide every `period` seconds; peaks are remembered for 30 s.
fn show_slides(demand: &mut VideoDemand, step: usize, period: usize) {
    let within = step % (period * 10);
    let smoothed = if within < 10 { [360, 540, 900] } else { [5, 8, 20] };
    let peak = if within < 310 { [360, 540, 900] } else { [5, 8, 20] };
    set_rates(demand, smoothed, peak);
}

#[test]
fn a_still_screen_does_not_hold_the_estimate_low_for_ever() {
    // str0m#1018: little is sent, so the estimate does not grow; the peaks do not fit it, so little is sent.
    // Does the estimator look for what is desired, for how many seconds, and what do screen and camera get then?
    for (probes, seconds, expected) in [
        (true, 4, [Some((0, 2)), Some((1, 2))]),
        (true, 60, [Some((0, 2)), Some((1, 2))]),
        (false, 60, [Some((0, 0)), Some((0, 1))]),
    ] {
        let mut subscriber = Subscriber::new(&[slides(), tile(1, 360)]);
        let mut link = SimulatedLink::new(2_000, 150, probes);
        for _ in 0..seconds * 10 {
            let next = link.step(sent(&subscriber), subscriber.allocation.desired);
            subscriber.run(&next);
        }
        assert_eq!(subscriber.layers(), expected, "probes: {probes}, {seconds} s");
    }
}

#[test]
fn a_picture_that_stands_still_is_not_kept_so_by_the_peaks_of_another_for_ever() {
    let mut subscriber = Subscriber::new(&[slides(), tile(1, 180)]);
    let unprobed = |kbit| Link {
        is_probed: false,
        ..link(kbit)
    };
    subscriber.run(&unprobed(60));
    assert_eq!(subscriber.layer(1), None);
    subscriber.run_for(3.0, &unprobed(200));
    assert_eq!(subscriber.layer(1), None);
    subscriber.run_for(3.0, &unprobed(200));
    assert!(subscriber.layer(1).is_some());
}

#[test]
fn slides_do_not_make_the_other_pictures_come_and_go() {
    // The link carries the slide's change and small pictures: the larger one must not fill every calm between.
    // Only where a slide stands for longer than peaks are remembered it may, once for each.
    for (period, most) in [(15, 0), (45, 40)] {
        let mut subscriber = Subscriber::new(&[slides(), tile(1, 360), tile(2, 180)]);
        let mut link = SimulatedLink::new(1_400, 1_400, true);
        subscriber.run(&link.step(Bitrate(0), Bitrate(0)));
        let mut changes = 0;
        for step in 0..6_000 {
            show_slides(subscriber.video(0), step, period);
            let next = link.step(sent(&subscriber), subscriber.allocation.desired);
            changes += subscriber.run_for(0.1, &next);
        }
        assert!(
            changes <= most,
            "a slide every {period} s: {changes} changes in ten minutes"
        );
    }
}

#[test]
fn an_estimate_that_swings_does_not_make_the_layers_swing() {
    // mediasoup#1462. Periods from shorter than the hold time to longer than a failure is remembered.
    for (period, most) in [(0.4, 2), (2.0, 2), (4.0, 16), (8.0, 16), (16.0, 16)] {
        let mut subscriber = Subscriber::new(&[speech(0), speaker(720)]);
        let mut changes = 0;
        let half = (period * 5.0) as usize;
        for step in 0..3_000 {
            let kbit = if (step / half).is_multiple_of(2) { 900 } else { 450 };
            changes += subscriber.run_for(0.1, &link(kbit));
        }
        assert!(changes <= most, "period {period} s: {changes} changes in five minutes");
    }
}

#[test]
fn an_estimate_that_trembles_changes_nothing() {
    let mut numbers = Numbers(5);
    let mut subscriber = Subscriber::new(&[speech(0), speaker(720), tile(1, 180), tile(2, 180)]);
    subscriber.run_for(30.0, &link(1_200));
    let mut changes = 0;
    for _ in 0..3_000 {
        changes += subscriber.run_for(0.1, &link(1_170 + numbers.below(60)));
    }
    assert!(changes <= 2, "{changes}");
}

#[test]
fn an_upgrade_that_the_link_does_not_carry_is_tried_less_and_less() {
    // The estimate says 700 as long as little is sent; the link carries 500.
    let mut subscriber = Subscriber::new(&[speaker(360)]);
    let mut tries = 0;
    let mut overloaded = 0;
    subscriber.run(&link(400));
    for _ in 0..6_000 {
        let before = subscriber.layer(0);
        let kbit = if overloaded > 0 { 400 } else { 700 };
        overloaded = if before == Some((1, 2)) {
            10
        } else {
            overloaded - i32::from(overloaded > 0)
        };
        subscriber.run(&link(kbit));
        tries += usize::from(before != Some((1, 2)) && subscriber.layer(0) == Some((1, 2)));
    }
    // In ten minutes; without back-off it would be some 250.
    assert!((5..=14).contains(&tries), "{tries} tries");
}

#[test]
fn an_estimate_learnt_from_voice_alone_grows_to_carry_pictures() {
    // str0m#506: what is desired says how much more is wanted than the voice takes.
    let mut subscriber = Subscriber::new(&[speech(0), speaker(720)]);
    let mut link = SimulatedLink::new(4_000, 40, true);
    for _ in 0..50 {
        let next = link.step(sent(&subscriber), subscriber.allocation.desired);
        subscriber.run(&next);
    }
    assert_eq!(subscriber.layer(1), Some((2, 2)));
}

#[test]
fn an_outage_pauses_all_and_everything_is_back_two_seconds_after_it() {
    let mut subscriber = Subscriber::new(&[speech(0), speaker(720), tile(1, 180)]);
    subscriber.run_for(60.0, &link(3_000));
    let before = subscriber.layers();
    subscriber.run_for(10.0, &link(10));
    assert_eq!(subscriber.layers(), [None, None, None]);
    subscriber.run_for(2.0, &link(3_000));
    assert_eq!(subscriber.layers(), before);
}

#[test]
fn a_key_frame_changes_nothing_and_a_picture_that_stays_too_large_does() {
    let mut subscriber = Subscriber::new(&[speech(0), speaker(360)]);
    subscriber.run_for(5.0, &link(900));
    assert_eq!(subscriber.layer(1), Some((1, 2)));
    let set = |subscriber: &mut Subscriber, kbit| {
        subscriber.video(1).layers[1] = layer(360, 3, [kbit / 2, kbit * 2 / 3, kbit])
    };
    set(&mut subscriber, 1_500);
    assert_eq!(subscriber.run_for(1.5, &link(900)), 0);
    set(&mut subscriber, 500);
    assert_eq!(subscriber.run_for(5.0, &link(900)), 0);
    set(&mut subscriber, 1_500);
    subscriber.run_for(2.2, &link(900));
    assert_eq!(subscriber.layer(1), Some((0, 2)));
    // Where the estimate falls meanwhile nothing is waited for.
    let mut subscriber = Subscriber::new(&[speech(0), speaker(360)]);
    subscriber.run_for(5.0, &link(900));
    set(&mut subscriber, 1_500);
    subscriber.run(&link(800));
    assert_eq!(subscriber.layer(1), Some((0, 2)));
}

#[test]
fn key_frames_that_others_ask_for_do_not_keep_a_camera_small() {
    let mut subscriber = Subscriber::new(&[speech(0), speaker(360)]);
    for rate in &mut subscriber.video(1).layers[1].rates {
        rate.peak = times(rate.smoothed, 3.0);
    }
    subscriber.run(&link(300));
    assert_eq!(subscriber.layer(1), Some((0, 2)));
    subscriber.run_for(1.2, &link(1_000));
    assert_eq!(subscriber.layer(1), Some((1, 2)));
}

#[test]
fn while_one_waits_after_a_failure_others_may_grow() {
    let mut subscriber = Subscriber::new(&[speaker(360), tile(1, 180)]);
    subscriber.run_for(16.0, &link(400));
    subscriber.run_for(1.2, &link(670));
    assert_eq!(subscriber.layers(), [Some((1, 2)), Some((0, 2))]);
    subscriber.run(&link(230));
    assert_eq!(subscriber.layers(), [Some((0, 2)), Some((0, 0))]);
    // The speaker failed and holds back, for which the tile need not wait.
    subscriber.run_for(1.2, &link(670));
    assert_eq!(subscriber.layers(), [Some((0, 2)), Some((0, 2))]);
    subscriber.run_for(5.0, &link(670));
    assert_eq!(subscriber.layers(), [Some((1, 2)), Some((0, 2))]);
}
