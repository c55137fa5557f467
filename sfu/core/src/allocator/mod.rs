//! Turns the bandwidth of one subscriber's connection into what each of its slots sends. Pure: it takes
//! plain values and `now`, and fills a buffer. `docs/allocation.md` tells the rules.

mod allocation;
pub mod announce;
mod arithmetic;
mod demand;
mod gate;
mod ladder;
mod redundancy;
mod share;
#[cfg(test)]
mod test_util;
#[cfg(test)]
mod tests;
pub mod uplink;
mod video;
mod voice;

use std::time::Instant;

use crate::units::Bitrate;

pub use allocation::{Allocation, Choice, Layer, PauseCause, Shortage, SlotAllocation, Voice, VoiceLayer, Wish};
use arithmetic::{minus, plus, times};
pub use demand::{
    AudioDemand, Demand, LayerState, Link, LowVoice, MAX_TEMPORAL, MeasuredRate, Mode, VideoDemand, VideoLayer,
    VideoSource, VoiceRate,
};
use share::Budget;
use video::Videos;
use voice::Voices;

/// Of the estimate, what is not planned: RTCP, and the swings of encoders from second to second. What is sent
/// already may eat into it, so an estimate that swings by as much changes nothing.
const RESERVE: f64 = 0.05;

/// Losses beyond this are not repaired by sending again: more would be spent on it than on pictures.
const MOST_REPAIRED_LOSS: f32 = 0.5;

/// A link this slow that loses so much is for speech alone: a picture of which each key frame takes a second, and a part
/// is sent again, would cost words.
const FOR_SPEECH_BELOW: Bitrate = Bitrate::kbps(150);
const FOR_SPEECH_LOSS: f32 = 0.1;

/// An estimate that losses alone hold below this does not take a voice its redundancy: a bundled voice and its
/// repetition take 76 kbit/s, with margin and reserve this; the worst links that speech is to survive carry 100.
const VOICE_FLOOR: Bitrate = Bitrate::kbps(95);

/// The allocator of one subscriber's connection. It remembers what each slot sends, so that quality does not flap.
#[derive(Debug, Default)]
pub struct Allocator {
    voices: Voices,
    videos: Videos,
}

impl Allocator {
    /// Decides what each slot sends. Worth running when the estimate has changed (no more often than every 100 ms),
    /// and at once when a slot's source, height or voice has.
    pub fn allocate(&mut self, now: Instant, link: &Link, demands: &[Demand], allocation: &mut Allocation) {
        self.voices.begin();
        self.videos.begin(demands.len());
        allocation.pauses_changed.clear();
        allocation.slots.clear();
        allocation.slots.resize(demands.len(), SlotAllocation::default());
        for (slot, demand) in demands.iter().enumerate() {
            match demand {
                Demand::Empty => self.videos.clear(slot),
                Demand::Audio(audio) => {
                    self.videos.clear(slot);
                    self.voices.add(slot, *audio);
                }
                Demand::Video(video) => self.videos.add(now, slot, video, link),
            }
        }
        let cap = match link.mode {
            Mode::SaveData { cap } => cap,
            Mode::Normal | Mode::AudioOnly => Bitrate(u64::MAX),
        };
        let total = minus(link.estimate.min(cap), link.reserved);
        let planned = times(total, 1.0 - RESERVE);
        let floor = times(
            minus(link.lossless.min(VOICE_FLOOR).min(cap), link.reserved),
            1.0 - RESERVE,
        );
        self.voices.choose(now, link, planned.max(floor), self.videos.any());
        let sent_once = sent_once(link);
        let is_for_speech = total < FOR_SPEECH_BELOW && link.loss >= FOR_SPEECH_LOSS;
        let left = |rate: Bitrate| times(minus(minus(rate.min(cap), link.reserved), self.voices.takes), sent_once);
        let budget = match is_for_speech {
            true => Budget::default(),
            false => Budget {
                keep: left(link.estimate.max(link.undrained)),
                grow: times(minus(planned, self.voices.takes), sent_once),
            },
        };
        self.videos.choose(now, budget);

        self.put_voices(allocation);
        let unshown = match link.mode {
            Mode::AudioOnly => PauseCause::Unwanted,
            Mode::Normal | Mode::SaveData { .. } => PauseCause::NotShown,
        };
        let video = self.videos.put(demands, unshown, allocation);
        allocation.voices = self.voices.heard.min(usize::from(u8::MAX)) as u8;
        allocation.allocated = plus(self.voices.takes, video);
        let wanted = plus(self.voices.desired, times(self.videos.desired(), 1.0 / sent_once));
        let planned = wanted.max(self.voices.desired_budget);
        // Rounded up: with an estimate of just this everything must fit.
        let total = plus(times(planned, 1.0 / (1.0 - RESERVE)), Bitrate(1_000));
        allocation.desired = plus(total, link.reserved).min(cap);
    }

    /// More of the slot waits before the link than may: it was interrupted, and goes on with a smaller layer.
    pub fn on_congestion(&mut self, now: Instant, slot: usize) {
        self.videos.on_congestion(now, slot);
    }

    /// A new offer has put the slots into another order: `place` tells where each is now, of `slots`.
    pub fn move_slots(&mut self, slots: usize, place: impl Fn(usize) -> Option<usize>) {
        self.videos.move_slots(slots, place);
    }

    fn put_voices(&self, allocation: &mut Allocation) {
        for plan in &self.voices.plans {
            allocation.slots[plan.slot] = SlotAllocation {
                choice: plan
                    .voice
                    .map_or(Choice::Paused(PauseCause::NoBandwidth), Choice::Audio),
                wish: plan.voice.map_or(Wish::Nothing, |_| Wish::Audio(plan.wish)),
                shortage: if plan.voice.is_some() {
                    Shortage::None
                } else {
                    Shortage::Nothing
                },
                affordable: Bitrate(0),
            };
        }
    }
}

/// The share of video that is not sent a second time because it was lost, or once more because it was lost twice.
fn sent_once(link: &Link) -> f64 {
    let loss = if link.loss.is_finite() { link.loss } else { 0.0 };
    let loss = f64::from(loss.clamp(0.0, MOST_REPAIRED_LOSS));
    1.0 - loss * (1.0 + loss)
}
