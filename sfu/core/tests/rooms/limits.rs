use tianqiao_sfu_core::allocator::Mode;
use tianqiao_sfu_core::negotiated::{Negotiated, SendMedia};
use tianqiao_sfu_core::rooms::{
    OpenSession, Reoffer, RoomsConfig, RoomsError, RoomsLimits, SlotTarget, TrackDeclaration,
};
use tianqiao_sfu_core::units::Ssrc;
use tianqiao_sfu_core::worker_api::MAX_SLOT_SSRCS;

use crate::harness::*;

fn small() -> Node {
    Node::with(RoomsConfig {
        limits: RoomsLimits {
            sessions: 4,
            sessions_per_room: 3,
            tracks_per_session: 2,
            slots_per_session: 7,
            ..RoomsLimits::default()
        },
        ..RoomsConfig::default()
    })
}

#[test]
fn every_limit_is_a_typed_error_that_leaves_nothing_behind() {
    let mut node = small();
    let tracks = node.try_join(joiner("a").publishing(&[Microphone, Camera, Screen]));
    assert_eq!(tracks, Err(RoomsError::TooManyTracks { limit: 2 }));
    let slots = node.try_join(joiner("a").slots(4, 4));
    assert_eq!(slots, Err(RoomsError::TooManySlots { limit: 7 }));
    let views = vec![view("v0", SlotTarget::Nobody, 0); 8];
    let too_many_views = node.try_join(joiner("a").viewing(&views));
    assert_eq!(too_many_views, Err(RoomsError::TooManySlots { limit: 7 }));
    assert!(node.rooms.is_empty() && node.commands.is_empty());

    for name in ["a", "b", "c"] {
        node.join(joiner(name));
    }
    assert_eq!(node.try_join(joiner("a")), Err(RoomsError::SessionExists("a".into())));
    assert_eq!(node.try_join(joiner("d")), Err(RoomsError::RoomFull { limit: 3 }));
    node.join(joiner("d").in_room("other"));
    let full = node.try_join(joiner("e").in_room("other"));
    assert_eq!(full, Err(RoomsError::NodeFull { limit: 4 }));
    node.leave("a");
    node.join(joiner("e").in_room("other"));
}

#[test]
fn unknown_names_are_typed_errors() {
    let mut node = small();
    node.join(joiner("a"));
    node.join(joiner("b").publishing(&[Microphone]));
    let others = node.track("b", Microphone);
    let now = node.now;
    let muted = node.rooms.set_muted(now, "a", others, true);
    assert_eq!(muted, Err(RoomsError::TrackUnknown(others)));
    assert_eq!(
        node.rooms.set_viewport("x", &[], Mode::Normal),
        Err(RoomsError::SessionUnknown("x".into()))
    );
    assert!(!node.rooms.close(now, "x"));
    assert_eq!(node.rooms.close_room(node.now, "x"), 0);
}

#[test]
fn a_declaration_of_the_wrong_kind_is_refused() {
    let mut node = small();
    let mut alice = joiner("a").publishing(&[Camera]);
    alice.tracks[0].0 = Microphone;
    let negotiated = joiner("a").publishing(&[Camera]).negotiated();
    let (room, session) = (ROOM.into(), "a".into());
    let seat = node.rooms.seat(&room, &session, true).expect("a seat");
    let opened = node.rooms.open(
        node.now,
        OpenSession {
            room,
            session,
            seat,
            negotiated,
            tracks: vec![TrackDeclaration {
                mid: mid("p0"),
                source: Microphone,
                muted: false,
            }],
            slots: Vec::new(),
            audio: Default::default(),
            identity: "a".to_owned(),
        },
    );
    assert!(matches!(opened, Err(RoomsError::TrackKind { .. })), "{opened:?}");
    assert!(node.rooms.is_empty());
}

/// As many slots, from this SSRC on.
fn slots_from(first: usize, slots: usize) -> Negotiated {
    let mut negotiated = joiner("a").slots(0, slots).negotiated();
    for (index, media) in negotiated.media.iter_mut().enumerate() {
        let ssrc = 2 * (first + index) as u32;
        media.send = Some(SendMedia {
            ssrc: Ssrc(ssrc),
            rtx_ssrc: Ssrc(ssrc + 1),
        });
    }
    negotiated
}

#[test]
fn a_session_whose_slots_are_ever_new_ones_is_told_to_join_anew() {
    let mut node = Node::with(RoomsConfig {
        limits: RoomsLimits {
            slots_per_session: 300,
            ..RoomsLimits::default()
        },
        ..RoomsConfig::default()
    });
    node.join(joiner("a").slots(0, 0));
    let mut reoffer = |first, slots| {
        let reoffer = Reoffer {
            session: "a".into(),
            negotiated: slots_from(first, slots),
            local_ice: None,
            tracks: Vec::new(),
            slots: Vec::new(),
        };
        node.rooms.renegotiate(node.now, reoffer).map(|_| ())
    };
    for round in 0..3 {
        assert_eq!(reoffer(300 * round, 300), Ok(()));
    }
    let used_up = Err(RoomsError::SlotsUsedUp { limit: MAX_SLOT_SSRCS });
    assert_eq!(reoffer(900, 300), used_up);
    assert_eq!(reoffer(900, MAX_SLOT_SSRCS - 900), Ok(()));
    assert_eq!(reoffer(MAX_SLOT_SSRCS, 1), used_up);
    // Those that it had before may come back.
    assert_eq!(reoffer(0, 300), Ok(()));
}
