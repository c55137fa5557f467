//! Shares one bit rate out among videos, by rank: first what each needs to be seen at all, then more.

use super::arithmetic::{minus, plus, times};
use super::ladder::{Ladder, Rung};
use crate::units::Bitrate;

/// Before more is sent, this much more than it takes must be free. Between libwebrtc's tenth for a stream that
/// comes back (`kToggleFactor`) and Jitsi's 15 % that an estimate must change to count (`bwe-change-threshold`).
pub(super) const MARGIN: f64 = 1.15;

/// Who gets bandwidth first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Screen,
    ActiveSpeaker,
    Viewport,
}

/// One video that wants its share.
#[derive(Debug)]
pub(super) struct Contender {
    pub slot: usize,
    pub rank: Rank,
    pub order: u16,
    pub ladder: Ladder,
    /// Where its picture begins to be of use.
    pub comfort: Option<usize>,
    /// The rung that is sent now; `None`: nothing.
    pub current: Option<usize>,
    /// Up to where its picture begins to be of use it is held against what is sent now, not against peaks: somebody is
    /// to be seen moving.
    pub by_now: bool,
    /// It stands still and has waited for long: it may begin without a margin, for what it needs is little.
    pub has_waited: bool,
    /// What its link carries is looked for.
    pub is_probed: bool,
    /// No rung above this one, and none at all where it is `None`.
    pub ceiling: Option<usize>,
    pub granted: Option<usize>,
}

impl Contender {
    pub fn rung(&self) -> Option<&Rung> {
        self.ladder.rungs().get(self.granted?)
    }

    fn is_prominent(&self) -> bool {
        self.rank != Rank::Viewport
    }
}

/// What there is to share.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Budget {
    /// What is sent may take this much until something is taken away.
    pub keep: Bitrate,
    /// More is sent only within this.
    pub grow: Bitrate,
}

/// What has been spent of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purse {
    budget: Budget,
    now: Bitrate,
    peak: Bitrate,
}

impl Purse {
    /// What may still grow, with all that is sent at its peak.
    pub fn spare(&self) -> Bitrate {
        minus(self.budget.grow, self.peak.max(self.now))
    }

    /// Grants the rung at `to` if that is affordable.
    fn grant(&mut self, contender: &mut Contender, to: usize) -> bool {
        let rung = contender.ladder.rungs()[to];
        let (now, peak) = match contender.rung() {
            Some(old) => (minus(self.now, old.now), minus(self.peak, old.peak)),
            None => (self.now, self.peak),
        };
        // Where nobody looks for more, an estimate does not grow beyond what is sent: then everything must begin somehow.
        let begins = |rate: Bitrate| match contender.is_probed {
            true => rate.max(rung.least),
            false => rate,
        };
        let fits = if contender.current >= Some(to) {
            plus(now, rung.now) <= self.budget.keep
        } else if contender.by_now && Some(to) <= contender.comfort {
            let margin = if contender.has_waited && to == 0 { 1.0 } else { MARGIN };
            plus(now, times(begins(rung.now), margin)) <= self.budget.grow
        } else {
            plus(peak, times(begins(rung.peak), MARGIN)) <= self.budget.grow
        };
        if fits {
            (self.now, self.peak) = (plus(now, rung.now), plus(peak, rung.peak));
            contender.granted = Some(to);
        }
        fits
    }

    /// The highest rung up to `limit` that is affordable.
    fn climb(&mut self, contender: &mut Contender, limit: Option<usize>) {
        let Some(limit) = limit.min(contender.ceiling) else {
            return;
        };
        let from = contender.granted.map_or(0, |granted| granted + 1);
        for to in (from..=limit).rev() {
            if self.grant(contender, to) {
                return;
            }
        }
    }

    /// The next rung that is affordable. False: there is none.
    fn step(&mut self, contender: &mut Contender) -> bool {
        let Some(limit) = contender.ceiling else { return false };
        let from = contender.granted.map_or(0, |granted| granted + 1);
        (from..=limit).any(|to| self.grant(contender, to))
    }
}

/// Shares `budget` out among `contenders`, which are sorted by rank and order.
pub(super) fn share(contenders: &mut [Contender], budget: Budget) -> Purse {
    let mut purse = Purse {
        budget,
        now: Bitrate(0),
        peak: Bitrate(0),
    };
    for contender in &mut *contenders {
        contender.granted = None;
    }
    for contender in contenders.iter_mut().filter(|contender| contender.is_prominent()) {
        purse.climb(contender, contender.comfort);
    }
    for contender in contenders.iter_mut().filter(|contender| contender.granted.is_none()) {
        purse.step(contender);
    }
    for contender in contenders.iter_mut().filter(|contender| contender.is_prominent()) {
        purse.climb(contender, contender.ceiling);
    }
    // Tiles of a grid grow together, a rung each round.
    let mut grew = true;
    while grew {
        grew = false;
        for contender in contenders.iter_mut().filter(|contender| !contender.is_prominent()) {
            grew |= purse.step(contender);
        }
    }
    purse
}

#[cfg(test)]
mod tests {
    use super::super::test_util::{camera, kbps, screen};
    use super::super::{VideoDemand, VideoSource};
    use super::*;

    fn contender(slot: usize, rank: Rank, demand: &VideoDemand) -> Contender {
        let ladder = Ladder::new(demand);
        Contender {
            slot,
            rank,
            order: slot as u16,
            comfort: ladder.comfort(demand),
            ceiling: ladder.top(),
            ladder,
            current: None,
            by_now: false,
            has_waited: false,
            is_probed: true,
            granted: None,
        }
    }

    /// Layers of 60, 90, 150; 300, 500; 1,000, 1,500 kbit/s (of a screen 60, 200, 600, 1,000, 1,500).
    fn granted(kbit: u64, ranks: &[Rank]) -> Vec<Option<(u8, u8)>> {
        let mut contenders: Vec<Contender> = ranks
            .iter()
            .enumerate()
            .map(|(slot, &rank)| {
                let demand = if rank == Rank::Screen { screen(720) } else { camera(720) };
                assert_eq!(demand.source == VideoSource::Screen, rank == Rank::Screen);
                contender(slot, rank, &demand)
            })
            .collect();
        let budget = Budget {
            keep: kbps(kbit),
            grow: kbps(kbit),
        };
        share(&mut contenders, budget);
        contenders
            .iter()
            .map(|contender| contender.rung().map(|rung| (rung.layer.spatial, rung.layer.temporal)))
            .collect()
    }

    #[test]
    fn everybody_gets_a_picture_then_the_prominent_grow_then_the_grid_evenly() {
        use Rank::{ActiveSpeaker, Screen, Viewport};
        for (kbit, ranks, expected) in [
            (60, &[Viewport][..], &[None][..]),
            (69, &[Viewport], &[Some((0, 0))]),
            // One slow picture is better than none, and the first in the viewport has it.
            (120, &[Viewport, Viewport], &[Some((0, 1)), None]),
            (135, &[Viewport, Viewport], &[Some((0, 0)), Some((0, 0))]),
            (350, &[Viewport, Viewport], &[Some((0, 2)), Some((0, 2))]),
            // The speaker moves before the others are seen.
            (
                250,
                &[ActiveSpeaker, Viewport, Viewport],
                &[Some((0, 2)), Some((0, 0)), None],
            ),
            (
                800,
                &[ActiveSpeaker, Viewport, Viewport],
                &[Some((1, 2)), Some((0, 2)), Some((0, 1))],
            ),
            // A screen is readable before anybody else is seen, and sharp before the speaker grows.
            (250, &[Screen, ActiveSpeaker], &[Some((1, 0)), None]),
            (
                900,
                &[Screen, ActiveSpeaker, Viewport],
                &[Some((2, 0)), Some((0, 2)), Some((0, 1))],
            ),
            (
                9_000,
                &[Screen, ActiveSpeaker, Viewport],
                &[Some((2, 2)), Some((2, 2)), Some((2, 2))],
            ),
        ] {
            assert_eq!(granted(kbit, ranks), expected, "{kbit} {ranks:?}");
        }
    }

    #[test]
    fn never_more_is_granted_than_there_is() {
        for kbit in (0..5_000).step_by(37) {
            let ranks = [Rank::Screen, Rank::ActiveSpeaker, Rank::Viewport, Rank::Viewport];
            let mut contenders: Vec<Contender> = ranks
                .iter()
                .enumerate()
                .map(|(slot, &rank)| contender(slot, rank, &camera(720)))
                .collect();
            let budget = Budget {
                keep: kbps(kbit),
                grow: kbps(kbit),
            };
            share(&mut contenders, budget);
            let sum: u64 = contenders
                .iter()
                .filter_map(|contender| Some(contender.rung()?.peak.0))
                .sum();
            assert!(sum <= kbit * 1_000, "{kbit}: {sum}");
        }
    }
}
