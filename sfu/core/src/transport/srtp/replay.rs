//! Replay protection (RFC 3711, section 3.3.2): a sliding window over packet indices.

/// Remembers which of the last `WORDS × 64` indices below the highest were seen.
#[derive(Clone, Debug)]
pub struct ReplayWindow<const WORDS: usize> {
    highest: u64,
    seen: [u64; WORDS],
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    const SIZE: u64 = WORDS as u64 * 64;

    /// A window that has seen only `first`.
    pub fn new(first: u64) -> Self {
        let mut window = Self {
            highest: first,
            seen: [0; WORDS],
        };
        window.set(first);
        window
    }

    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// False for an index that was seen, and for one so old that nobody knows.
    pub fn is_new(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        let (word, bit) = Self::position(index);
        self.highest - index < Self::SIZE && self.seen[word] & bit == 0
    }

    /// Marks `index` as seen; only for one that [`Self::is_new`] and whose packet is authentic.
    pub fn insert(&mut self, index: u64) {
        if index > self.highest {
            if index - self.highest >= Self::SIZE {
                self.seen = [0; WORDS];
            } else {
                for skipped in self.highest + 1..index {
                    let (word, bit) = Self::position(skipped);
                    self.seen[word] &= !bit;
                }
            }
            self.highest = index;
        }
        self.set(index);
    }

    fn set(&mut self, index: u64) {
        let (word, bit) = Self::position(index);
        self.seen[word] |= bit;
    }

    fn position(index: u64) -> (usize, u64) {
        let slot = index % Self::SIZE;
        ((slot / 64) as usize, 1 << (slot % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_passes_once() {
        let mut window = ReplayWindow::<2>::new(1000);
        for (index, expected) in [
            (1000, false),
            (1001, true),
            (1001, false),
            (999, true),
            (999, false),
            (1100, true),
            (1050, true),
            (1000, false),
            (972, false), // 128 behind: too old to know
            (973, true),
            (1300, true), // further than the window is wide
            (1173, true),
            (1172, false),
            (1428, true),
            (1301, true),
            (1300, false),
        ] {
            assert_eq!(window.is_new(index), expected, "{index}");
            if expected {
                window.insert(index);
            }
        }
    }

    #[test]
    fn agrees_with_a_set() {
        let mut window = ReplayWindow::<2>::new(0);
        let mut seen = std::collections::HashSet::from([0_u64]);
        let (mut highest, mut state) = (0_u64, 7_u64);
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let index = (highest + (state >> 33) % 190).saturating_sub(150);
            let expected = !seen.contains(&index) && (index > highest || highest - index < 128);
            assert_eq!(window.is_new(index), expected);
            if expected {
                window.insert(index);
                seen.insert(index);
                highest = highest.max(index);
            }
        }
    }
}
