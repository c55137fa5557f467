//! After libwebrtc's `goog_cc/probe_controller_unittest.cc`; tests that a case is taken from are named.

use super::*;

const START: Bitrate = Bitrate::kbps(100);
const MAX: Bitrate = Bitrate::kbps(5_000);

fn ms(ms: i64) -> Micros {
    Micros::millis(ms)
}

fn started(desired: u64) -> ProbeController {
    let mut probes = ProbeController::new(START, MAX);
    probes.set_desired(ms(0), Bitrate::kbps(desired));
    probes
}

/// The first probe came to nothing more and the estimate is this.
fn settled(desired: u64, estimate: u64) -> ProbeController {
    let mut probes = started(desired);
    kbps(&mut probes);
    probes.set_estimate(ms(100), Bitrate::kbps(estimate.min(600)), Limit::None);
    probes.state = State::Done;
    probes.set_estimate(ms(100), Bitrate::kbps(estimate), Limit::None);
    probes
}

fn kbps(probes: &mut ProbeController) -> Option<u64> {
    let at = probes.last_probe.unwrap_or_default();
    probes.poll(at).map(|cluster| cluster.rate.0 / 1_000)
}

/// InitiatesProbingWhenNetworkAvailable, SetsDefaultTargetDurationAndTargetProbeCount,
/// InitialProbingToLowMaxAllocatedbitrate.
#[test]
fn begins_when_something_is_desired_and_not_far_above_it() {
    let mut probes = ProbeController::new(START, MAX);
    probes.handle_timeout(ms(0));
    assert_eq!(kbps(&mut probes), None);
    probes.set_desired(ms(10), Bitrate::kbps(2_000));
    let cluster = probes.poll(ms(10)).unwrap();
    assert_eq!((cluster.rate, cluster.min_packets), (FIRST_PROBE, 5));
    assert_eq!(
        (cluster.min_bytes, cluster.duration),
        (1_687, Duration::from_micros(14_995))
    );
    assert_eq!(kbps(&mut probes), None);
    assert_eq!(kbps(&mut started(120)), Some(240));
}

#[test]
fn slow_clusters_are_long_enough_to_measure_a_packet_by() {
    let cluster = started(50).poll(ms(0)).unwrap();
    assert_eq!(
        (cluster.min_bytes, cluster.duration),
        (1_200, Duration::from_millis(96))
    );
}

/// TestExponentialProbing, ExponentialProbingStopIfMaxAllocatedBitrateLow, TestExponentialProbingOverflow.
#[test]
fn probes_further_while_results_are_near_what_was_probed() {
    for (desired, results, expected) in [
        (5_000, &[620][..], &[None][..]),
        (5_000, &[640, 800, 1_000], &[Some(1_280), None, Some(2_000)]),
        (5_000, &[900, 1_800, 3_500], &[Some(1_800), Some(3_600), Some(5_000)]),
        // Twice what is desired is the end of it.
        (700, &[900, 1_400], &[Some(1_400), None]),
    ] {
        let mut probes = started(desired);
        kbps(&mut probes);
        for (at, (result, expected)) in results.iter().zip(expected).enumerate() {
            probes.set_estimate(ms(100 * at as i64), Bitrate::kbps(*result), Limit::None);
            assert_eq!(kbps(&mut probes), *expected, "{desired} {result}");
        }
    }
}

/// InitialProbingTimeout, RepeatedInitialProbingSendsNewProbeAfterTimeout.
#[test]
fn a_first_probe_without_a_result_is_sent_again_a_few_times() {
    let mut probes = started(2_000);
    let mut sent = Vec::new();
    for tick in 0..100 {
        probes.handle_timeout(ms(100 * tick));
        sent.extend(kbps(&mut probes).map(|_| tick));
    }
    // After that it is one of the regular ones.
    assert_eq!(sent.len(), 5, "{sent:?}");
    assert!(sent[3] <= 40 && sent[4] >= sent[3] + 50, "{sent:?}");
    probes.set_round_trip(ms(600));
    probes.set_estimate(ms(10_000), Bitrate::kbps(2_000), Limit::None);
}

/// A connection that is not up yet asks for none.
#[test]
fn a_cluster_that_nobody_sends_in_time_is_made_anew() {
    let mut probes = started(2_000);
    for tick in 0..100 {
        probes.handle_timeout(ms(100 * tick));
    }
    assert_eq!(probes.poll(ms(10_500)), None);
    let cluster = (105..120).find_map(|tick| {
        probes.handle_timeout(ms(100 * tick));
        probes.poll(ms(100 * tick))
    });
    assert_eq!(cluster.map(|cluster| cluster.rate), Some(FIRST_PROBE));
}

#[test]
fn a_result_is_waited_for_longer_over_a_long_way() {
    for (round_trip, result_at, expected) in [(0, 1_200, None), (600, 1_200, Some(1_600))] {
        let mut probes = settled(5_000, 400);
        probes.set_round_trip(ms(round_trip));
        probes.handle_timeout(ms(5_000));
        assert_eq!(kbps(&mut probes), Some(800));
        for tick in 1..=result_at / 100 {
            probes.handle_timeout(ms(5_000 + 100 * tick));
        }
        probes.set_estimate(ms(5_000 + result_at), Bitrate::kbps(800), Limit::None);
        assert_eq!(kbps(&mut probes), expected, "{round_trip}");
    }
}

/// PeriodicProbing, SkipAlrProbeIfEstimateLargerThanFractionOfMaxAllocated, TestAllocatedBitrateCap.
#[test]
fn probes_regularly_while_more_is_desired() {
    for (desired, estimate, expected) in [
        (1_000, 300, Some(600)),
        (1_000, 1_100, Some(2_000)),
        (1_000, 1_200, None),
        (2_500, 2_600, Some(5_000)),
        (0, 300, None),
    ] {
        let mut probes = settled(1_000, estimate);
        probes.set_desired(ms(200), Bitrate::kbps(desired));
        kbps(&mut probes);
        probes.on_measured();
        probes.state = State::Done;
        for at in [300, 4_900] {
            probes.handle_timeout(ms(at));
            assert_eq!(kbps(&mut probes), None, "{desired} {estimate} {at}");
        }
        probes.handle_timeout(ms(5_200));
        assert_eq!(kbps(&mut probes), expected, "{desired} {estimate}");
    }
}

#[test]
fn a_probe_without_a_result_is_sent_again_soon_but_not_for_ever() {
    let mut probes = settled(1_000, 300);
    probes.on_measured();
    let mut sent = Vec::new();
    for at in (200..16_000).step_by(100) {
        probes.handle_timeout(ms(at));
        if kbps(&mut probes).is_some() {
            sent.push(at);
        }
        probes.state = State::Done;
    }
    assert_eq!(sent, [5_000, 6_500, 8_000, 9_500, 14_500]);
}

/// ProbesOnMaxAllocatedBitrateIncreaseOnlyWhenInAlr (here always), ProbesOnMaxAllocatedBitrateLimitedByCurrentBwe.
#[test]
fn probes_when_more_is_desired_than_before() {
    for (at, desired, expected) in [
        (2_000, 500, Some(500)),
        (2_000, 3_000, Some(800)),
        // Not much more; too soon; not more than the estimate.
        (2_000, 320, None),
        (900, 3_000, None),
        (2_000, 390, None),
    ] {
        let mut probes = settled(300, 400);
        probes.set_desired(ms(at), Bitrate::kbps(desired));
        assert_eq!(kbps(&mut probes), expected, "{at} {desired}");
    }
}

/// RequestProbeInAlr (here always), RequestProbeWhenBweDropNotRecent.
#[test]
fn probes_for_what_a_passing_drop_took() {
    for (drop_to, recovered_at, expected) in [
        (300, 2_000, Some(425)),
        (300, 7_000, None),
        // No large drop.
        (400, 2_000, None),
    ] {
        let mut probes = settled(2_000, 500);
        probes.set_estimate(ms(1_000), Bitrate::kbps(drop_to), Limit::Congestion);
        probes.set_estimate(ms(1_500), Bitrate::kbps(drop_to), Limit::None);
        probes.on_recovered(ms(recovered_at));
        assert_eq!(kbps(&mut probes), expected, "{drop_to} {recovered_at}");
        probes.on_recovered(ms(recovered_at));
        assert_eq!(kbps(&mut probes), None);
    }
}

/// DontProbeIfDelayIncreased, DontProbeIfHighRtt, NotProbeWhenInAlrIfLossBasedDecreases,
/// ProbeInAlrIfLossBasedIncreasing, LimitAlrProbeWhenLossBasedBweLimited.
#[test]
fn what_limits_the_estimate_limits_probes() {
    for (limit, expected) in [
        (Limit::None, Some(800)),
        (Limit::LossIncreasing, Some(600)),
        (Limit::Congestion, None),
    ] {
        let mut probes = settled(2_000, 400);
        probes.set_estimate(ms(200), Bitrate::kbps(400), limit);
        probes.handle_timeout(ms(6_000));
        assert_eq!(kbps(&mut probes), expected, "{limit:?}");
    }
}

#[test]
fn after_an_outage_it_probes_for_what_was_before() {
    let mut probes = settled(2_000, 1_000);
    probes.set_estimate(ms(8_000), Bitrate::kbps(200), Limit::Congestion);
    probes.on_resumed(ms(10_000), Bitrate::kbps(1_000));
    assert_eq!(kbps(&mut probes), Some(850));
    probes.set_estimate(ms(10_100), Bitrate::kbps(800), Limit::None);
    assert_eq!(kbps(&mut probes), Some(1_600));
}

#[test]
fn numbers_begin_again_after_255_and_are_never_zero() {
    let mut probes = settled(2_000, 400);
    let mut last = 0;
    for second in 1..600 {
        probes.state = State::Done;
        probes.handle_timeout(ms(6_000 * second));
        let id = u32::from(probes.poll(ms(6_000 * second)).unwrap().id.0.get());
        assert!(id == last + 1 || (last == 255 && id == 1) || second == 1, "{last} {id}");
        last = id;
    }
}
