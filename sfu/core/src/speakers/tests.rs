use std::time::Duration;

use super::*;

/// Levels in −dBov.
const TALK: u8 = 30;
const SOFT: u8 = 45;
const SILENT: u8 = 127;

struct Room {
    now: Instant,
    start: Instant,
    detector: SpeakerDetector<u32>,
}

impl Room {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            start: now,
            detector: SpeakerDetector::new(3),
        }
    }

    /// For `ms` these tracks have these levels; returns when the dominant one changed, in ms from
    /// the beginning of the span.
    fn span(&mut self, ms: u64, levels: &[(u32, u8)]) -> Vec<(u64, Option<u32>)> {
        let begin = self.now;
        let mut changes = Vec::new();
        while self.now < begin + Duration::from_millis(ms) {
            // A worker's timer is never exact.
            let jitter = Duration::from_millis((self.now - self.start).as_millis() as u64 * 7 % 20);
            for &(id, level) in levels {
                self.detector.on_level(self.now + jitter, id, level, level < 60);
            }
            if self
                .detector
                .update(self.now + jitter)
                .is_some_and(|change| change.dominant)
            {
                changes.push(((self.now - begin).as_millis() as u64, self.detector.dominant()));
            }
            self.now += AUDIO_LEVEL_INTERVAL;
        }
        changes
    }

    fn loudest(&self) -> Vec<u32> {
        self.detector.loudest(9).collect()
    }
}

#[test]
fn a_talker_takes_the_floor_within_a_second() {
    let mut room = Room::new();
    let changes = room.span(2_000, &[(1, TALK)]);
    let [(at, Some(1))] = changes[..] else {
        panic!("{changes:?}");
    };
    assert!((400..=800).contains(&at), "{at}");
}

#[test]
fn a_cough_does_not() {
    let mut room = Room::new();
    for _ in 0..5 {
        assert!(room.span(300, &[(1, 10)]).is_empty());
        assert!(room.span(1_500, &[]).is_empty());
    }
    // Nor while another has the floor, speaking or silent.
    room.span(2_000, &[(2, TALK)]);
    assert!(room.span(300, &[(1, 10), (2, TALK)]).is_empty());
    assert!(room.span(2_000, &[(2, SILENT)]).is_empty());
    assert!(room.span(300, &[(1, 10)]).is_empty());
    assert!(room.span(2_000, &[]).is_empty());
}

#[test]
fn the_floor_is_handed_over() {
    let mut room = Room::new();
    room.span(3_000, &[(1, TALK), (2, SILENT)]);
    for (from, to) in [(1, 2), (2, 3), (3, 1)] {
        let changes = room.span(3_000, &[(from, SILENT), (to, TALK)]);
        let [(at, Some(speaker))] = changes[..] else {
            panic!("{changes:?}");
        };
        assert_eq!(speaker, to);
        assert!((400..=1_000).contains(&at), "{at}");
    }
}

#[test]
fn pauses_and_interjections_do_not_move_it() {
    let mut room = Room::new();
    room.span(2_000, &[(1, TALK)]);
    for _ in 0..20 {
        assert!(room.span(800, &[(1, TALK)]).is_empty());
        // "Mhm", in a pause and over speech.
        assert!(room.span(250, &[(1, SILENT), (2, TALK)]).is_empty());
        assert!(room.span(600, &[(1, TALK)]).is_empty());
        assert!(room.span(250, &[(1, TALK), (3, TALK)]).is_empty());
    }
}

#[test]
fn two_at_once_leave_it_where_it_is_and_a_much_louder_one_wins_in_the_end() {
    let mut room = Room::new();
    room.span(2_000, &[(1, SOFT)]);
    assert!(room.span(5_000, &[(1, SOFT), (2, SOFT - 5)]).is_empty());
    let changes = room.span(5_000, &[(1, SOFT), (2, SOFT - 20)]);
    let [(at, Some(2))] = changes[..] else {
        panic!("{changes:?}");
    };
    assert!((1_500..=3_500).contains(&at), "{at}");
}

#[test]
fn silence_keeps_it_and_leaving_clears_it() {
    let mut room = Room::new();
    room.span(2_000, &[(1, TALK)]);
    assert!(room.span(60_000, &[]).is_empty());
    assert_eq!(room.detector.dominant(), Some(1));
    assert!(room.detector.speaking().is_empty());
    room.detector.remove(1);
    assert_eq!(room.detector.dominant(), None);
    let change = room.detector.update(room.now).unwrap();
    assert!(change.dominant && change.loudest && !change.speaking);
    assert_eq!(room.detector.update(room.now), None);
    assert!(room.loudest().is_empty());
}

#[test]
fn speaking_begins_at_once_and_bridges_pauses() {
    let mut room = Room::new();
    room.span(50, &[(1, TALK)]);
    assert_eq!(room.detector.speaking(), [1]);
    room.span(500, &[(1, SILENT)]);
    assert_eq!(room.detector.speaking(), [1]);
    room.span(500, &[(1, SILENT)]);
    assert!(room.detector.speaking().is_empty());
    room.span(1_000, &[(1, SOFT), (2, TALK), (3, 90)]);
    assert_eq!(room.detector.speaking(), [2, 1]);
}

#[test]
fn free_places_are_taken_at_once_and_kept_through_silence() {
    let mut room = Room::new();
    room.span(1_000, &[(1, TALK)]);
    room.span(50, &[(1, TALK), (2, SOFT)]);
    assert_eq!(room.loudest(), [1, 2]);
    room.span(1_000, &[(3, TALK)]);
    room.span(10_000, &[]);
    assert_eq!(room.loudest(), [3, 1, 2]);
    // A fourth takes the place of who has been silent for longest, the softer of two.
    room.span(100, &[(4, TALK)]);
    assert_eq!(room.loudest(), [3, 4, 1]);
    assert_eq!(room.detector.loudest(1).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_newcomer_must_be_clearly_louder_than_the_softest_speaker() {
    let three = [(1, TALK), (2, TALK + 5), (3, SOFT)];
    for (level, gets_in) in [(SOFT + 5, false), (SOFT - 3, false), (SOFT - 12, true)] {
        let mut room = Room::new();
        room.span(3_000, &three);
        room.span(3_000, &[&three[..], &[(4, level)]].concat());
        assert_eq!(room.loudest().contains(&4), gets_in, "{level}");
        assert_eq!(room.loudest().contains(&3), !gets_in, "{level}");
    }
    // Places are held for a second: two that are about as loud do not alternate.
    let mut room = Room::new();
    room.span(3_000, &three);
    let mut changes = 0;
    for turn in 0..100 {
        let (third, fourth) = if turn % 2 == 0 {
            (SOFT, SOFT - 4)
        } else {
            (SOFT - 4, SOFT)
        };
        let before = room.loudest();
        room.span(100, &[(1, TALK), (2, TALK + 5), (3, third), (4, fourth)]);
        changes += usize::from(room.loudest() != before);
    }
    assert_eq!(changes, 0);
}

#[test]
fn a_large_room_keeps_only_those_lately_heard() {
    let mut room = Room::new();
    for first in (0..500).step_by(10) {
        let levels: Vec<_> = (first..first + 10).map(|id| (id, TALK)).collect();
        room.span(500, &levels);
    }
    // Ten every half second for 5 s, and those with places.
    assert!(room.detector.speakers.len() <= 115, "{}", room.detector.speakers.len());
    room.span(6_000, &[]);
    assert!(room.detector.speakers.len() <= 4);
}
