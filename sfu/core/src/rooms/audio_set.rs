//! Which audio tracks of a room are forwarded, and in which slots of a session they stand.

use crate::units::TrackId;

/// The forwarded tracks of a room, the most wanted first. A few more are kept than a listener gets,
/// for the listeners who are among them themselves.
#[derive(Debug, Default)]
pub(super) struct AudioSet {
    order: Vec<TrackId>,
}

impl AudioSet {
    pub(super) fn order(&self) -> &[TrackId] {
        &self.order
    }

    /// Takes, up to `size` and in this order: `wanted`; whoever was in before and is still among
    /// `candidates`; then `candidates`. True where the set or its order changed.
    pub(super) fn update(
        &mut self,
        size: usize,
        wanted: impl Iterator<Item = TrackId>,
        candidates: &[TrackId],
    ) -> bool {
        let before = self.order.iter().copied().filter(|track| candidates.contains(track));
        let mut next: Vec<TrackId> = Vec::with_capacity(size);
        for track in wanted.chain(before).chain(candidates.iter().copied()) {
            if next.len() == size {
                break;
            }
            if !next.contains(&track) {
                next.push(track);
            }
        }
        let changed = next != self.order;
        self.order = next;
        changed
    }
}

/// Puts `wanted` into `slots`: who stays in keeps its slot, a newcomer takes the slot that
/// `preferred` names if it is free, else the first free one. `wanted` past the number of slots is
/// left out.
pub(super) fn assign(slots: &mut [Option<TrackId>], wanted: &[TrackId], preferred: impl Fn(TrackId) -> Option<usize>) {
    let wanted = &wanted[..wanted.len().min(slots.len())];
    for slot in slots.iter_mut() {
        if slot.is_some_and(|track| !wanted.contains(&track)) {
            *slot = None;
        }
    }
    let mut rest = Vec::new();
    for &track in wanted {
        if slots.contains(&Some(track)) {
            continue;
        }
        match preferred(track).and_then(|index| slots.get_mut(index)) {
            Some(slot @ None) => *slot = Some(track),
            _ => rest.push(track),
        }
    }
    for track in rest {
        if let Some(slot) = slots.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(track);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u32]) -> Vec<TrackId> {
        numbers.iter().copied().map(TrackId).collect()
    }

    #[test]
    fn the_set_changes_only_where_it_must() {
        // (wanted, candidates, expected), one after the other, four in the set
        let table: &[(&[u32], &[u32], &[u32])] = &[
            (&[], &[1, 2], &[1, 2]),
            (&[], &[1, 2, 3, 4, 5], &[1, 2, 3, 4]),
            // 5 begins to speak: the lowest of the silent ones leaves
            (&[5], &[1, 2, 3, 4, 5], &[5, 1, 2, 3]),
            // nobody is wanted any more: all stay
            (&[], &[1, 2, 3, 4, 5], &[5, 1, 2, 3]),
            (&[2, 4], &[1, 2, 3, 4, 5], &[2, 4, 5, 1]),
            // 2 and 4 are gone
            (&[], &[1, 3, 5], &[5, 1, 3]),
            (&[], &[], &[]),
        ];
        let mut set = AudioSet::default();
        for (wanted, candidates, expected) in table {
            let before = set.order().to_vec();
            let changed = set.update(4, ids(wanted).into_iter(), &ids(candidates));
            assert_eq!(set.order(), ids(expected), "{wanted:?} {candidates:?}");
            assert_eq!(changed, before != ids(expected));
        }
    }

    #[test]
    fn tracks_keep_their_slots_and_newcomers_prefer_theirs() {
        // (slots before, wanted, slots after); track 9 prefers slot 2, track 8 slot 0
        let table: &[(&[u32], &[u32], &[u32])] = &[
            (&[0, 0, 0], &[1, 2], &[1, 2, 0]),
            (&[1, 2, 0], &[2], &[0, 2, 0]),
            (&[0, 2, 0], &[3, 2, 9], &[3, 2, 9]),
            (&[1, 2, 3], &[1, 2, 9], &[1, 2, 9]),
            // its preferred slot is taken by one that stays
            (&[1, 2, 3], &[1, 3, 8], &[1, 8, 3]),
            // who prefers a free slot goes before who does not
            (&[0, 0, 0], &[1, 8], &[8, 1, 0]),
            (&[1, 0, 0], &[1, 2, 3, 4], &[1, 2, 3]),
        ];
        let slots_of =
            |numbers: &[u32]| -> Vec<_> { numbers.iter().map(|&n| (n != 0).then_some(TrackId(n))).collect() };
        for (before, wanted, after) in table {
            let mut slots = slots_of(before);
            assign(&mut slots, &ids(wanted), |track| match track.0 {
                9 => Some(2),
                8 => Some(0),
                _ => None,
            });
            assert_eq!(slots, slots_of(after), "{before:?} {wanted:?}");
        }
    }
}
