//! Two peers in virtual time: our transport, and a client made of STUN checks and a DTLS library.

mod client;
mod link;
mod outage;
mod weak_link;

use std::time::Duration;

use dimpl::SrtpProfile;
use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::transport::{TransportEvent, ice_lite};
use tianqiao_sfu_core::worker_api::CloseReason;

use crate::client::Version;
use crate::link::{Pair, Setup};

#[test]
fn every_version_ends_on_aes_128_gcm_and_carries_media() {
    for version in [Version::Dtls12, Version::Dtls13, Version::Auto] {
        let mut pair = Pair::new(Setup {
            version,
            ..Setup::default()
        });
        pair.run(Duration::from_secs(2));
        let path = pair.client_path();
        assert_eq!(
            pair.events,
            [TransportEvent::PathChanged(path), TransportEvent::Connected],
            "{version:?}"
        );
        assert_eq!(
            pair.client.profile(),
            Some(SrtpProfile::AEAD_AES_128_GCM),
            "{version:?}"
        );
        pair.check_media_both_ways();
    }
}

#[test]
fn a_client_hello_in_fragments_is_understood() {
    for version in [Version::Dtls12, Version::Dtls13, Version::Auto] {
        let mut pair = Pair::new(Setup {
            version,
            mtu: 150,
            ..Setup::default()
        });
        pair.run(Duration::from_secs(5));
        assert!(pair.transport.is_connected(), "{version:?}");
        assert_eq!(
            pair.client.profile(),
            Some(SrtpProfile::AEAD_AES_128_GCM),
            "{version:?}"
        );
        pair.check_media_both_ways();
    }
}

/// Keys and signatures differ in each run, so which packets are lost does too, and once in a while a flight is
/// lost so often that its turn does not come again in time: most must connect, not all.
#[test]
fn a_third_of_the_packets_lost_still_connects() {
    let mut connected = 0;
    for seed in 0..20 {
        let version = [Version::Dtls12, Version::Dtls13, Version::Auto][seed as usize % 3];
        let mut pair = Pair::new(Setup {
            version,
            loss_percent: 30,
            mtu: if seed % 2 == 0 { 1150 } else { 250 },
            seed,
            ..Setup::default()
        });
        pair.run(Duration::from_secs(25));
        if pair.transport.is_connected() && pair.client.keys().is_some() {
            pair.check_media_both_ways();
            connected += 1;
        }
    }
    assert!(connected >= 16, "{connected} of 20");
}

#[test]
fn a_round_trip_of_a_second_connects() {
    let mut pair = Pair::new(Setup {
        delay: Duration::from_millis(500),
        ..Setup::default()
    });
    pair.run(Duration::from_secs(10));
    assert!(pair.transport.is_connected());
    pair.check_media_both_ways();
}

#[test]
fn a_certificate_that_is_not_in_the_sdp_fails() {
    for version in [Version::Dtls12, Version::Dtls13] {
        let mut pair = Pair::new(Setup {
            version,
            wrong_fingerprint: true,
            ..Setup::default()
        });
        pair.run(Duration::from_secs(2));
        assert_eq!(
            pair.events.last(),
            Some(&TransportEvent::Failed(CloseReason::DtlsFailed)),
            "{version:?}"
        );
        assert!(!pair.transport.is_connected());
        assert_eq!(
            pair.transport.unprotect_rtp(&mut [0x80; 60]),
            Err(DropReason::SrtpNoKeys)
        );
        assert_eq!(pair.transport.poll_timeout(), None);
    }
}

#[test]
fn a_client_without_a_handshake_is_given_up() {
    let mut pair = Pair::new(Setup {
        dtls: false,
        ..Setup::default()
    });
    pair.run(Duration::from_secs(35));
    assert_eq!(
        pair.events.last(),
        Some(&TransportEvent::Failed(CloseReason::DtlsFailed))
    );
}

#[test]
fn consent_expires_when_checks_stop() {
    let mut pair = Pair::new(Setup::default());
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.events.len(), 2, "consent is kept: {:?}", pair.events);
    pair.client.silent = true;
    pair.run(ice_lite::CONSENT_TIMEOUT - Duration::from_secs(3));
    assert_eq!(pair.events.len(), 2);
    pair.run(Duration::from_secs(4));
    assert_eq!(
        pair.events.last(),
        Some(&TransportEvent::Failed(CloseReason::IceTimeout))
    );
}

#[test]
fn a_client_that_never_comes_is_given_up() {
    let mut pair = Pair::new(Setup::default());
    pair.client.silent = true;
    pair.run(ice_lite::FIRST_CHECK_TIMEOUT + Duration::from_secs(1));
    assert_eq!(pair.events, [TransportEvent::Failed(CloseReason::IceTimeout)]);
}

#[test]
fn close_notify_goes_both_ways() {
    for version in [Version::Dtls12, Version::Dtls13] {
        let setup = Setup {
            version,
            ..Setup::default()
        };
        let mut pair = Pair::new(setup);
        pair.run(Duration::from_secs(2));
        pair.client.close();
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.events.last(), Some(&TransportEvent::PeerClosed), "{version:?}");

        let mut pair = Pair::new(setup);
        pair.run(Duration::from_secs(2));
        pair.close();
        pair.run(Duration::from_secs(1));
        assert!(pair.client.is_closed(), "{version:?}");
        assert_eq!(pair.events.len(), 2, "no event of one's own closing");
    }
}

#[test]
fn an_address_moves_only_with_a_check_from_the_new_one() {
    let mut pair = Pair::new(Setup::default());
    pair.run(Duration::from_secs(2));
    let before = pair.client_path();
    pair.client.port += 1;
    let after = pair.client_path();

    let forged = pair.client.check_with_password("not-the-password-at-all");
    assert_eq!(
        pair.transport.handle_stun(pair.now, after, &forged),
        Err(DropReason::StunIntegrity)
    );
    assert_eq!(
        pair.transport.handle_dtls(pair.now, after, &[22; 40]),
        Err(DropReason::UnknownAddress)
    );
    assert_eq!(pair.transport.media_path(), Some(before));

    pair.run(Duration::from_secs(3));
    assert_eq!(pair.transport.media_path(), Some(after));
    assert_eq!(pair.transport.path(), Some(after));
    assert_eq!(pair.events.last(), Some(&TransportEvent::PathChanged(after)));
    pair.check_media_both_ways();
}

#[test]
fn an_ice_restart_leaves_media_alone() {
    let mut pair = Pair::new(Setup::default());
    pair.run(Duration::from_secs(2));
    pair.restart_ice();
    pair.run(Duration::from_secs(3));
    pair.client.use_restarted_credentials();
    pair.client.port += 1;
    pair.run(Duration::from_secs(60));
    let moved = TransportEvent::PathChanged(pair.client_path());
    assert!(
        pair.events.ends_with(&[moved, TransportEvent::Resumed]),
        "{:?}",
        pair.events
    );
    pair.check_media_both_ways();
}

#[test]
fn we_are_the_dtls_client_of_a_passive_peer() {
    for loss_percent in [0, 20] {
        let mut pair = Pair::new(Setup {
            server_is_active: true,
            loss_percent,
            ..Setup::default()
        });
        pair.run(Duration::from_secs(20));
        assert!(pair.transport.is_connected());
        pair.check_media_both_ways();
    }
}

/// A client that has connected sends one check with the address of another as its source.
#[test]
fn media_is_not_moved_to_somebody_who_has_not_asked_for_it() {
    for answers in [true, false] {
        let mut pair = Pair::new(Setup::default());
        pair.client.answers = answers;
        pair.run(Duration::from_secs(2));
        let own = pair.client_path();
        assert_eq!(pair.transport.media_path(), Some(own));
        let victim = Path::udp(([192, 0, 2, 99], 53).into());
        let forged = pair.client.check_with_password(&pair.client.server_password());
        assert_eq!(pair.transport.handle_stun(pair.now, victim, &forged), Ok(()));
        pair.exchange();
        for _ in 0..60 {
            pair.run(Duration::from_secs(1));
            assert_eq!(pair.transport.media_path(), Some(own));
        }
        assert!(pair.strayed.iter().all(|(to, _)| *to == victim));
        let bytes: usize = pair.strayed.iter().map(|(_, data)| data.len()).sum();
        assert!((1..=3 * forged.len()).contains(&bytes), "{bytes} of {}", forged.len());
    }
}

/// The whole handshake of a client that is elsewhere than it says.
#[test]
fn a_handshake_with_a_forged_address_is_not_amplified() {
    for server_is_active in [false, true] {
        let mut pair = Pair::new(Setup {
            server_is_active,
            ..Setup::default()
        });
        let victim = Path::udp(([192, 0, 2, 99], 53).into());
        let mut received = 0;
        for round in 0..20 {
            let check = pair.client.check_with_password(&pair.client.server_password());
            let hello = pair.client.take_hello(pair.now);
            if round % 4 == 0 {
                received += check.len();
                pair.transport.handle_stun(pair.now, victim, &check).expect("valid");
            }
            for packet in hello {
                received += packet.len();
                let _ = pair.transport.handle_dtls(pair.now, victim, &packet);
            }
            pair.client.silent = true;
            pair.run(Duration::from_millis(500));
            let sent: usize = pair.strayed.iter().map(|(_, data)| data.len()).sum();
            assert!(sent <= 3 * received, "{sent} of {received}");
        }
        assert!(!pair.strayed.is_empty());
    }
}

/// The same client behind another port: media goes to the old one until the answer to our check has come,
/// a round trip after its first check from there.
#[test]
fn a_rebound_client_is_followed_within_a_round_trip() {
    let mut pair = Pair::new(Setup::default());
    pair.run(Duration::from_secs(2));
    let before = pair.client_path();
    pair.client.port += 1;
    let after = pair.client_path();
    let check = pair.client.check_with_password(&pair.client.server_password());
    assert_eq!(pair.transport.handle_stun(pair.now, after, &check), Ok(()));
    pair.run(Duration::from_millis(39));
    assert_eq!(pair.transport.media_path(), Some(before));
    pair.run(Duration::from_millis(1));
    assert_eq!(pair.transport.media_path(), Some(after));
    pair.check_media_both_ways();
}

/// Wi-Fi and mobile by turns, with a third of the packets lost.
#[test]
fn a_client_is_followed_from_network_to_network() {
    let mut pair = Pair::new(Setup::default());
    pair.run(Duration::from_secs(2));
    pair.set_loss(30);
    for _ in 0..20 {
        pair.client.port += 1;
        pair.run(Duration::from_secs(15));
        assert_eq!(pair.transport.media_path(), Some(pair.client_path()));
    }
    pair.check_media_both_ways();
}

#[test]
fn a_client_that_answers_no_checks_stays_where_it_shook_hands() {
    for (version, server_is_active) in [
        (Version::Dtls12, false),
        (Version::Dtls13, false),
        (Version::Dtls12, true),
    ] {
        let mut pair = Pair::new(Setup {
            version,
            server_is_active,
            ..Setup::default()
        });
        pair.client.answers = false;
        // A check a second leaves little for a handshake, but it comes to its end.
        pair.run(Duration::from_secs(15));
        let own = pair.client_path();
        assert_eq!(pair.transport.media_path(), Some(own), "{version:?}");
        pair.run(Duration::from_secs(120));
        assert_eq!(pair.transport.media_path(), Some(own));
        pair.client.port += 1;
        pair.run(Duration::from_secs(20));
        assert_eq!(pair.transport.media_path(), Some(own));
        // One who has learnt to answer may move.
        pair.client.answers = true;
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.transport.media_path(), Some(pair.client_path()));
    }
}

#[test]
fn consent_is_asked_for_every_few_seconds_and_media_stops_without() {
    let mut pair = Pair::new(Setup::default());
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.transport.media_path(), Some(pair.client_path()));
    assert!((10..=20).contains(&pair.client.asked), "{} checks", pair.client.asked);
    pair.client.answers = false;
    pair.run(Duration::from_secs(24));
    assert_eq!(pair.transport.media_path(), Some(pair.client_path()));
    pair.run(Duration::from_secs(7));
    assert_eq!(pair.transport.media_path(), None);
    assert!(pair.transport.is_connected(), "it may come back");
    pair.client.answers = true;
    pair.run(Duration::from_secs(3));
    assert_eq!(pair.transport.media_path(), Some(pair.client_path()));
}
