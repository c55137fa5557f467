//! Per-SSRC state of the receiving side, bounded whatever the peer sends.

use super::replay::ReplayWindow;
use crate::units::Ssrc;

/// SSRCs of one client whose state is kept; of more, the one heard longest ago is forgotten.
pub(super) const MAX_STREAMS: usize = 64;

pub(super) struct StreamTable<const WORDS: usize> {
    streams: Vec<Stream<WORDS>>,
    /// Where the last packet's stream was: mostly where the next one's is.
    last: usize,
    clock: u64,
}

struct Stream<const WORDS: usize> {
    ssrc: Ssrc,
    window: ReplayWindow<WORDS>,
    heard: u64,
}

impl<const WORDS: usize> StreamTable<WORDS> {
    pub fn new() -> Self {
        Self {
            streams: Vec::new(),
            last: 0,
            clock: 0,
        }
    }

    pub fn window(&mut self, ssrc: Ssrc) -> Option<&ReplayWindow<WORDS>> {
        if self.streams.get(self.last).is_none_or(|stream| stream.ssrc != ssrc) {
            self.last = self.streams.iter().position(|stream| stream.ssrc == ssrc)?;
        }
        Some(&self.streams[self.last].window)
    }

    /// Records an authentic packet; makes state for an SSRC that has none.
    pub fn insert(&mut self, ssrc: Ssrc, index: u64) {
        self.clock += 1;
        if self.window(ssrc).is_some() {
            let stream = &mut self.streams[self.last];
            stream.window.insert(index);
            stream.heard = self.clock;
            return;
        }
        let stream = Stream {
            ssrc,
            window: ReplayWindow::new(index),
            heard: self.clock,
        };
        if self.streams.len() < MAX_STREAMS {
            self.last = self.streams.len();
            self.streams.push(stream);
        } else if let Some((oldest, slot)) = self.streams.iter_mut().enumerate().min_by_key(|(_, s)| s.heard) {
            *slot = stream;
            self.last = oldest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_heard_longest_ago_gives_way() {
        let mut table = StreamTable::<2>::new();
        for ssrc in 0..MAX_STREAMS as u32 {
            table.insert(Ssrc(ssrc), 1);
        }
        table.insert(Ssrc(0), 2);
        table.insert(Ssrc(1000), 1);
        assert_eq!(table.streams.len(), MAX_STREAMS);
        assert!(table.window(Ssrc(1)).is_none());
        assert_eq!(table.window(Ssrc(0)).map(ReplayWindow::highest), Some(2));
        assert!(table.window(Ssrc(1000)).is_some());
    }
}
