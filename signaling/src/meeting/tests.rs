use super::*;
use crate::network::Network;
use tianqiao_protocol::{QualityCause, QualityGrade, TrackSource};

mod moves;
mod stills;

const LIMITS: MeetingLimits = MeetingLimits {
    max_participants: 4,
    chat: ChatLimits {
        max_length: 10,
        max_lines: 3,
        max_bytes: 10_000,
        page_bytes: 5_000,
    },
    chat_rate: Rate::bytes(200, 8_000),
    max_per_identity: 2,
    stills: StillLimits {
        max_bytes: 40_960,
        bitrate: 200_000,
        max_tracks: 2,
        rate: Rate::bytes(1, 2),
    },
    unconnected_grace: Duration::from_secs(5),
    roster_interval: Duration::from_millis(200),
    resume_window: Duration::from_secs(25),
    ttl: Duration::from_secs(3600),
};

struct Bench {
    start: Instant,
    meeting: Meeting,
}

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            start,
            meeting: Meeting::new(LIMITS, start),
        }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn reserve(&mut self, millis: u64, id: &str, kind: Kind) -> Result<(), Refusal> {
        let newcomer = Newcomer {
            id: id.into(),
            identity: format!("person-{}", &id[..1]),
            name: id.to_uppercase(),
            kind,
            network: Network::host(std::net::Ipv4Addr::LOCALHOST.into()),
            secret: format!("secret-{id}"),
        };
        self.meeting.reserve(self.at(millis), newcomer)?;
        self.meeting.place(id, "n1".into(), String::new());
        Ok(())
    }

    fn join(&mut self, millis: u64, id: &str) -> RoomState {
        self.reserve(millis, id, Kind::Web).expect("there is room");
        let now = self.at(millis);
        self.meeting.admit(now, id, vec![], vec![]).expect("admitted")
    }

    fn send_chat(&mut self, id: &str, text: &str, at: u64) -> Result<(), Refusal> {
        self.meeting.send_chat(self.start, id, text, at)
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.meeting.poll_output()).collect()
    }

    /// Who is sent what, in short.
    fn news(&mut self) -> Vec<String> {
        self.outputs().iter().map(brief).collect()
    }
}

fn brief(output: &Output) -> String {
    let Output::Send { to, message } = output else {
        return format!("{output:?}");
    };
    let what = match message {
        ServerMessage::Roster { joined, left } => {
            let joined: Vec<&str> = joined.iter().map(|member| member.id.as_str()).collect();
            format!("+{} -{}", joined.join(","), left.join(","))
        }
        ServerMessage::Tracks { participant, tracks } => format!("tracks {participant} {}", tracks.len()),
        ServerMessage::Slots { slots } => {
            let slots = slots.iter().map(|slot| format!("{}={:?}", slot.mid, slot.track));
            slots.collect::<Vec<_>>().join(" ")
        }
        ServerMessage::Chat(line) => format!("chat {} {}", line.seq, line.text),
        other => format!("{other:?}"),
    };
    format!("{}: {what}", to.join(","))
}

fn close(id: &str) -> Output {
    Output::CloseMedia {
        session: id.into(),
        node: "n1".into(),
    }
}

fn track(id: TrackId) -> TrackInfo {
    TrackInfo {
        id,
        source: TrackSource::Camera,
        muted: false,
    }
}

fn slot(mid: &str, track: Option<TrackId>) -> SlotState {
    SlotState { mid: mid.into(), track }
}

#[test]
fn a_newcomer_gets_the_state_and_others_the_change() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    let state = bench.join(1_000, "b");
    let ids: Vec<_> = state.participants.iter().map(|member| member.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(bench.news(), ["a: +b -"]);
}

#[test]
fn joins_in_a_burst_are_told_together_and_only_to_those_who_do_not_know() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    bench.join(50, "b");
    bench.join(100, "c");
    bench.meeting.leave(bench.at(150), "b", EndReason::Left);
    bench.outputs();
    assert_eq!(bench.meeting.poll_timeout(), Some(bench.at(200)));
    bench.meeting.handle_timeout(bench.at(200));
    // a never heard of b; c knew it from its state.
    assert_eq!(bench.news(), ["c: + -b", "a: +c -"]);
    assert_eq!(bench.meeting.poll_timeout(), None);
    bench.meeting.leave(bench.at(5_000), "c", EndReason::Left);
    assert_eq!(bench.news().last().map(String::as_str), Some("a: + -c"));
}

#[test]
fn tracks_are_told_when_they_change_and_within_a_waiting_join() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    bench.join(10, "b");
    let now = bench.at(20);
    bench.meeting.set_answered(now, "b", vec![track(7)], vec![]);
    bench.meeting.handle_timeout(bench.at(200));
    let outputs = bench.outputs();
    assert!(
        matches!(&outputs[..], [Output::Send { to, message: ServerMessage::Tracks { .. } }, Output::Send { message: ServerMessage::Roster { joined, .. }, .. }]
            if joined[0].tracks == [track(7)] && to == &["b"]),
        "{outputs:?}"
    );
    let now = bench.at(1_000);
    bench.meeting.set_muted(now, "b", 7, true);
    bench.meeting.set_muted(now, "b", 7, true);
    bench.meeting.set_muted(now, "b", 8, true);
    bench.meeting.set_muted(now, "x", 7, true);
    assert_eq!(bench.news(), ["a,b: tracks b 1"]);
    assert!(bench.meeting.has_track("b", 7) && !bench.meeting.has_track("a", 7));
}

#[test]
fn a_lost_websocket_is_resumed_within_the_window() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    bench.meeting.detach(bench.at(1_000), "a");
    assert_eq!(bench.meeting.poll_timeout(), Some(bench.at(26_000)));
    assert_eq!(
        bench.meeting.resume("a", "wrong").expect_err("a secret is needed").code,
        ErrorCode::SessionUnknown
    );
    bench.meeting.resume("a", "secret-a").expect("within the window");
    bench.meeting.handle_timeout(bench.at(26_000));
    assert_eq!(bench.news(), [] as [&str; 0]);

    bench.meeting.detach(bench.at(30_000), "a");
    bench.meeting.handle_timeout(bench.at(55_000));
    let forget = Output::Forget {
        participant: "a".into(),
        kind: Kind::Web,
    };
    assert_eq!(bench.outputs(), [close("a"), forget]);
    assert!(bench.meeting.resume("a", "secret-a").is_err());
}

#[test]
fn a_second_resume_replaces_the_first() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    bench.meeting.resume("a", "secret-a").expect("attached");
    let end = Output::End {
        participant: "a".into(),
        reason: EndReason::Replaced,
    };
    assert_eq!(bench.outputs(), [end]);
}

#[test]
fn dead_media_ends_a_session_at_once() {
    for (detached, expected) in [(false, 2), (true, 1)] {
        let mut bench = Bench::new();
        bench.join(0, "a");
        if detached {
            bench.meeting.detach(bench.at(1), "a");
        }
        let now = bench.at(2);
        bench.meeting.on_media_closed(now, "a", CloseReason::IceTimeout);
        assert_eq!(bench.outputs().len(), expected);
        assert_eq!(bench.meeting.listed(), 0);
    }
}

#[test]
fn media_that_ends_before_the_answer_arrives_refuses_the_join() {
    let mut bench = Bench::new();
    bench.reserve(0, "a", Kind::Web).expect("there is room");
    let now = bench.at(1);
    bench.meeting.on_media_closed(now, "a", CloseReason::DtlsFailed);
    let refusal = bench.meeting.admit(now, "a", vec![], vec![]).expect_err("it is gone");
    assert_eq!(refusal.code, ErrorCode::Unavailable);
}

#[test]
fn a_full_meeting_takes_no_more_but_the_same_person_again() {
    let mut bench = Bench::new();
    bench.reserve(0, "w", Kind::Whep).expect("there is room");
    for id in ["a", "b", "c"] {
        bench.join(0, id);
    }
    let full = bench.reserve(1, "d", Kind::Web).expect_err("full");
    assert_eq!(full.code, ErrorCode::MeetingFull);
    assert_eq!(bench.meeting.listed(), 3);
    bench.meeting.detach(bench.at(2), "c");
    bench.join(3, "c2");
    assert_eq!(bench.meeting.listed(), 3);
    assert!(!bench.meeting.has_participant("c"));
}

#[test]
fn viewers_are_not_listed_but_can_end() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    bench.reserve(0, "w", Kind::Whep).expect("there is room");
    let now = bench.at(1);
    bench.meeting.admit(now, "w", vec![], vec![]).expect("admitted");
    bench.meeting.leave(now, "w", EndReason::Left);
    assert!(bench.news().iter().all(|line| !line.contains("a:")));
}

#[test]
fn slots_that_overtake_the_answer_win() {
    let mut bench = Bench::new();
    bench.reserve(0, "a", Kind::Web).expect("there is room");
    bench.meeting.on_slots("a", &[slot("1", Some(5)), slot("2", None)]);
    let now = bench.at(1);
    let state = bench
        .meeting
        .admit(
            now,
            "a",
            vec![],
            vec![slot("1", Some(4)), slot("2", Some(4)), slot("3", Some(4))],
        )
        .expect("admitted");
    assert_eq!(state.slots, [slot("1", Some(5)), slot("3", Some(4))]);
    bench
        .meeting
        .on_slots("a", &[slot("1", Some(5)), slot("3", None), slot("9", None)]);
    bench.meeting.set_answered(now, "a", vec![], vec![slot("4", Some(8))]);
    assert_eq!(bench.news(), ["a: 3=None", "a: 1=None 4=Some(8)"]);
}

#[test]
fn what_hinders_a_slot_is_told_once_and_after_a_resume() {
    let mut bench = Bench::new();
    bench.reserve(0, "a", Kind::Web).expect("there is room");
    let pause = |mid: &str, paused| SlotPause {
        mid: mid.into(),
        paused,
    };
    let unsupported = |track| UnsupportedSlot { mid: "2".into(), track };
    bench.meeting.on_slots_paused("a", &[pause("1", true)]);
    let now = bench.at(1);
    let slots = vec![slot("1", Some(4)), slot("2", Some(5))];
    let state = bench.meeting.admit(now, "a", vec![], slots).expect("admitted");
    assert_eq!((state.paused, state.unsupported), (vec!["1".to_owned()], vec![]));
    bench.outputs();

    bench
        .meeting
        .on_slots_paused("a", &[pause("1", true), pause("3", true)]);
    bench.meeting.on_codec_unsupported("a", unsupported(5));
    bench.meeting.on_codec_unsupported("a", unsupported(5));
    let news: Vec<Output> = bench.outputs();
    let to = || vec!["a".to_owned()];
    let slots = vec![pause("3", true)];
    assert_eq!(
        news,
        [
            Output::Send {
                to: to(),
                message: ServerMessage::SlotsPaused { slots }
            },
            Output::Send {
                to: to(),
                message: ServerMessage::CodecUnsupported(unsupported(5))
            },
        ]
    );

    bench.meeting.detach(now, "a");
    bench.meeting.on_slots_paused("a", &[pause("1", false)]);
    assert_eq!(bench.outputs(), []);
    let state = bench.meeting.resume("a", "secret-a").expect("resumed");
    assert_eq!(
        (state.paused, state.unsupported),
        (vec!["3".to_owned()], vec![unsupported(5)])
    );

    // Another track may be of another codec.
    bench.meeting.on_slots("a", &[slot("2", Some(6))]);
    let state = bench.meeting.resume("a", "secret-a").expect("resumed");
    assert_eq!(state.unsupported, []);
}

fn poor(cause: QualityCause) -> LinkQuality {
    LinkQuality {
        grade: QualityGrade::Poor,
        cause: Some(cause),
    }
}

#[test]
fn news_of_links_are_told_together_and_a_newcomer_learns_who_has_trouble() {
    let mut bench = Bench::new();
    for id in ["a", "b", "c"] {
        bench.join(0, id);
    }
    bench.meeting.handle_timeout(bench.at(200));
    bench.outputs();
    let told = |bench: &mut Bench| -> Vec<(usize, String)> {
        let quality = |output: &Output| match output {
            Output::Send {
                to,
                message: ServerMessage::Quality { changed },
            } => {
                let changed = changed
                    .iter()
                    .map(|one| format!("{} {:?}", one.participant, one.quality.grade));
                Some((to.len(), changed.collect::<Vec<_>>().join(", ")))
            }
            _ => None,
        };
        bench.outputs().iter().filter_map(quality).collect()
    };
    let (downlink, loss) = (poor(QualityCause::Downlink), poor(QualityCause::Loss));
    bench.meeting.on_quality(bench.at(1_000), "a", downlink);
    assert_eq!(told(&mut bench), [(3, "a Poor".to_owned())], "the first at once");
    bench.meeting.on_quality(bench.at(1_100), "b", loss);
    bench.meeting.on_quality(bench.at(1_200), "c", loss);
    bench.meeting.on_quality(bench.at(1_300), "a", LinkQuality::default());
    bench.meeting.on_quality(bench.at(1_400), "c", LinkQuality::default());
    bench.meeting.on_quality(bench.at(1_400), "c", LinkQuality::default());
    assert_eq!(told(&mut bench), []);
    let state = bench.join(1_500, "d");
    let known: Vec<&str> = state.quality.iter().map(|one| one.participant.as_str()).collect();
    assert_eq!(known, ["b"]);
    bench.meeting.leave(bench.at(1_600), "b", EndReason::Left);
    let due = bench.at(3_000);
    while bench.meeting.poll_timeout().is_some_and(|at| at <= due) {
        let at = bench.meeting.poll_timeout().expect("just seen");
        bench.meeting.handle_timeout(at);
    }
    assert_eq!(told(&mut bench), [(3, "a Good, c Good".to_owned())]);
}

#[test]
fn one_message_about_links_is_bounded() {
    let mut news = quality::QualityNews::default();
    let start = Instant::now();
    let quality = |id: &str| {
        Some(ParticipantQuality {
            participant: id.to_owned(),
            quality: poor(QualityCause::Loss),
        })
    };
    (0..500).for_each(|number| news.record(&format!("{number:03}")));
    let mut told = 0;
    for turn in 0..10 {
        let now = start + turn * quality::INTERVAL;
        let taken = news.take(now, quality);
        assert!(taken.len() <= quality::MAX_CHANGES);
        assert_eq!(news.take(now, quality), []);
        told += taken.len();
    }
    assert_eq!((told, news.due()), (500, None));
}

#[test]
fn what_is_wanted_of_a_track_is_told_once_and_after_a_resume() {
    let mut bench = Bench::new();
    bench.reserve(0, "a", Kind::Web).expect("there is room");
    let wanted = |track, low_voice| WantedTrack {
        track,
        layers: vec![],
        low_voice,
    };
    // The answer names track 7 only.
    bench.meeting.on_wanted("a", vec![wanted(7, false), wanted(8, false)]);
    let now = bench.at(1);
    let state = bench.meeting.admit(now, "a", vec![track(7)], vec![]).expect("admitted");
    assert_eq!(state.wanted, [wanted(7, false)]);
    bench.outputs();

    bench.meeting.on_wanted("a", vec![wanted(7, false)]);
    assert_eq!(bench.outputs(), []);
    bench.meeting.on_wanted("a", vec![wanted(7, true)]);
    let told = Output::Send {
        to: vec!["a".to_owned()],
        message: ServerMessage::Wanted {
            tracks: vec![wanted(7, true)],
        },
    };
    assert_eq!(bench.outputs(), [told]);
    bench.meeting.detach(now, "a");
    bench.meeting.on_wanted("a", vec![wanted(7, false)]);
    assert_eq!(bench.outputs(), []);
    let state = bench.meeting.resume("a", "secret-a").expect("resumed");
    assert_eq!(state.wanted, [wanted(7, false)]);

    // What is unmuted is sent whole.
    for muted in [true, false] {
        bench.meeting.set_muted(now, "a", 7, muted);
        let state = bench.meeting.resume("a", "secret-a").expect("resumed");
        assert_eq!(state.wanted.len(), usize::from(muted));
    }
}

#[test]
fn chat_has_a_history_and_a_limit() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    for (text, code) in [
        ("  ", ErrorCode::BadMessage),
        ("一二三四五六七八九十百", ErrorCode::TooLarge),
    ] {
        assert_eq!(bench.send_chat("a", text, 0).expect_err(text).code, code);
    }
    for text in ["one", "two", "three", " 一二三四五六七八九十 "] {
        bench.send_chat("a", text, 17).expect(text);
    }
    assert_eq!(bench.news().len(), 4);
    let state = bench.join(1_000, "b");
    let texts: Vec<_> = state.chat.iter().map(|line| (line.seq, line.text.as_str())).collect();
    assert_eq!(texts, [(2, "two"), (3, "three"), (4, "一二三四五六七八九十")]);
}

#[test]
fn speakers_are_told_once_and_do_not_outlive_their_session() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    for _ in 0..2 {
        bench.meeting.on_speakers(Some("a".into()), vec!["a".into()]);
    }
    assert_eq!(bench.outputs().len(), 1);
    bench.meeting.leave(bench.at(1), "a", EndReason::Left);
    assert_eq!(bench.join(2, "b").speakers, Speakers::default());
}

#[test]
fn the_end_is_told_to_all_and_is_final() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    bench.join(0, "b");
    bench.outputs();
    let now = bench.at(1);
    bench.meeting.end(now, EndReason::MeetingEnded);
    bench.meeting.end(now, EndReason::ServerShutdown);
    let outputs = bench.outputs();
    assert_eq!(outputs.first(), Some(&Output::CloseRoom("n1".into())));
    assert_eq!(outputs.last(), Some(&Output::Over));
    assert_eq!(outputs.len(), 6, "{outputs:?}");
    let refusal = bench.reserve(2, "c", Kind::Web).expect_err("over");
    assert_eq!(refusal.code, ErrorCode::MeetingEnded);
    assert_eq!(bench.meeting.poll_timeout(), None);
}

#[test]
fn an_empty_meeting_is_forgotten_after_its_time() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    assert_eq!(bench.meeting.poll_timeout(), None);
    bench.meeting.leave(bench.at(1_000), "a", EndReason::Left);
    bench.outputs();
    let over = bench.at(1_000) + LIMITS.ttl;
    bench.meeting.handle_timeout(over - Duration::from_millis(1));
    assert_eq!(bench.outputs(), []);
    bench.meeting.handle_timeout(over);
    assert_eq!(bench.outputs(), [Output::Over]);
}

#[test]
fn in_a_full_meeting_those_who_never_connected_make_room() {
    let mut bench = Bench::new();
    for id in ["a", "b", "c", "d"] {
        bench.join(0, id);
    }
    for id in ["a", "b", "d"] {
        bench.meeting.on_connected(id);
    }
    assert!(bench.reserve(4_999, "e", Kind::Web).is_err(), "c is too young to go");
    bench.outputs();
    bench.reserve(5_000, "e", Kind::Web).expect("c makes room");
    assert_eq!(bench.outputs()[0], close("c"));
    let full = bench
        .reserve(9_999, "f", Kind::Web)
        .expect_err("all but e have connected");
    assert_eq!(full.code, ErrorCode::MeetingFull);
    assert!(full.retry_after.is_some());
}

#[test]
fn one_token_has_few_sessions() {
    let mut bench = Bench::new();
    bench.join(0, "a1");
    bench.join(1_000, "a2");
    assert!(bench.reserve(2_000, "a3", Kind::Whep).is_err());
    bench
        .reserve(5_000, "a3", Kind::Whep)
        .expect("a1 has not connected and makes room");
    assert!(!bench.meeting.has_participant("a1") && bench.meeting.has_participant("a2"));
    bench.meeting.on_connected("a2");
    bench.meeting.on_connected("a3");
    assert!(bench.reserve(99_000, "a4", Kind::Whep).is_err(), "both are in use");
}

#[test]
fn who_was_in_it_with_media_is_known_for_a_while() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    bench.join(0, "b");
    assert!(!bench.meeting.knows(bench.at(0), "person-a"));
    bench.meeting.on_connected("a");
    assert!(bench.meeting.knows(bench.at(0), "person-a"));
    for id in ["a", "b"] {
        bench.meeting.leave(bench.at(1_000), id, EndReason::Left);
    }
    assert!(bench.meeting.knows(bench.at(2_000), "person-a"));
    assert!(
        !bench.meeting.knows(bench.at(2_000), "person-b"),
        "its media never connected"
    );
    assert!(!bench.meeting.knows(bench.at(1_000) + KNOWN_FOR, "person-a"));
}

#[test]
fn chat_is_limited_in_bytes_by_person_and_in_all() {
    let mut bench = Bench::new();
    for id in ["a", "b", "c", "d"] {
        bench.join(0, id);
    }
    let mut sent = BTreeMap::new();
    for _ in 0..100 {
        for id in ["a", "b", "c", "d"] {
            match bench.send_chat(id, "0123456789", 0) {
                Ok(()) => *sent.entry(id).or_insert(0) += 1,
                Err(refusal) => assert_eq!(refusal.code, ErrorCode::RateLimited),
            }
        }
    }
    assert_eq!(sent.values().copied().collect::<Vec<i32>>(), [18; 4]);
    let wait = bench.send_chat("a", "hi", 0).expect_err("used up").retry_after;
    assert!(wait.is_some_and(|wait| wait < Duration::from_secs(3)), "{wait:?}");
}

#[test]
fn earlier_chat_comes_in_pages_that_are_bounded_in_bytes() {
    let mut bench = Bench::new();
    bench.join(0, "a");
    let text = "界".repeat(10);
    bench.meeting.chat = ChatHistory::new(ChatLimits {
        max_length: 10,
        max_lines: 100,
        max_bytes: 1_000,
        page_bytes: 300,
    });
    for _ in 0..12 {
        bench.send_chat("a", &text, 0).expect("within the rate");
    }
    let seqs = |page: Vec<ChatLine>| page.iter().map(|line| line.seq).collect::<Vec<_>>();
    assert_eq!(seqs(bench.meeting.chat_page(None)), [11, 12]);
    assert_eq!(seqs(bench.meeting.chat_page(Some(11))), [9, 10]);
    assert_eq!(seqs(bench.meeting.chat_page(Some(7))), [6], "older ones are forgotten");
    assert_eq!(seqs(bench.meeting.chat_page(Some(1))), [0_u32; 0]);
}
