//! Still pictures in place of videos that somebody's link does not carry: who is asked for them, the latest of each
//! track, and who is told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tianqiao_protocol::ws::Still;
use tianqiao_protocol::{ErrorCode, ParticipantId, TrackId, TrackSource};

use super::participant::{Kind, Participant};
use crate::limits::{Rate, TokenBucket};
use crate::refusal::Refusal;

/// With less a still is of no use, and a voice on the worst links leaves this; bits per second.
const LEAST_RATE: u64 = 20_000;
/// Until the media server has said what there is beside voices.
const FIRST_RATE: u64 = 24_000;
/// What a still may take to the weakest link: with the wait until a slide stands still, and with what is lost, it is there
/// before the next but one sentence.
const WITHIN_SECONDS: u64 = 8;
/// Below that text is not legible.
const LEAST_BYTES: u64 = 12_000;

#[derive(Clone, Copy, Debug)]
pub struct StillLimits {
    /// Of one.
    pub max_bytes: usize,
    /// Of one on its way to somebody, in bits per second; 0 is no limit.
    pub bitrate: u64,
    /// Tracks of a meeting that are asked for stills at a time.
    pub max_tracks: usize,
    /// Stills of one track.
    pub rate: Rate,
}

/// A still picture as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredStill {
    pub version: u32,
    pub image: Bytes,
    /// Milliseconds since the Unix epoch.
    at: u64,
}

/// The way of stills to one participant, as it is while they go.
#[derive(Debug, Default)]
pub struct StillLink {
    /// The number of the latest transfer; another one ends it.
    latest: AtomicU32,
    /// Bits per second beside media; 0: not known.
    spare: AtomicU64,
}

impl StillLink {
    /// Begins a transfer; its number.
    pub fn begin(&self) -> u32 {
        self.latest.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    pub fn is_latest(&self, number: u32) -> bool {
        self.latest.load(Ordering::Relaxed) == number
    }

    pub(super) fn set_spare(&self, bits_per_second: u64) {
        self.spare.store(bits_per_second.max(1), Ordering::Relaxed);
    }

    /// How fast a still goes, in bits per second: what there is beside media, something always, and no more than `most`; 0
    /// is no limit.
    pub fn rate(&self, most: u64) -> u64 {
        let spare = Some(self.spare.load(Ordering::Relaxed)).filter(|&spare| spare > 0);
        let rate = spare.unwrap_or(FIRST_RATE).max(LEAST_RATE);
        if most == 0 { rate } else { rate.min(most) }
    }
}

struct Album {
    owner: ParticipantId,
    /// Those whose links do not carry the track's video.
    viewers: BTreeSet<ParticipantId>,
    latest: Option<StoredStill>,
    /// From the first still on.
    bucket: Option<TokenBucket>,
}

/// What is to be told after a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StillNews {
    /// To the track's owner, whether stills of it are wanted.
    pub wanted: Vec<(ParticipantId, TrackId, bool)>,
    /// To somebody, of the latest still.
    pub stills: Vec<(ParticipantId, Still)>,
}

#[derive(Default)]
pub struct Stills {
    albums: BTreeMap<TrackId, Album>,
}

impl Stills {
    /// Takes in who lacks which video now. `speaker`: whose camera is worth stills.
    pub fn update(
        &mut self,
        limits: &StillLimits,
        participants: &BTreeMap<ParticipantId, Participant>,
        speaker: Option<&str>,
    ) -> StillNews {
        let mut news = StillNews::default();
        let lacking = participants.values().any(Participant::lacks_video);
        if self.albums.is_empty() && !lacking {
            return news;
        }
        let mut wanted = wanted(participants, speaker, limits.max_tracks);
        self.albums.retain(|&track, album| {
            let stays = wanted.contains_key(&track);
            if !stays
                && participants
                    .get(&album.owner)
                    .is_some_and(|owner| owner.has_track(track))
            {
                news.wanted.push((album.owner.clone(), track, false));
            }
            stays
        });
        while let Some((track, (owner, viewers))) = wanted.pop_first() {
            let album = self.albums.entry(track).or_insert_with(|| {
                news.wanted.push((owner.clone(), track, true));
                Album {
                    owner,
                    viewers: BTreeSet::new(),
                    latest: None,
                    bucket: None,
                }
            });
            if let Some(latest) = &album.latest {
                let new = viewers.difference(&album.viewers);
                let told = new.map(|viewer| (viewer.clone(), latest.to_wire(track)));
                news.stills.extend(told);
            }
            album.viewers = viewers;
        }
        news
    }

    /// Takes a still from the owner of its track; returns who is to be told.
    pub fn put(
        &mut self,
        now: Instant,
        limits: &StillLimits,
        (owner, track): (&str, TrackId),
        image: Bytes,
        at: u64,
    ) -> Result<StillNews, Refusal> {
        let album = self.albums.get_mut(&track).filter(|album| album.owner == owner);
        let album = album.ok_or_else(|| Refusal::new(ErrorCode::Forbidden, "nobody has asked for a still of it"))?;
        if image.len() > limits.max_bytes {
            return Err(Refusal::new(ErrorCode::TooLarge, "the still is too large"));
        }
        album
            .bucket
            .get_or_insert_with(|| TokenBucket::new(limits.rate, now))
            .take(now)
            .map_err(|wait| Refusal::rate_limited("too many stills", wait))?;
        let version = album.latest.as_ref().map_or(0, |latest| latest.version) + 1;
        let still = album.latest.insert(StoredStill { version, image, at });
        let still = still.to_wire(track);
        let told = album.viewers.iter().map(|viewer| (viewer.clone(), still.clone()));
        Ok(StillNews {
            wanted: Vec::new(),
            stills: told.collect(),
        })
    }

    /// How many bytes of a still are there in time on each link that waits for stills of a track.
    pub fn next_bytes(
        &self,
        limits: &StillLimits,
        participants: &BTreeMap<ParticipantId, Participant>,
        track: TrackId,
    ) -> u32 {
        let viewers = self.albums.get(&track).into_iter().flat_map(|album| &album.viewers);
        let links = viewers.filter_map(|viewer| Some(&participants.get(viewer)?.still_link));
        let slowest = links.map(|link| link.rate(limits.bitrate)).min();
        let most = limits.max_bytes as u64;
        let bytes = slowest.map_or(most, |rate| rate.saturating_mul(WITHIN_SECONDS) / 8);
        bytes.max(LEAST_BYTES).min(most) as u32
    }

    /// The latest of a track.
    pub fn latest(&self, track: TrackId) -> Option<&StoredStill> {
        self.albums.get(&track)?.latest.as_ref()
    }

    /// Of which of its tracks a participant is asked for stills.
    pub fn wanted_of(&self, owner: &str) -> Vec<TrackId> {
        let own = self.albums.iter().filter(|(_, album)| album.owner == owner);
        own.map(|(&track, _)| track).collect()
    }

    /// The stills in place of videos that a participant lacks.
    pub fn shown_to(&self, viewer: &str) -> Vec<Still> {
        let seen = self.albums.iter().filter(|(_, album)| album.viewers.contains(viewer));
        seen.filter_map(|(&track, album)| Some(album.latest.as_ref()?.to_wire(track)))
            .collect()
    }
}

impl StoredStill {
    fn to_wire(&self, track: TrackId) -> Still {
        Still {
            track,
            version: self.version,
            size: self.image.len() as u32,
            at: self.at,
        }
    }
}

type Wanted = BTreeMap<TrackId, (ParticipantId, BTreeSet<ParticipantId>)>;

/// The tracks of which stills are wanted, at most so many, with their owners and who lacks them: shared screens, and the
/// speaker's camera.
fn wanted(participants: &BTreeMap<ParticipantId, Participant>, speaker: Option<&str>, most: usize) -> Wanted {
    let mut owners = BTreeMap::new();
    for member in participants.values().filter(|member| member.kind == Kind::Web) {
        for track in member.tracks.iter().filter(|track| !track.muted) {
            let is_worth = match track.source {
                TrackSource::Screen => true,
                TrackSource::Camera => speaker == Some(member.id.as_str()),
                TrackSource::Microphone | TrackSource::MicrophoneLow | TrackSource::ScreenAudio => false,
            };
            if is_worth {
                owners.insert(track.id, (track.source != TrackSource::Screen, member.id.as_str()));
            }
        }
    }
    let mut lacking: BTreeMap<(bool, TrackId), (ParticipantId, BTreeSet<ParticipantId>)> = BTreeMap::new();
    for viewer in participants.values().filter(|viewer| viewer.kind == Kind::Web) {
        for track in viewer.lacked() {
            if let Some(&(is_camera, owner)) = owners.get(&track) {
                let entry = lacking.entry((is_camera, track));
                let (_, viewers) = entry.or_insert_with(|| (owner.to_owned(), BTreeSet::new()));
                viewers.insert(viewer.id.clone());
            }
        }
    }
    lacking
        .into_iter()
        .take(most)
        .map(|((_, track), wanted)| (track, wanted))
        .collect()
}

/// Whether the bytes are a WebP file (RIFF container, RFC 9649, section 2.4) of just that length.
pub fn is_webp(image: &[u8]) -> bool {
    let Some((head, _)) = image.split_first_chunk::<12>() else {
        return false;
    };
    let [r, i, f, g, a, b, c, d, w, e, p, v] = *head;
    let size = u32::from_le_bytes([a, b, c, d]) as usize;
    [r, i, f, g, w, e, p, v] == *b"RIFFWEBP" && size.checked_add(8) == Some(image.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_still_takes_what_is_left_but_always_something_and_never_more_than_it_may() {
        for (spare, most, rate) in [
            (None, 200_000, FIRST_RATE),
            (Some(1), 200_000, LEAST_RATE),
            (Some(30_000), 200_000, 30_000),
            (Some(5_000_000), 200_000, 200_000),
            (Some(5_000_000), 0, 5_000_000),
        ] {
            let link = StillLink::default();
            if let Some(spare) = spare {
                link.set_spare(spare);
            }
            assert_eq!(link.rate(most), rate, "{spare:?} {most}");
        }
    }

    #[test]
    fn only_whole_webp_files_are_taken_for_such() {
        let file = |size: u32, kind: &[u8; 4], body: usize| {
            let mut bytes = b"RIFF".to_vec();
            bytes.extend(size.to_le_bytes());
            bytes.extend(kind);
            bytes.resize(12 + body, 0);
            bytes
        };
        for (bytes, expected) in [
            (file(14, b"WEBP", 10), true),
            (file(15, b"WEBP", 10), false),
            (file(u32::MAX, b"WEBP", 10), false),
            (file(14, b"WAVE", 10), false),
            (b"RIFF".to_vec(), false),
            (vec![], false),
        ] {
            assert_eq!(is_webp(&bytes), expected, "{bytes:?}");
        }
    }
}
