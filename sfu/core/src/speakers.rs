//! Who speaks: the loudest speakers and the dominant one (after Volfin & Cohen), of one room.

mod activity;

use std::hash::Hash;
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::worker_api::AUDIO_LEVEL_INTERVAL;
use activity::{Activity, MAX_LOUDNESS};

/// By how much (natural logarithm of score ratios) a speaker must beat the dominant one over the
/// immediate, medium and long span: C1, C2, C3 of Jitsi's and mediasoup's implementations. In
/// effect the dominant speaker has to pause for a moment and to have spoken less of late.
const C1: f32 = 3.0;
const C2: f32 = 2.0;
const C3: f32 = 0.0;
/// Blocks of speech in the last second (of five) without which nobody gets the floor: more than a
/// cough has.
const MIN_BLOCKS: u32 = 3;
/// One who talks over a dominant speaker that never pauses (noise, music) gets the floor by being
/// that much louder for so many slots: 1.5 s.
const OVERTAKE_DB: f32 = 12.0;
const OVERTAKE_SLOTS: u64 = 30;

/// "Clearly louder", in dB: to pass another in an order or to take its place.
const LOUDER_DB: f32 = 6.0;
/// A place among the loudest is kept at least that long, in slots: 1 s.
const MIN_HOLD_SLOTS: u64 = 20;
/// A pause of speech in which nothing that is no speech takes its place, in slots: 2 s.
const THOUGHT_SLOTS: u64 = 40;
/// Who has spoken that much more of late, in slots, gives his place to one who begins to speak: 5 s.
const TURN_SLOTS: f32 = 100.0;
/// Those unheard for so long are forgotten, 5 s.
const FORGET_SLOTS: u64 = 100;

/// Takes samples about every [`AUDIO_LEVEL_INTERVAL`] per speaking track; a track without samples
/// is silent. Work and memory go with those heard in the last seconds.
#[derive(Clone, Debug)]
pub struct SpeakerDetector<Id> {
    max_loudest: usize,
    /// Slot 0 begins here.
    epoch: Option<Instant>,
    speakers: FxHashMap<Id, Activity>,
    dominant: Option<Id>,
    /// Talks over the dominant one, louder, since this slot.
    rival: Option<(Id, u64)>,
    loudest: Vec<Place<Id>>,
    speaking: Vec<Id>,
    /// What `remove` changed, for the next update to tell.
    owed: SpeakerChange,
}

/// One of the loudest.
#[derive(Clone, Copy, Debug)]
struct Place<Id> {
    id: Id,
    since: u64,
}

/// What an update changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpeakerChange {
    pub dominant: bool,
    /// Members or order of [`SpeakerDetector::loudest`].
    pub loudest: bool,
    /// Members or order of [`SpeakerDetector::speaking`].
    pub speaking: bool,
}

impl<Id: Copy + Eq + Hash + Ord> SpeakerDetector<Id> {
    /// Keeps up to `max_loudest` tracks among the loudest.
    pub fn new(max_loudest: usize) -> Self {
        Self {
            max_loudest,
            epoch: None,
            speakers: FxHashMap::default(),
            dominant: None,
            rival: None,
            loudest: Vec::with_capacity(max_loudest),
            speaking: Vec::new(),
            owed: SpeakerChange::default(),
        }
    }

    /// `level` in −dBov as in RFC 6464: 0 is loudest, 127 silence.
    pub fn on_level(&mut self, now: Instant, id: Id, level: u8, voice: bool) {
        self.on_level_of(now, id, None, level, voice);
    }

    /// The same of a track of `group`, of which one has a place among the loudest at a time.
    pub fn on_level_of(&mut self, now: Instant, id: Id, group: Option<u64>, level: u8, voice: bool) {
        let slot = self.slot(now);
        let activity = self.speakers.entry(id).or_insert_with(|| Activity::new(slot));
        activity.group = group;
        activity.on_sample(slot, MAX_LOUDNESS - level.min(MAX_LOUDNESS), voice);
    }

    /// The track ended or was muted. If it was dominant, nobody is until another speaks.
    pub fn remove(&mut self, id: Id) {
        self.speakers.remove(&id);
        self.rival = self.rival.filter(|&(rival, _)| rival != id);
        if self.dominant == Some(id) {
            self.dominant = None;
            self.owed.dominant = true;
        }
        let (places, speaking) = (self.loudest.len(), self.speaking.len());
        self.loudest.retain(|place| place.id != id);
        self.speaking.retain(|&speaker| speaker != id);
        self.owed.loudest |= self.loudest.len() < places;
        self.owed.speaking |= self.speaking.len() < speaking;
    }

    /// Looks at all anew; call it after a batch of levels, and now and then while
    /// [`Self::speaking`] is not empty. `None`: nothing changed since the last update.
    pub fn update(&mut self, now: Instant) -> Option<SpeakerChange> {
        let slot = self.slot(now);
        self.forget_silent(slot);
        let mut change = std::mem::take(&mut self.owed);
        change.speaking |= self.update_speaking(slot);
        change.dominant |= self.update_dominant(slot);
        change.loudest |= self.update_loudest(slot);
        (change != SpeakerChange::default()).then_some(change)
    }

    /// Who has the floor; stays when it falls silent, until another speaks.
    pub fn dominant(&self) -> Option<Id> {
        self.dominant
    }

    /// The first `count` of the tracks to forward: the dominant one first, then those that speak,
    /// then those that spoke last. Changes only where another is clearly louder.
    pub fn loudest(&self, count: usize) -> impl Iterator<Item = Id> + '_ {
        self.loudest.iter().take(count).map(|place| place.id)
    }

    /// Those with voice now, the loudest first.
    pub fn speaking(&self) -> &[Id] {
        &self.speaking
    }

    fn slot(&mut self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(now);
        (now.saturating_duration_since(epoch).as_nanos() / AUDIO_LEVEL_INTERVAL.as_nanos()) as u64
    }

    fn forget_silent(&mut self, slot: u64) {
        let kept = |id: &Id| self.dominant == Some(*id) || self.loudest.iter().any(|place| place.id == *id);
        self.speakers
            .retain(|id, activity| activity.idle_slots(slot) < FORGET_SLOTS || kept(id));
    }

    fn loudness(&self, id: Id, slot: u64) -> f32 {
        self.speakers
            .get(&id)
            .map_or(0.0, |activity| activity.loudness_at(slot))
    }

    fn is_speaking(&self, id: Id, slot: u64) -> bool {
        self.speakers
            .get(&id)
            .is_some_and(|activity| activity.is_speaking(slot))
    }

    fn is_lively(&self, id: Id, slot: u64) -> bool {
        self.speakers.get(&id).is_some_and(|activity| activity.is_lively(slot))
    }

    fn is_dull(&self, id: Id, slot: u64) -> bool {
        self.speakers.get(&id).is_some_and(|activity| activity.is_dull(slot))
    }

    fn airtime(&self, id: Id, slot: u64) -> f32 {
        self.speakers.get(&id).map_or(0.0, |activity| activity.airtime_at(slot))
    }

    fn silent_slots(&self, id: Id, slot: u64) -> u64 {
        self.speakers
            .get(&id)
            .map_or(u64::MAX, |activity| activity.silent_slots(slot))
    }

    fn group(&self, id: Id) -> Option<u64> {
        self.speakers.get(&id)?.group
    }

    fn update_speaking(&mut self, slot: u64) -> bool {
        let mut speaking = std::mem::take(&mut self.speaking);
        let before = speaking.clone();
        speaking.retain(|&id| self.is_speaking(id, slot));
        let known = speaking.len();
        let newcomers = self.speakers.iter().filter(|(_, activity)| activity.is_speaking(slot));
        speaking.extend(newcomers.map(|(&id, _)| id).filter(|id| !before.contains(id)));
        // A map's order is no order.
        speaking[known..].sort_unstable();
        pass_louder(&mut speaking, |&id| self.loudness(id, slot));
        self.speaking = speaking;
        self.speaking != before
    }

    fn update_dominant(&mut self, slot: u64) -> bool {
        let before = self.dominant;
        let incumbent = self.dominant.and_then(|id| self.speakers.get(&id));
        let incumbent = incumbent.map(|activity| activity.scores(slot));
        let mut best: Option<(f32, Id)> = None;
        for &id in &self.speaking {
            let Some(activity) = self.speakers.get(&id) else {
                continue;
            };
            if self.dominant == Some(id) || activity.blocks(slot) < MIN_BLOCKS || self.must_wait(id, slot) {
                continue;
            }
            let scores = activity.scores(slot);
            let lead = match incumbent {
                None => scores.medium,
                // However loud it is, a level that stands still gives way to speech.
                Some(_) if self.outranks(id, self.dominant, slot) => scores.medium,
                Some(other) => {
                    let c1 = f32::ln(scores.immediate / other.immediate);
                    let c2 = f32::ln(scores.medium / other.medium);
                    let c3 = f32::ln(scores.long / other.long);
                    if c1 <= C1 || c2 <= C2 || c3 <= C3 {
                        continue;
                    }
                    c2
                }
            };
            // On a tie the louder stays, which comes first.
            if best.is_none_or(|(other, _)| lead > other) {
                best = Some((lead, id));
            }
        }
        let winner = best.map(|(_, id)| id).or_else(|| self.overtaker(slot));
        if winner.is_some() {
            self.dominant = winner;
            self.rival = None;
        }
        self.dominant != before
    }

    /// Speech against something that is none.
    fn outranks(&self, id: Id, other: Option<Id>, slot: u64) -> bool {
        other.is_some_and(|other| self.is_dull(other, slot)) && self.is_lively(id, slot)
    }

    /// One that is no speech does not take the floor in another's pause for thought.
    fn must_wait(&self, id: Id, slot: u64) -> bool {
        let Some(dominant) = self.dominant else { return false };
        self.is_lively(dominant, slot) && self.yields_to(dominant, id, slot)
    }

    /// A dull newcomer finds a lively speaker in his place until that one has been silent for [`THOUGHT_SLOTS`].
    fn yields_to(&self, holder: Id, newcomer: Id, slot: u64) -> bool {
        !self.is_lively(newcomer, slot)
            && self.is_lively(holder, slot)
            && self.silent_slots(holder, slot) < THOUGHT_SLOTS
    }

    /// Who has been talking over the dominant one for long enough.
    fn overtaker(&mut self, slot: u64) -> Option<Id> {
        let dominant = self.dominant?;
        let level = self.loudness(dominant, slot) + OVERTAKE_DB;
        let is_rival = |id: Id| {
            id != dominant
                && !self.must_wait(id, slot)
                && self.loudness(id, slot) >= level
                && self
                    .speakers
                    .get(&id)
                    .is_some_and(|activity| activity.blocks(slot) == Activity::MAX_BLOCKS)
        };
        self.rival = match self.rival {
            Some((rival, since)) if is_rival(rival) => Some((rival, since)),
            _ => self.speaking.iter().find(|&&id| is_rival(id)).map(|&id| (id, slot)),
        };
        let (rival, since) = self.rival?;
        (slot - since >= OVERTAKE_SLOTS).then_some(rival)
    }

    fn update_loudest(&mut self, slot: u64) -> bool {
        let mut places = std::mem::take(&mut self.loudest);
        let before: Vec<Id> = places.iter().map(|place| place.id).collect();
        let dominant = self.dominant;
        for &id in dominant.iter().chain(&self.speaking) {
            if places.iter().any(|place| place.id == id) {
                continue;
            }
            let newcomer = Place { id, since: slot };
            let own = self.group(id).and_then(|group| {
                let held = |place: &Place<Id>| self.group(place.id) == Some(group);
                places.iter().position(held)
            });
            if let Some(index) = own {
                // Of one identity the one that has the floor, else who was first.
                if dominant == Some(id) || !self.is_speaking(places[index].id, slot) {
                    places[index] = newcomer;
                }
            } else if places.len() < self.max_loudest {
                places.push(newcomer);
            } else if let Some(index) = self.place_for(id, &places, slot) {
                places[index] = newcomer;
            }
        }
        pass_louder(&mut places, |place| match self.is_speaking(place.id, slot) {
            true => self.loudness(place.id, slot),
            // Silent ones keep their order among each other.
            false => 0.0,
        });
        if let Some(index) = places.iter().position(|place| dominant == Some(place.id)) {
            places[..=index].rotate_right(1);
        }
        self.loudest = places;
        self.loudest(self.max_loudest).ne(before)
    }

    /// The place that one who speaks may take.
    fn place_for(&self, id: Id, places: &[Place<Id>], slot: u64) -> Option<usize> {
        let weakest = self.weakest(places, self.is_lively(id, slot), slot)?;
        if self.dominant == Some(id) || self.may_replace(id, places[weakest], slot) {
            return Some(weakest);
        }
        self.longest_talker(id, places, slot)
    }

    /// The place to give away first: who has been silent for longest, else the softest speaker. Before speech
    /// gives way what is none, unless others have been silent for as long as it takes to be forgotten.
    fn weakest(&self, places: &[Place<Id>], for_speech: bool, slot: u64) -> Option<usize> {
        let silent = |id: Id| match self.is_speaking(id, slot) {
            true if for_speech && self.is_dull(id, slot) => FORGET_SLOTS,
            true => 0,
            false => self.silent_slots(id, slot),
        };
        (0..places.len())
            .filter(|&index| self.dominant != Some(places[index].id))
            .max_by(|&a, &b| {
                let (a, b) = (places[a].id, places[b].id);
                let softer = self.loudness(b, slot).total_cmp(&self.loudness(a, slot));
                silent(a).cmp(&silent(b)).then(softer)
            })
    }

    fn may_replace(&self, newcomer: Id, holder: Place<Id>, slot: u64) -> bool {
        if self.yields_to(holder.id, newcomer, slot) {
            return false;
        }
        if !self.is_speaking(holder.id, slot) || self.outranks(newcomer, Some(holder.id), slot) {
            return true;
        }
        slot - holder.since >= MIN_HOLD_SLOTS
            && self.loudness(newcomer, slot) >= self.loudness(holder.id, slot) + LOUDER_DB
    }

    /// Where all speak, one who has said little of late gets a turn: the place of who has talked the most.
    fn longest_talker(&self, newcomer: Id, places: &[Place<Id>], slot: u64) -> Option<usize> {
        let airtime = |index: &usize| self.airtime(places[*index].id, slot);
        let talker = (0..places.len())
            .filter(|&index| self.dominant != Some(places[index].id))
            .max_by(|a, b| airtime(a).total_cmp(&airtime(b)))?;
        let is_turn = airtime(&talker) >= self.airtime(newcomer, slot) + TURN_SLOTS;
        let held = slot - places[talker].since >= MIN_HOLD_SLOTS;
        (is_turn && held && self.is_lively(newcomer, slot)).then_some(talker)
    }
}

/// Moves items ahead of those that they are clearly louder than, and leaves the order else.
fn pass_louder<T>(items: &mut [T], loudness: impl Fn(&T) -> f32) {
    for sorted in 1..items.len() {
        let mut index = sorted;
        while index > 0 && loudness(&items[index]) >= loudness(&items[index - 1]) + LOUDER_DB {
            items.swap(index, index - 1);
            index -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
