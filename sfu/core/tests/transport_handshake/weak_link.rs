//! How long a handshake takes over the village link: 300 ms of round trip, and every fifth or third packet lost.

use std::time::Duration;

use crate::client::Version;
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
        client_rto: 2 * ROUND_TRIP,
        first_checks: Duration::from_millis(100),
        ..Setup::default()
    }
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
    println!("version  loss  mtu   median    p95");
    for version in [Version::Dtls12, Version::Dtls13] {
        for loss in [0, 20, 30] {
            for mtu in [1200, 250] {
                let (median, p95) = distribution(|seed| setup(version, loss, mtu, seed), 200);
                println!("{version:?}  {loss:3} %  {mtu:4}  {median:7.2?}  {p95:7.2?}");
            }
        }
    }
}

/// A client that repeats nothing by itself gets each flight a second after it can hear again.
#[test]
fn what_the_client_did_not_hear_is_said_again_every_second() {
    for version in [Version::Dtls12, Version::Dtls13] {
        let mut pair = Pair::new(Setup {
            client_rto: Duration::from_secs(3600),
            ..setup(version, 0, 1200, 1)
        });
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
    let mut pair = Pair::new(Setup {
        client_rto: Duration::from_secs(3600),
        ..setup(Version::Dtls12, 0, 1200, 1)
    });
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
