//! A source that tells how many packets it has sent, for those who wait for that.

use std::time::Instant;

use tianqiao_protocol::MediaKind;
use tokio::sync::watch;

use super::{Mark, MediaSource};
use crate::client::peer::{OutgoingRtp, SendStream};

pub struct CountedSource<S> {
    source: S,
    sent: watch::Sender<u64>,
}

impl<S: MediaSource> CountedSource<S> {
    /// The receiver has the number of packets sent so far.
    pub fn new(source: S) -> (Self, watch::Receiver<u64>) {
        let (sent, receiver) = watch::channel(0);
        (Self { source, sent }, receiver)
    }
}

impl<S: MediaSource> MediaSource for CountedSource<S> {
    fn kind(&self) -> MediaKind {
        self.source.kind()
    }

    fn poll_timeout(&self) -> Instant {
        self.source.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant, stream: SendStream, send: &mut dyn FnMut(OutgoingRtp<'_>)) {
        let mut packets = 0;
        self.source.handle_timeout(now, stream, &mut |packet| {
            packets += 1;
            send(packet);
        });
        if packets > 0 {
            self.sent.send_modify(|sent| *sent += packets);
        }
    }

    fn on_keyframe_request(&mut self) {
        self.source.on_keyframe_request();
    }

    fn mark(&mut self, mark: Mark) {
        self.source.mark(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{TrackWindow, VideoFormat, VideoSource, is_keyframe_start};

    #[test]
    fn packets_are_counted_and_key_frame_requests_passed_on() {
        let start = Instant::now();
        let stream = SendStream {
            kind: MediaKind::Video,
            ssrc: 1,
            payload_type: 96,
        };
        let video = VideoSource::new(VideoFormat::default(), TrackWindow::new(0, MediaKind::Video), start);
        let (mut source, sent) = CountedSource::new(video);
        source.handle_timeout(start, stream, &mut |_| {});
        assert_eq!(*sent.borrow(), 10);
        source.on_keyframe_request();
        let mut keyframes = 0;
        let next = source.poll_timeout();
        source.handle_timeout(next, stream, &mut |packet| {
            keyframes += usize::from(is_keyframe_start(packet.payload));
        });
        assert_eq!((*sent.borrow(), keyframes), (20, 1));
    }
}
