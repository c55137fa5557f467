//! Who is asked for stills, and who gets them.

use super::*;
use tianqiao_protocol::ws::Still;

const SCREEN: TrackId = 7;
const CAMERA: TrackId = 8;

/// The presenter `p` shares a screen beside its camera; `v` has both in slots.
fn presentation() -> Bench {
    let mut bench = Bench::new();
    bench.join(0, "p");
    let tracks = vec![
        TrackInfo {
            id: SCREEN,
            source: TrackSource::Screen,
            muted: false,
        },
        track(CAMERA),
    ];
    bench.meeting.set_answered(bench.at(10), "p", tracks, vec![]);
    bench.join(20, "v");
    let slots = vec![slot("1", Some(SCREEN)), slot("2", Some(CAMERA))];
    bench.meeting.set_answered(bench.at(30), "v", vec![], slots);
    bench.meeting.handle_timeout(bench.at(400));
    bench.outputs();
    bench
}

fn pause(bench: &mut Bench, id: &str, mid: &str, paused: bool) {
    let mid = mid.to_owned();
    bench.meeting.on_slots_paused(id, &[SlotPause { mid, paused }]);
}

/// What is said of stills, to whom.
fn told(bench: &mut Bench) -> Vec<String> {
    let brief = |output: Output| match output {
        Output::Send { to, message } => match message {
            ServerMessage::StillWanted { track, wanted } => Some(format!("{}: {track} {wanted}", to.join(","))),
            ServerMessage::Still(Still { track, version, .. }) => Some(format!("{}: {track} v{version}", to.join(","))),
            _ => None,
        },
        _ => None,
    };
    bench.outputs().into_iter().filter_map(brief).collect()
}

fn put(bench: &mut Bench, seconds: u64, id: &str, track: TrackId) -> Result<(), ErrorCode> {
    let now = bench.at(seconds * 1_000);
    let put = bench.meeting.put_still(now, id, track, vec![1; 500].into(), 1_700);
    put.map(drop).map_err(|refusal| refusal.code)
}

#[test]
fn a_presenter_is_asked_only_while_somebody_lacks_the_screen() {
    let mut bench = presentation();
    assert_eq!(put(&mut bench, 1, "p", SCREEN), Err(ErrorCode::Forbidden));
    pause(&mut bench, "v", "1", true);
    assert_eq!(told(&mut bench), ["p: 7 true"]);
    assert_eq!(put(&mut bench, 1, "p", SCREEN), Ok(()));
    assert_eq!(told(&mut bench), ["v: 7 v1"]);
    assert_eq!(put(&mut bench, 3, "p", SCREEN), Ok(()));
    assert_eq!(told(&mut bench), ["v: 7 v2"]);
    let (still, _) = bench.meeting.still("v", SCREEN).expect("it is shown the track");
    assert_eq!((still.version, still.image.len()), (2, 500));
    assert!(bench.meeting.still("p", SCREEN).is_none(), "it is in no slot of theirs");
    pause(&mut bench, "v", "1", false);
    assert_eq!(told(&mut bench), ["p: 7 false"]);
    assert!(bench.meeting.still("v", SCREEN).is_none());
}

#[test]
fn another_who_lacks_it_gets_what_is_there() {
    let mut bench = presentation();
    pause(&mut bench, "v", "1", true);
    put(&mut bench, 1, "p", SCREEN).expect("taken");
    bench.join(1_000, "w");
    let slots = vec![slot("5", Some(SCREEN))];
    bench.meeting.set_answered(bench.at(1_100), "w", vec![], slots);
    told(&mut bench);
    pause(&mut bench, "w", "5", true);
    assert_eq!(told(&mut bench), ["w: 7 v1"]);
    pause(&mut bench, "v", "1", false);
    assert_eq!(told(&mut bench), Vec::<String>::new(), "the other still lacks it");
    let state = bench.meeting.resume("w", "secret-w").expect("resumed");
    assert_eq!(state.stills.len(), 1);
    let state = bench.meeting.resume("p", "secret-p").expect("resumed");
    assert_eq!(state.stills_wanted, [SCREEN]);
}

#[test]
fn of_cameras_only_the_speakers_is_asked_for() {
    let mut bench = presentation();
    pause(&mut bench, "v", "2", true);
    assert_eq!(told(&mut bench), Vec::<String>::new());
    bench.meeting.on_speakers(Some("p".into()), vec!["p".into()]);
    assert_eq!(told(&mut bench), ["p: 8 true"]);
    bench.meeting.on_speakers(Some("v".into()), vec![]);
    assert_eq!(told(&mut bench), ["p: 8 false"]);
}

#[test]
fn it_ends_with_the_track_with_its_owner_and_with_the_viewer() {
    for end in 0..4 {
        let mut bench = presentation();
        pause(&mut bench, "v", "1", true);
        put(&mut bench, 1, "p", SCREEN).expect("taken");
        told(&mut bench);
        let now = bench.at(2_000);
        match end {
            0 => bench.meeting.set_answered(now, "p", vec![track(CAMERA)], vec![]),
            1 => bench.meeting.set_muted(now, "p", SCREEN, true),
            2 => bench.meeting.leave(now, "p", EndReason::Left),
            _ => bench.meeting.leave(now, "v", EndReason::Left),
        }
        // Where the track is gone, its owner knows.
        let expected: &[&str] = if end % 2 == 1 { &["p: 7 false"] } else { &[] };
        assert_eq!(told(&mut bench), expected, "{end}");
        assert!(bench.meeting.still("v", SCREEN).is_none(), "{end}");
    }
}

#[test]
fn owners_alone_send_and_within_limits() {
    let mut bench = presentation();
    pause(&mut bench, "v", "1", true);
    assert_eq!(put(&mut bench, 1, "v", SCREEN), Err(ErrorCode::TrackUnknown));
    assert_eq!(put(&mut bench, 1, "p", CAMERA), Err(ErrorCode::Forbidden));
    let large = vec![0; LIMITS.stills.max_bytes + 1].into();
    let refused = bench.meeting.put_still(bench.at(1_000), "p", SCREEN, large, 0);
    assert_eq!(
        refused.map(drop).map_err(|refusal| refusal.code),
        Err(ErrorCode::TooLarge)
    );
    assert_eq!(put(&mut bench, 1, "p", SCREEN), Ok(()));
    assert_eq!(put(&mut bench, 1, "p", SCREEN), Ok(()));
    assert_eq!(put(&mut bench, 1, "p", SCREEN), Err(ErrorCode::RateLimited));
    assert_eq!(put(&mut bench, 2, "p", SCREEN), Ok(()));
}

/// Eight seconds of the slowest link, between what is still legible and the most.
#[test]
fn the_next_still_is_as_large_as_the_weakest_link_takes_in_time() {
    let mut bench = presentation();
    for viewer in ["w", "x"] {
        bench.join(1_000, viewer);
        let slots = vec![slot("1", Some(SCREEN))];
        bench.meeting.set_answered(bench.at(1_100), viewer, vec![], slots);
    }
    for viewer in ["v", "w"] {
        pause(&mut bench, viewer, "1", true);
    }
    bench.meeting.on_spare("w", 1_000_000);
    // She sees the video.
    bench.meeting.on_spare("x", 1);
    for (second, spare, expected) in [(2, 25_000, 25_000), (6, 1, 20_000), (10, 1_000_000, 40_960)] {
        bench.meeting.on_spare("v", spare);
        let image = vec![1; 500].into();
        let next = bench.meeting.put_still(bench.at(second * 1_000), "p", SCREEN, image, 0);
        assert_eq!(next.ok(), Some(expected), "{spare}");
    }
}

#[test]
fn of_too_many_tracks_screens_come_first() {
    let mut bench = presentation();
    for (id, track) in [("q", 20), ("r", 21)] {
        bench.join(500, id);
        let tracks = vec![TrackInfo {
            id: track,
            source: TrackSource::Screen,
            muted: false,
        }];
        bench.meeting.set_answered(bench.at(600), id, tracks, vec![]);
    }
    let slots = ["1", "2", "3", "4"].into_iter().zip([CAMERA, SCREEN, 20, 21]);
    let slots: Vec<SlotState> = slots.map(|(mid, track)| slot(mid, Some(track))).collect();
    bench.meeting.set_answered(bench.at(700), "v", vec![], slots);
    bench.meeting.on_speakers(Some("p".into()), vec![]);
    told(&mut bench);
    for mid in ["1", "2", "3", "4"] {
        pause(&mut bench, "v", mid, true);
    }
    let asked = told(&mut bench);
    let wanted: Vec<TrackId> = ["p", "q", "r"]
        .iter()
        .flat_map(|id| {
            bench
                .meeting
                .resume(id, &format!("secret-{id}"))
                .expect("resumed")
                .stills_wanted
        })
        .collect();
    assert_eq!(wanted, [SCREEN, 20], "{asked:?}");
}
