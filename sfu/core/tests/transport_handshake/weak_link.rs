//! How long a handshake takes over the village link: 300 ms of round trip, and every fifth or third packet lost.

use std::time::Duration;

use tianqiao_sfu_core::path::Path;

use crate::client::{Habits, Version};
use crate::link::{Pair, Setup};

const ROUND_TRIP: Duration = Duration::from_millis(300);
/// What did not connect by then counts as so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that does as Chromium: checks often until it is answered, and first repeats a flight after two round trips.
fn setup(version: Version, loss_percent: u32, mtu: usize, seed: u64) -> Setup {
    Setup {
        version,
        loss_percent,
        mtu,
        seed,
        delay: ROUND_TRIP / 2,
        habits: Habits {
            rto: 2 * ROUND_TRIP,
            first_checks: Duration::from_millis(100),
            sped: false,
        },
        ..Setup::default()
    }
}

fn with_sped(setup: Setup) -> Setup {
    let habits = Habits {
        sped: true,
        ..setup.habits
    };
    // libwebrtc's then, whatever it is else.
    Setup {
        habits,
        mtu: 900,
        ..setup
    }
}

/// A client that repeats nothing by itself.
fn patient(version: Version) -> Setup {
    let setup = setup(version, 0, 1200, 1);
    let habits = Habits {
        rto: Duration::from_secs(3600),
        ..setup.habits
    };
    Setup { habits, ..setup }
}

/// From the first packet until both sides have keys.
fn time(setup: Setup) -> Duration {
    let mut pair = Pair::new(setup);
    let start = pair.now;
    while pair.now - start < PATIENCE && !(pair.transport.is_connected() && pair.client.keys().is_some()) {
        pair.run(Duration::from_millis(10));
    }
    pair.now - start
}

/// Median and 95th percentile.
fn distribution(setup_of: impl Fn(u64) -> Setup, seeds: u64) -> (Duration, Duration) {
    let mut times: Vec<_> = (0..seeds).map(|seed| time(setup_of(seed))).collect();
    times.sort();
    (times[times.len() / 2], times[times.len() * 95 / 100])
}

/// `cargo test -p tianqiao-sfu-core --test transport_handshake -- --ignored --nocapture handshake_times`
#[test]
#[ignore = "prints a table and takes a while"]
fn handshake_times() {
    println!("version  loss  mtu   median    p95    | inside STUN: median    p95");
    for version in [Version::Dtls12, Version::Dtls13] {
        for loss in [0, 20, 30] {
            for mtu in [1200, 250] {
                let show = |(median, p95): (Duration, Duration)| format!("{median:7.2?}  {p95:7.2?}");
                let plain = show(distribution(|seed| setup(version, loss, mtu, seed), 200));
                let inside = show(distribution(|seed| with_sped(setup(version, loss, mtu, seed)), 200));
                println!("{version:?}  {loss:3} %  {mtu:4}  {plain} | {inside}");
            }
        }
    }
}

/// A client that repeats nothing by itself gets each flight a second after it can hear again.
#[test]
fn what_the_client_did_not_hear_is_said_again_every_second() {
    for version in [Version::Dtls12, Version::Dtls13] {
        let mut pair = Pair::new(patient(version));
        pair.deaf = true;
        pair.run(Duration::from_millis(3_700));
        pair.deaf = false;
        pair.run(Duration::from_millis(1_700));
        assert!(pair.transport.is_connected(), "{version:?}");
        if matches!(version, Version::Dtls12) {
            // Its Finished was the answer to the flight that just came.
            assert!(pair.client.keys().is_some());
        }
    }
}

#[test]
fn the_last_flight_is_said_again_until_media_comes() {
    let mut pair = Pair::new(patient(Version::Dtls12));
    // The server has the client's last flight after 750 ms.
    pair.run(Duration::from_millis(650));
    pair.deaf = true;
    pair.run(Duration::from_millis(3_000));
    assert!(pair.transport.is_connected() && pair.client.keys().is_none());
    pair.deaf = false;
    pair.run(Duration::from_millis(1_200));
    assert!(pair.client.keys().is_some());
    pair.check_media_both_ways();
    let sent = pair.dtls_sent;
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.dtls_sent, sent, "no more of it");
}

/// The first check brings the hello. A check every 100 ms adds what is no round trip.
#[test]
fn dtls_inside_stun_saves_round_trips() {
    for (version, plain, inside) in [(Version::Dtls12, 900, 700), (Version::Dtls13, 750, 450)] {
        let setup = setup(version, 0, 1200, 1);
        assert_eq!(time(setup).as_millis(), plain, "{version:?}");
        assert_eq!(time(with_sped(setup)).as_millis(), inside, "{version:?}");
    }
}

#[test]
fn what_rides_on_checks_survives_loss_and_carries_media() {
    for seed in 0..30 {
        let version = [Version::Dtls12, Version::Dtls13, Version::Auto][seed as usize % 3];
        let mut pair = Pair::new(with_sped(setup(version, 30, 1200, seed)));
        pair.run(Duration::from_secs(10));
        assert!(pair.transport.is_connected(), "{seed}");
        assert!(pair.client.sped.as_ref().is_some_and(|sped| sped.carried > 0), "{seed}");
        pair.check_media_both_ways();
    }
}

/// Checks with hellos inside, from an address that is not the client's.
#[test]
fn what_rides_on_answers_to_a_forged_address_is_not_amplified() {
    for version in [Version::Dtls12, Version::Dtls13] {
        let mut pair = Pair::new(with_sped(setup(version, 0, 1200, 1)));
        let victim = Path::udp(([192, 0, 2, 99], 53).into());
        let mut received = 0;
        for _ in 0..50 {
            pair.client.handle_timeout(pair.now);
            for check in pair.client.take_output() {
                received += check.len();
                let _ = pair.transport.handle_stun(pair.now, victim, &check);
            }
            pair.exchange();
            pair.now += Duration::from_millis(100);
            pair.transport.handle_timeout(pair.now);
            pair.exchange();
            let sent: usize = pair.strayed.iter().map(|(_, data)| data.len()).sum();
            assert!(sent <= 3 * received, "{sent} of {received}");
        }
        assert!(!pair.strayed.is_empty() && pair.transport.media_path().is_none());
    }
}
