//! From what a page says of itself to what its person heard and saw.

use tianqiao_testnet::Report as LinkReport;

use super::viewer::{AudioStats, Report, Sample, VideoStats};

/// Energy (of getStats: seconds of full scale) that only sound has, and no comfort noise.
const SOUND: f64 = 1e-5;
const SAMPLES_PER_MS: f64 = 48.0;
/// A picture that has not moved for this long at the end of a run is frozen, which the browser counts only when it
/// moves again.
const STILL_MS: f64 = 1000.0;

/// One visit of a page, from a navigation on. All times are in milliseconds since the epoch.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    pub opened: Option<f64>,
    pub ready: Option<f64>,
    pub samples: Vec<Sample>,
    /// WebSockets that closed.
    pub sockets_lost: usize,
}

/// What was heard in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Speech {
    /// (concealed − silent concealed) / all, of the slots with sound in them.
    pub concealed_share: f64,
    /// Concealed / all: what was replaced by silence counts too.
    pub missing_share: f64,
    /// Of the time, what was played at all, if only concealment.
    pub played_share: f64,
    /// Mean time in the jitter buffer.
    pub delay_ms: f64,
}

/// What was seen of somebody in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Picture {
    pub fps: f64,
    /// Lines of the picture for most of the time that it moved.
    pub height: u32,
    /// As the browser counts them, and one that still goes on at the end.
    pub freezes: f64,
    pub freeze_seconds: f64,
    /// The longest time between two frames, to the samples' interval.
    pub longest_seconds: f64,
    pub plis: f64,
}

/// Seconds until something came again; `None`: it never did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Back {
    pub sound: Option<f64>,
    pub picture: Option<f64>,
}

impl Visit {
    /// Of the reports from the last navigation on.
    pub fn last_of(reports: Vec<Report>) -> Self {
        let mut visit = Self::default();
        for report in reports {
            match report {
                Report::Opened { at } => {
                    visit = Self {
                        opened: Some(at),
                        ..Self::default()
                    }
                }
                Report::Ready { at } => visit.ready = Some(at),
                Report::Sample(sample) => visit.samples.push(sample),
                Report::Socket { open: false, .. } => visit.sockets_lost += 1,
                _ => {}
            }
        }
        visit
    }

    /// The first sound.
    pub fn heard(&self) -> Option<f64> {
        let sounds = |sample: &&Sample| sample.has_sound();
        self.samples.iter().find(sounds).map(|sample| sample.at)
    }

    /// The first frame of anybody.
    pub fn pictured(&self) -> Option<f64> {
        let shows = |sample: &&Sample| sample.video.iter().any(|video| video.frames > 0.0);
        self.samples.iter().find(shows).map(|sample| sample.at)
    }

    /// How often the page began to say that something is wrong.
    pub fn troubles(&self) -> usize {
        let begins = |pair: &&[Sample]| pair[0].trouble.is_empty() && !pair[1].trouble.is_empty();
        self.samples.windows(2).filter(begins).count()
    }

    /// RTCPeerConnections beyond the first: what a join anew takes.
    pub fn rejoins(&self) -> usize {
        let most = self.samples.iter().map(|sample| sample.connections).max();
        most.unwrap_or_default().saturating_sub(1)
    }

    fn pairs(&self, from: f64, to: f64) -> impl Iterator<Item = (&Sample, &Sample)> {
        let pairs = self.samples.windows(2).map(|pair| (&pair[0], &pair[1]));
        pairs.filter(move |(before, after)| before.at >= from && after.at <= to)
    }

    pub fn speech(&self, from: f64, to: f64) -> Speech {
        let Some(last) = self.samples.iter().rfind(|sample| sample.at <= to) else {
            return Speech::default();
        };
        let audible: Vec<&str> = last
            .audio
            .iter()
            .filter(|slot| slot.energy > SOUND)
            .map(|slot| &*slot.mid)
            .collect();
        let mut sum = AudioStats::default();
        for (before, after) in self.pairs(from, to) {
            for slot in after.audio.iter().filter(|slot| audible.contains(&&*slot.mid)) {
                let Some(was) = before.audio.iter().find(|was| was.mid == slot.mid) else {
                    continue;
                };
                // Totals begin anew with a new connection.
                sum.samples += (slot.samples - was.samples).max(0.0);
                sum.concealed += (slot.concealed - was.concealed).max(0.0);
                sum.silent_concealed += (slot.silent_concealed - was.silent_concealed).max(0.0);
                sum.delay += (slot.delay - was.delay).max(0.0);
                sum.emitted += (slot.emitted - was.emitted).max(0.0);
            }
        }
        Speech {
            concealed_share: (sum.concealed - sum.silent_concealed) / sum.samples.max(1.0),
            missing_share: sum.concealed / sum.samples.max(1.0),
            played_share: sum.samples / (SAMPLES_PER_MS * (to - from) * audible.len().max(1) as f64).max(1.0),
            delay_ms: 1e3 * sum.delay / sum.emitted.max(1.0),
        }
    }

    /// Of the picture of `name`.
    pub fn picture(&self, name: &str, from: f64, to: f64) -> Picture {
        let mut picture = Picture::default();
        let mut frames = 0.0;
        let mut heights = Vec::new();
        let mut moved = from;
        for (before, after) in self.pairs(from, to) {
            let Some((was, is)) = before.same_slot(after, name) else {
                continue;
            };
            picture.freezes += (is.freezes - was.freezes).max(0.0);
            picture.freeze_seconds += (is.freeze_seconds - was.freeze_seconds).max(0.0);
            picture.plis += (is.plis - was.plis).max(0.0);
            if is.frames > was.frames {
                frames += is.frames - was.frames;
                heights.push(is.height);
                picture.longest_seconds = picture.longest_seconds.max((after.at - moved) / 1e3);
                moved = after.at;
            }
        }
        let end = self.samples.iter().rfind(|sample| sample.at <= to);
        let still = end.map_or(0.0, |end| end.at - moved);
        picture.longest_seconds = picture.longest_seconds.max(still / 1e3);
        if frames > 0.0 && still > STILL_MS {
            picture.freezes += 1.0;
            picture.freeze_seconds += still / 1e3;
        }
        picture.fps = frames / ((to - from) / 1e3).max(1e-3);
        picture.height = most_frequent(&heights);
        picture
    }

    /// How long after `at` packets of the speech and frames of `name` come again, before `end`: after the longest time without
    /// them, as a frame or two may still have been on their way, or in a buffer.
    pub fn media_back(&self, name: &str, at: f64, end: f64) -> Back {
        let back = |comes: &dyn Fn(&Sample, &Sample) -> bool| {
            let moments = self.pairs(at, end).filter(|(before, after)| comes(before, after));
            end_of_longest_gap(at, moments.map(|(_, after)| after.at)).map(|end| (end - at) / 1e3)
        };
        Back {
            sound: back(&|before, after| {
                let mut slots = after.audio.iter().filter(|slot| slot.energy > SOUND);
                slots.any(|slot| {
                    let was = before.audio.iter().find(|was| was.mid == slot.mid);
                    slot.packets > was.map_or(0.0, |was| was.packets)
                })
            }),
            picture: back(&|before, after| {
                let slots = before.same_slot(after, name);
                slots.is_some_and(|(was, is)| is.frames > was.frames)
            }),
        }
    }

    /// Lines of the pictures that moved, summed, by the time of the sample.
    pub fn lines(&self, names: Option<&str>) -> Vec<(f64, u32)> {
        let of = |(before, after): (&Sample, &Sample)| {
            let slots = after
                .video
                .iter()
                .filter(|slot| names.is_none_or(|name| slot.name == name));
            let moving = slots.filter(|slot| {
                let was = before.video.iter().find(|was| was.mid == slot.mid);
                slot.frames > was.map_or(0.0, |was| was.frames)
            });
            (after.at, moving.map(|slot| slot.height).sum())
        };
        // Over some samples, so that a slow picture moves too.
        let spans = self.samples.windows(SPAN).map(|span| (&span[0], &span[SPAN - 1]));
        spans.map(of).collect()
    }
}

/// Between packets of a thrifty voice there are 60 ms, and samples come when a page has time.
const NO_GAP: f64 = 300.0;

/// `moments` ascend. Where there is no gap at all, the first of them.
fn end_of_longest_gap(begin: f64, moments: impl Iterator<Item = f64>) -> Option<f64> {
    let mut last = begin;
    let gaps = moments.map(|moment| (moment - std::mem::replace(&mut last, moment), moment));
    let longest = gaps.reduce(|longest, gap| match gap.0 > longest.0.max(NO_GAP) {
        true => gap,
        false => longest,
    });
    longest.map(|(_, end)| end)
}

/// Samples of a second.
const SPAN: usize = 6;

impl Sample {
    pub fn has_sound(&self) -> bool {
        self.audio.iter().any(|slot| slot.energy > SOUND)
    }

    fn same_slot<'a>(&'a self, after: &'a Sample, name: &str) -> Option<(&'a VideoStats, &'a VideoStats)> {
        let is = after.video.iter().find(|slot| slot.name == name)?;
        let was = self.video.iter().find(|slot| slot.mid == is.mid)?;
        Some((was, is))
    }
}

fn most_frequent(values: &[u32]) -> u32 {
    let count = |value: &&u32| values.iter().filter(|other| other == value).count();
    values.iter().max_by_key(count).copied().unwrap_or_default()
}

/// Of what the link could have carried down in these seconds of its record, the share that was used; what it lost on
/// the way has used it. `None` without a limit.
pub fn link_use(link: &LinkReport, from: usize, to: usize) -> Option<f64> {
    let seconds = from..to.min(link.by_second.down_bytes.len());
    let capacities = link.by_second.down_capacity.get(seconds.clone())?;
    let capacity: u64 = capacities.iter().copied().sum::<Option<u64>>()?;
    let bytes: u64 = link.by_second.down_bytes.get(seconds)?.iter().sum();
    let down = &link.counters.down;
    let survivors = down.arrived as f64 / (down.arrived + down.lost).max(1) as f64;
    (capacity > 0).then(|| bytes as f64 / (capacity as f64 * survivors.max(f64::MIN_POSITIVE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_back_at_the_end_of_the_longest_gap() {
        for (moments, expected) in [
            (&[][..], None),
            (&[5e3, 6e3], Some(5e3)),
            (&[1e3, 1.2e3, 3e3, 3.2e3], Some(3e3)),
            // There is none.
            (&[1e3, 1.2e3, 1.3e3], Some(1e3)),
        ] {
            assert_eq!(
                end_of_longest_gap(0.9e3, moments.iter().copied()),
                expected,
                "{moments:?}"
            );
        }
    }

    fn video(frames: f64, height: u32) -> VideoStats {
        VideoStats {
            mid: "9".to_owned(),
            name: "Ada".to_owned(),
            frames,
            height,
            ..Default::default()
        }
    }

    fn sample(at: f64, frames: f64, height: u32) -> Sample {
        Sample {
            at,
            video: vec![video(frames, height)],
            ..Default::default()
        }
    }

    fn visit(samples: Vec<Sample>) -> Visit {
        Visit {
            samples,
            ..Default::default()
        }
    }

    #[test]
    fn frames_and_the_longest_time_without_one() {
        let frames = [0.0, 6.0, 12.0, 12.0, 12.0, 18.0, 24.0];
        let samples = (0..)
            .zip(frames)
            .map(|(index, frames)| sample(f64::from(index) * 200.0, frames, 360));
        let picture = visit(samples.collect()).picture("Ada", 0.0, 1200.0);
        assert_eq!((picture.fps, picture.height, picture.longest_seconds), (20.0, 360, 0.6));
        assert_eq!(picture.freezes, 0.0);
    }

    #[test]
    fn a_picture_that_stops_for_good_is_frozen() {
        let samples = (0..20).map(|index| sample(f64::from(index) * 200.0, f64::from(index.min(5)), 180));
        let picture = visit(samples.collect()).picture("Ada", 0.0, 3800.0);
        assert_eq!((picture.freezes, picture.freeze_seconds), (1.0, 2.8));
    }

    #[test]
    fn media_is_back_with_the_first_packet_and_the_first_frame() {
        let slot = |packets| AudioStats {
            packets,
            ..audio("1", [0.0, 0.0, 0.0, 0.1])
        };
        let steps = [(1.0, 5.0), (1.0, 5.0), (2.0, 5.0), (3.0, 6.0)];
        let samples = (0..).zip(steps).map(|(index, (packets, frames))| Sample {
            audio: vec![slot(packets)],
            ..sample(f64::from(index) * 200.0, frames, 360)
        });
        let visit = visit(samples.collect());
        let back = |sound, picture| Back { sound, picture };
        assert_eq!(visit.media_back("Ada", 100.0, f64::MAX), back(Some(0.3), Some(0.5)));
        assert_eq!(visit.media_back("Ada", 500.0, f64::MAX), back(None, None));
    }

    #[test]
    fn nobody_elses_picture_counts() {
        let samples = vec![sample(0.0, 0.0, 180), sample(200.0, 9.0, 180)];
        assert_eq!(visit(samples).picture("Wei", 0.0, 200.0).fps, 0.0);
    }

    fn audio(mid: &str, [samples, concealed, silent, energy]: [f64; 4]) -> AudioStats {
        AudioStats {
            mid: mid.to_owned(),
            samples,
            concealed,
            silent_concealed: silent,
            energy,
            ..Default::default()
        }
    }

    #[test]
    fn concealment_is_of_the_slots_with_sound() {
        let of = |at, audio| Sample {
            at,
            audio,
            ..Default::default()
        };
        let before = vec![
            audio("1", [1000.0, 500.0, 0.0, 0.0]),
            audio("2", [1000.0, 0.0, 0.0, 0.0]),
        ];
        let after = vec![
            audio("1", [11_000.0, 2500.0, 500.0, 0.1]),
            audio("2", [11_000.0, 9000.0, 9000.0, 0.0]),
        ];
        let speech = visit(vec![of(0.0, before), of(200.0, after)]).speech(0.0, 200.0);
        assert_eq!((speech.concealed_share, speech.missing_share), (0.15, 0.2));
        assert_eq!(speech.played_share, 10_000.0 / 9600.0);
    }

    #[test]
    fn a_lost_packet_has_used_the_link() {
        let mut link = LinkReport::default();
        link.by_second.down_bytes = vec![0, 800, 800, 800];
        link.by_second.down_capacity = vec![Some(1000); 4];
        (link.counters.down.arrived, link.counters.down.lost) = (8, 2);
        assert_eq!(link_use(&link, 1, 9), Some(1.0));
        link.by_second.down_capacity[2] = None;
        assert_eq!(link_use(&link, 1, 9), None);
    }
}
