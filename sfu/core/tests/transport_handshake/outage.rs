//! Links that are gone for a while, and clients that are elsewhere when they come back.

use std::time::Duration;

use tianqiao_sfu_core::transport::TransportEvent;

use crate::link::{Pair, Setup};

const ROUND_TRIP: Duration = Duration::from_millis(300);
/// A client's checks are no further apart.
const CHECKS: Duration = Duration::from_secs(1);

fn connected() -> Pair {
    let mut pair = Pair::new(Setup {
        delay: ROUND_TRIP / 2,
        ..Setup::default()
    });
    pair.run(Duration::from_secs(5));
    assert!(pair.transport.is_connected());
    pair.set_loss(100);
    pair
}

#[test]
fn media_goes_on_through_ten_seconds_without_a_link() {
    let mut pair = connected();
    for _ in 0..10 {
        pair.run(Duration::from_secs(1));
        assert_eq!(
            pair.transport.media_path(),
            Some(pair.client_path()),
            "it is there when the link returns"
        );
    }
    pair.set_loss(0);
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.events.len(), 2, "{:?}", pair.events);
    pair.check_media_both_ways();
}

#[test]
fn after_ten_seconds_a_client_with_another_address_is_followed_within_two_round_trips() {
    let mut pair = connected();
    pair.run(Duration::from_secs(9));
    pair.client.port += 1;
    pair.run(Duration::from_secs(1));
    pair.set_loss(0);
    pair.run(CHECKS + 2 * ROUND_TRIP);
    assert_eq!(pair.transport.media_path(), Some(pair.client_path()));
    pair.check_media_both_ways();
}

/// Consent ends meanwhile (RFC 7675), and the session does not.
#[test]
fn thirty_seconds_are_survived_at_the_old_address_or_at_another() {
    for moves in [false, true] {
        let mut pair = connected();
        pair.run(Duration::from_secs(30));
        pair.client.port += u16::from(moves);
        pair.set_loss(0);
        pair.run(CHECKS + 2 * ROUND_TRIP);
        assert_eq!(pair.transport.media_path(), Some(pair.client_path()), "{moves}");
        let failed = |event: &TransportEvent| matches!(event, TransportEvent::Failed(_));
        assert!(!pair.events.iter().any(failed), "{:?}", pair.events);
        pair.check_media_both_ways();
    }
}

/// The client's own agent has given up, and asks for a restart once its signaling is back.
#[test]
fn an_ice_restart_after_thirty_seconds_brings_media_back() {
    let mut pair = connected();
    pair.run(Duration::from_secs(30));
    pair.client.silent = true;
    pair.set_loss(0);
    pair.run(Duration::from_secs(5));
    pair.restart_ice();
    pair.client.use_restarted_credentials();
    pair.client.silent = false;
    pair.client.port += 1;
    pair.run(CHECKS + 2 * ROUND_TRIP);
    assert_eq!(pair.transport.media_path(), Some(pair.client_path()));
    pair.check_media_both_ways();
}

/// What was sent to the address that it has left is lost, though consent there has not ended.
#[test]
fn a_client_that_restarts_ice_elsewhere_has_missed_something_and_one_that_stays_has_not() {
    for moves in [true, false] {
        let mut pair = connected();
        pair.run(Duration::from_secs(1));
        pair.restart_ice();
        pair.client.use_restarted_credentials();
        pair.client.port += u16::from(moves);
        pair.set_loss(0);
        pair.run(CHECKS + 2 * ROUND_TRIP);
        assert_eq!(pair.transport.media_path(), Some(pair.client_path()));
        let resumed = pair.events.iter().filter(|event| **event == TransportEvent::Resumed);
        assert_eq!(resumed.count(), usize::from(moves), "{:?}", pair.events);
        pair.check_media_both_ways();
    }
}
