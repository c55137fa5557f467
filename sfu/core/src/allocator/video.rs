//! The videos of a connection: what each sends now, and what it is to send next.

use std::time::{Duration, Instant};

use super::allocation::{Allocation, Choice, Layer, PauseCause, Shortage, SlotAllocation, Wish};
use super::arithmetic::{plus, times};
use super::gate::{Gate, HOLD};
use super::ladder::{Ladder, is_readable};
use super::share::{Budget, Contender, MARGIN, Rank, share};
use super::{Demand, Link, Mode, VideoDemand, VideoSource};
use crate::units::{Bitrate, TrackId};

/// A key frame, or a slide that changes, may take more than the estimate for so long as the estimate itself does
/// not fall: the pacer spreads it, and nothing has been shown to be lost or late.
const BURST: Duration = Duration::from_secs(2);

/// An estimate this far below the one that carried everything says that the link has become smaller.
const FALL: f64 = 0.05;

/// Where there is so many times as much as when more than this failed, the link is another one.
const ANOTHER_LINK: f64 = 1.5;

/// What is remembered of a slot from run to run.
#[derive(Clone, Copy, Debug, Default)]
struct SlotState {
    track: Option<TrackId>,
    rank: Option<Rank>,
    height: u16,
    /// What was granted, also where it has to be asked for.
    current: Option<Layer>,
    /// Nothing has been decided about what it shows now.
    is_new: bool,
    /// It stands still for want of bandwidth, and the client knows.
    is_paused: bool,
    /// Since the last run, what it sends has piled up.
    is_congested: bool,
    failed: Option<Failure>,
    gate: Gate,
}

/// How an upgrade failed last.
#[derive(Clone, Copy, Debug)]
struct Failure {
    sent: Option<Layer>,
    /// What there was for all videos.
    within: Bitrate,
}

#[derive(Debug, Default)]
pub(super) struct Videos {
    slots: Vec<SlotState>,
    /// The spare room of another order of slots.
    moved: Vec<SlotState>,
    contenders: Vec<Contender>,
    burst: BurstTolerance,
    spare: Bitrate,
    /// Within which was chosen last.
    within: Bitrate,
}

/// Tells a burst of what is sent from a link that has become smaller.
#[derive(Clone, Copy, Debug, Default)]
struct BurstTolerance {
    /// What might be sent when all that was sent fitted last.
    fitted: Bitrate,
    since: Option<Instant>,
}

impl BurstTolerance {
    /// How much what is `sent` may take, of a link that carries `keep`.
    fn allow(&mut self, now: Instant, sent: Bitrate, keep: Bitrate) -> Bitrate {
        if sent <= keep {
            self.fitted = keep;
            self.since = None;
            return keep;
        }
        let since = *self.since.get_or_insert(now);
        let fell = keep < times(self.fitted, 1.0 - FALL);
        if fell || now.saturating_duration_since(since) >= BURST {
            keep
        } else {
            sent
        }
    }
}

impl Videos {
    pub fn begin(&mut self, slots: usize) {
        self.slots.resize(slots, SlotState::default());
        self.contenders.clear();
    }

    /// What the slot sends has piled up before the link, whatever its measured rate says: a smaller layer is next.
    pub fn on_congestion(&mut self, now: Instant, slot: usize) {
        if let Some(state) = self.slots.get_mut(slot)
            && !state.is_congested
        {
            state.is_congested = true;
            state.failed = Some(Failure {
                sent: state.current,
                within: self.within,
            });
            state.gate.on_congestion(now);
        }
    }

    /// The slot shows no video.
    pub fn clear(&mut self, slot: usize) {
        let is_paused = self.slots[slot].is_paused;
        self.slots[slot] = SlotState {
            is_paused,
            ..SlotState::default()
        };
    }

    pub fn add(&mut self, now: Instant, slot: usize, demand: &VideoDemand, link: &Link) {
        let ladder = if demand.height == 0 || link.mode == Mode::AudioOnly {
            Ladder::default()
        } else {
            Ladder::new(demand)
        };
        if ladder.top().is_none() {
            return self.clear(slot);
        }
        let rank = match demand.source {
            VideoSource::Screen => Rank::Screen,
            VideoSource::Camera if demand.is_active_speaker => Rank::ActiveSpeaker,
            VideoSource::Camera => Rank::Viewport,
        };
        let state = &mut self.slots[slot];
        if state.track != Some(demand.track) {
            *state = SlotState {
                track: Some(demand.track),
                is_new: true,
                is_paused: state.is_paused,
                ..SlotState::default()
            };
        }
        if (state.rank, state.height) != (Some(rank), demand.height) {
            (state.rank, state.height) = (Some(rank), demand.height);
            state.gate.waive();
        }
        if state.current.is_none() && state.gate.is_untried() {
            // A picture that was never there cannot flap; whoever joins waits for it.
            state.gate.waive();
        }
        let mut current = state.current.and_then(|layer| ladder.position(layer));
        if std::mem::take(&mut state.is_congested) {
            current = current.map(|at| ladder.below(at, demand.source));
        }
        let is_impatient = state.gate.is_out_of_patience(now, current.is_none());
        self.contenders.push(Contender {
            slot,
            rank,
            order: demand.order,
            comfort: ladder.comfort(demand),
            current,
            by_now: state.is_new || is_impatient,
            has_waited: is_impatient && current.is_none(),
            is_probed: link.is_probed,
            ceiling: None,
            granted: None,
            ladder,
        });
    }

    pub fn any(&self) -> bool {
        !self.contenders.is_empty()
    }

    /// What all of them would take at their tops, with the margin that getting there needs.
    pub fn desired(&self) -> Bitrate {
        let tops = self
            .contenders
            .iter()
            .filter_map(|contender| contender.ladder.rungs().last());
        times(tops.fold(Bitrate(0), |sum, rung| plus(sum, rung.desired)), MARGIN)
    }

    pub fn choose(&mut self, now: Instant, mut budget: Budget) {
        let contenders = &mut self.contenders;
        contenders.sort_unstable_by_key(|contender| (contender.rank, contender.order, contender.slot));
        if let Some(first) = contenders.first_mut() {
            first.by_now = true;
        }
        let sent = contenders
            .iter()
            .filter_map(|contender| Some(contender.ladder.rungs()[contender.current?].now))
            .fold(Bitrate(0), plus);
        budget.keep = self.burst.allow(now, sent, budget.keep);
        let overloaded = sent > budget.keep;
        let within = std::mem::replace(&mut self.within, budget.grow).max(budget.grow);
        // First as if nobody had to wait, to see what fits; whoever failed lately wants no more for now than a
        // picture of use, if it is less than that.
        for contender in &mut *contenders {
            let state = &mut self.slots[contender.slot];
            let is_another_link = |failed: &mut Failure| budget.grow > times(failed.within, ANOTHER_LINK);
            if state.failed.take_if(is_another_link).is_some() {
                state.gate.forget_failures();
            }
            let failed = state.failed.and_then(|failed| failed.sent);
            let may_begin = state.gate.has_backed_off_once(now).then_some(0);
            contender.ceiling = match state.gate.is_backing_off(now) {
                true => contender
                    .current
                    .max(contender.ladder.under(failed).min(contender.comfort))
                    .max(may_begin),
                false => contender.ladder.top(),
            };
        }
        share(contenders, budget);
        for contender in &mut *contenders {
            let gate = &mut self.slots[contender.slot].gate;
            let wanted = contender.current < contender.ceiling;
            let fits = contender.granted > contender.current;
            contender.ceiling = match gate.look_below_failure(now, HOLD, wanted, fits) {
                true => contender.granted,
                false => contender.current,
            };
        }
        self.spare = share(contenders, budget).spare();
        for contender in &*contenders {
            let state = &mut self.slots[contender.slot];
            if contender.granted > contender.current {
                state.gate.on_upgrade(now);
            } else if contender.granted < contender.current && overloaded && state.gate.on_overload(now) {
                let sent = state.current;
                state.failed = Some(Failure { sent, within });
            }
            state.current = contender.rung().map(|rung| rung.layer);
            state.is_new = false;
        }
    }

    /// Writes down what was chosen, and `unshown` for what was not asked for; gives what it takes.
    pub fn put(&mut self, demands: &[Demand], unshown: PauseCause, allocation: &mut Allocation) -> Bitrate {
        let mut takes = Bitrate(0);
        let count = self.contenders.len().max(1);
        let share_of_spare = times(self.spare, 1.0 / count as f64);
        for (slot, demand) in demands.iter().enumerate() {
            if matches!(demand, Demand::Video(_)) {
                allocation.slots[slot].choice = Choice::Paused(unshown);
            }
        }
        for contender in &self.contenders {
            let Demand::Video(demand) = &demands[contender.slot] else {
                continue;
            };
            let (out, now) = slot_allocation(contender, demand, share_of_spare);
            allocation.slots[contender.slot] = out;
            takes = plus(takes, now);
        }
        for (slot, state) in self.slots.iter_mut().enumerate() {
            let is_video = matches!(demands[slot], Demand::Video(_));
            let is_paused = is_video && allocation.slots[slot].choice.lacks_bandwidth();
            if std::mem::replace(&mut state.is_paused, is_paused) != is_paused {
                allocation.pauses_changed.push(slot);
            }
        }
        takes
    }

    pub fn move_slots(&mut self, slots: usize, place: impl Fn(usize) -> Option<usize>) {
        std::mem::swap(&mut self.slots, &mut self.moved);
        self.slots.clear();
        self.slots.resize(slots, SlotState::default());
        for (old, state) in self.moved.drain(..).enumerate() {
            if let Some(slot) = place(old).and_then(|new| self.slots.get_mut(new)) {
                *slot = state;
            }
        }
    }
}

/// What a video's slot sends, and what that takes.
fn slot_allocation(contender: &Contender, demand: &VideoDemand, spare: Bitrate) -> (SlotAllocation, Bitrate) {
    let Some((at, wished)) = contender.granted.zip(contender.rung()) else {
        let out = SlotAllocation {
            choice: Choice::Paused(PauseCause::NoBandwidth),
            wish: Wish::Nothing,
            shortage: Shortage::Nothing,
            affordable: spare,
        };
        return (out, Bitrate(0));
    };
    // Where nothing below it is sent either, the slot waits for what is asked for.
    let sent = contender.ladder.active_below(at).unwrap_or(wished);
    let shortage = match contender.ladder.top() {
        Some(top) if at < top && demand.source == VideoSource::Screen && !is_readable(wished.height, demand.height) => {
            Shortage::Unreadable
        }
        Some(top) if at < top => Shortage::Reduced,
        _ => Shortage::None,
    };
    let out = SlotAllocation {
        choice: Choice::Video(sent.layer),
        wish: Wish::Video(wished.layer),
        shortage,
        affordable: plus(wished.peak, spare),
    };
    (out, sent.now)
}
