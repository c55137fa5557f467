//! Which of the latest frames were left out, by frame number.

/// Frame differences have at most eight bits.
const SIZE: u16 = 256;

#[derive(Clone, Debug, Default)]
pub struct Window {
    newest: Option<u16>,
    /// A bit for each frame number, modulo [`SIZE`]: it was left out.
    dropped: [u64; SIZE as usize / 64],
}

impl Window {
    /// Is the frame ahead of all before?
    pub fn is_new(&self, number: u16) -> bool {
        self.newest
            .is_none_or(|newest| (number.wrapping_sub(newest) as i16) > 0)
    }

    /// A new frame and what became of it. Those between it and the one before have not been seen, so not left out.
    pub fn push(&mut self, number: u16, dropped: bool) {
        let ahead = self.newest.map_or(SIZE, |newest| number.wrapping_sub(newest).min(SIZE));
        for back in 0..ahead {
            self.set(number.wrapping_sub(back), false);
        }
        self.set(number, dropped);
        self.newest = Some(number);
    }

    /// False for frames that were not seen, or too long ago.
    pub fn was_dropped(&self, number: u16) -> bool {
        let back = self.newest.map_or(SIZE, |newest| newest.wrapping_sub(number));
        let bit = number % SIZE;
        back < SIZE && self.dropped[usize::from(bit / 64)] >> (bit % 64) & 1 == 1
    }

    fn set(&mut self, number: u16, dropped: bool) {
        let bit = number % SIZE;
        let word = &mut self.dropped[usize::from(bit / 64)];
        *word = *word & !(1 << (bit % 64)) | u64::from(dropped) << (bit % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_what_was_left_out_and_not_what_was_never_seen() {
        let mut window = Window::default();
        for (number, dropped) in [(65_530, true), (65_534, false), (2, true), (5, true)] {
            assert!(window.is_new(number));
            window.push(number, dropped);
        }
        for (number, dropped) in [
            (65_530, true),
            (65_531, false),
            (65_534, false),
            (1, false),
            (2, true),
            (5, true),
            (6, false),
        ] {
            assert_eq!(window.was_dropped(number), dropped, "{number}");
        }
        assert!(!window.is_new(5) && !window.is_new(65_530) && window.is_new(6));
        window.push(250, false);
        assert!(window.was_dropped(2) && !window.was_dropped(65_530), "a lap ago");
        window.push(30_000, false);
        assert!(!window.was_dropped(29_954), "2 modulo 256");
    }
}
