//! Synthetic media whose packets carry their own sequence number and sending time.

mod audio;
mod counted;
mod replay;
mod simulcast;
mod stamp;
mod video;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tianqiao_protocol::MediaKind;

use crate::client::peer::{OutgoingRtp, SendStream};

pub use audio::AudioSource;
pub use counted::CountedSource;
pub use replay::{Recording, ReplaySource};
pub use simulcast::{SIMULCAST_720P, SimulcastLayer};
pub use stamp::{STAMP_LEN, Stamp, nanos_since_epoch};
pub use video::{VideoFormat, VideoSource, is_keyframe_start};

/// One published stream of a participant; makes packets by its own clock.
pub trait MediaSource: Send {
    fn kind(&self) -> MediaKind;
    /// When the next packets are due.
    fn poll_timeout(&self) -> Instant;
    /// Gives what is due at `now` to `send`, packet by packet.
    fn handle_timeout(&mut self, now: Instant, stream: SendStream, send: &mut dyn FnMut(OutgoingRtp<'_>));
    fn on_keyframe_request(&mut self);
    /// Begins or ends the measured window with the next packet.
    fn mark(&mut self, mark: Mark);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Start,
    End,
}

/// The sequence numbers of one track that a measurement covers, `start..end`; shared between the
/// source, which sets them, and all who count.
#[derive(Debug)]
pub struct TrackWindow {
    /// Index of the track in the run, repeated in each stamp.
    pub track: u16,
    pub kind: MediaKind,
    start: AtomicU64,
    end: AtomicU64,
}

const UNSET: u64 = u64::MAX;

impl TrackWindow {
    pub fn new(track: u16, kind: MediaKind) -> Arc<Self> {
        Arc::new(Self {
            track,
            kind,
            start: AtomicU64::new(UNSET),
            end: AtomicU64::new(UNSET),
        })
    }

    fn mark(&self, mark: Mark, next: u64) {
        match mark {
            Mark::Start => self.start.store(next, Ordering::Release),
            Mark::End => self.end.store(next, Ordering::Release),
        }
    }

    /// Place of `seq` in the window.
    pub fn position(&self, seq: u64) -> Option<usize> {
        let start = self.start.load(Ordering::Acquire);
        (start <= seq && seq < self.end.load(Ordering::Acquire)).then(|| (seq - start) as usize)
    }

    /// Packets of a finished window.
    pub fn len(&self) -> Option<u64> {
        let (start, end) = (self.start.load(Ordering::Acquire), self.end.load(Ordering::Acquire));
        (end != UNSET).then(|| end.saturating_sub(start))
    }

    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_covers_what_was_sent_between_its_marks() {
        let window = TrackWindow::new(0, MediaKind::Video);
        assert_eq!((window.position(0), window.len()), (None, None));
        window.mark(Mark::Start, 10);
        assert_eq!(
            (window.position(9), window.position(10), window.position(500)),
            (None, Some(0), Some(490))
        );
        window.mark(Mark::End, 12);
        assert_eq!(
            (window.position(11), window.position(12), window.len()),
            (Some(1), None, Some(2))
        );
    }
}
