//! Counts what subscribers receive of the tracks of a run.
//!
//! Each subscriber's sink counts for itself, with nothing that others look at on a packet's way, and
//! hands in its figures when it is dropped, so after its participant has left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use tianqiao_protocol::MediaKind;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::client::{MediaSink, ReceivedRtp};
use crate::media::{Stamp, TrackWindow, nanos_since_epoch};

/// How far all meters of a run are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Pairs of subscriber and expected track of which a packet has come.
    pub hearing: usize,
    /// Subscribers that have every expected packet of the finished window.
    pub complete: usize,
}

/// What the subscribers of one run count into.
pub struct Meters {
    windows: Vec<Arc<TrackWindow>>,
    progress: watch::Sender<Progress>,
    subscribers: AtomicUsize,
    /// Pairs of subscriber and expected track.
    expected: AtomicUsize,
    finished: Mutex<Finished>,
}

struct Finished {
    audio: Counts,
    video: Counts,
    latency: Histogram<u64>,
}

/// Packets of one kind that were published in the window, over all tracks and subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Each once, however many subscribe.
    pub published: u64,
    /// By those subscribers who should get every packet of a track.
    pub expected: u64,
    /// Of those that were expected.
    pub received: u64,
    /// Received of tracks of which the server forwards what it sees fit.
    pub unjudged: u64,
}

/// Tracks of a run, by their index, as one subscriber should get them.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    /// Every packet should come.
    pub expected: Vec<u16>,
    /// What comes is counted, what does not is no loss.
    pub unjudged: Vec<u16>,
}

impl Meters {
    /// `windows`: by the index of their tracks.
    pub fn new(windows: Vec<Arc<TrackWindow>>) -> Arc<Self> {
        Arc::new(Self {
            windows,
            progress: watch::Sender::default(),
            subscribers: AtomicUsize::new(0),
            expected: AtomicUsize::new(0),
            finished: Mutex::new(Finished {
                audio: Counts::default(),
                video: Counts::default(),
                latency: latency_histogram(),
            }),
        })
    }

    /// A sink that counts for one more subscriber.
    pub fn sink(self: &Arc<Self>, subscription: &Subscription) -> Box<dyn MediaSink> {
        self.subscribers.fetch_add(1, Ordering::Relaxed);
        self.expected.fetch_add(subscription.expected.len(), Ordering::Relaxed);
        Box::new(MeterSink {
            meters: self.clone(),
            meter: Meter::new(subscription),
        })
    }

    /// Waits until every subscriber has received something of every track that it expects.
    pub async fn all_hear(&self, limit: Duration) -> Result<()> {
        let wanted = self.expected.load(Ordering::Relaxed);
        let mut progress = self.progress.subscribe();
        if timeout(limit, progress.wait_for(|progress| progress.hearing >= wanted))
            .await
            .is_err()
        {
            let hearing = self.progress.borrow().hearing;
            bail!("after {limit:?} only {hearing} of {wanted} subscribed tracks are received");
        }
        Ok(())
    }

    /// Waits until every subscriber has the whole window, `limit` at most.
    pub async fn drained(&self, limit: Duration) {
        let wanted = self.subscribers.load(Ordering::Relaxed);
        let mut progress = self.progress.subscribe();
        let _ = timeout(limit, progress.wait_for(|progress| progress.complete >= wanted)).await;
    }

    /// Of the subscribers that have left.
    pub fn counts(&self, kind: MediaKind) -> Counts {
        let finished = self.finished.lock().expect("no meter panics");
        let windows = self.windows.iter().filter(|window| window.kind == kind);
        Counts {
            published: windows.filter_map(|window| window.len()).sum(),
            ..match kind {
                MediaKind::Audio => finished.audio,
                MediaKind::Video => finished.video,
            }
        }
    }

    /// One-way latencies, in microseconds, of all packets to the subscribers that have left.
    pub fn latency(&self) -> Histogram<u64> {
        self.finished.lock().expect("no meter panics").latency.clone()
    }

    fn hand_in(&self, meter: &Meter) {
        let mut finished = self.finished.lock().expect("no meter panics");
        for (track, window) in meter.tracks.iter().zip(self.windows.iter().skip(meter.first)) {
            let counts = match window.kind {
                MediaKind::Audio => &mut finished.audio,
                MediaKind::Video => &mut finished.video,
            };
            match track.wanted {
                Wanted::Expected => {
                    counts.expected += window.len().unwrap_or_default();
                    counts.received += track.received;
                }
                Wanted::Unjudged => counts.unjudged += track.received,
                Wanted::Not => {}
            }
        }
        finished
            .latency
            .add(&meter.latency)
            .expect("all histograms have one range");
    }
}

struct MeterSink {
    meters: Arc<Meters>,
    meter: Meter,
}

impl MediaSink for MeterSink {
    fn on_rtp(&mut self, packet: ReceivedRtp<'_>) {
        let Some(stamp) = Stamp::read(packet.payload) else {
            return;
        };
        let step = self.meter.on_packet(stamp, packet.at, &self.meters.windows);
        if step != Progress::default() {
            self.meters.progress.send_modify(|progress| {
                progress.hearing += step.hearing;
                progress.complete += step.complete;
            });
        }
    }
}

impl Drop for MeterSink {
    fn drop(&mut self) {
        self.meters.hand_in(&self.meter);
    }
}

/// One subscriber's.
struct Meter {
    /// Index of the first of `tracks` in the run.
    first: usize,
    tracks: Vec<TrackMeter>,
    latency: Histogram<u64>,
    complete: bool,
}

#[derive(Clone, Debug, Default)]
struct TrackMeter {
    wanted: Wanted,
    heard: bool,
    /// A bit per packet of the window.
    seen: Vec<u64>,
    received: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wanted {
    #[default]
    Not,
    Expected,
    Unjudged,
}

impl Meter {
    fn new(subscription: &Subscription) -> Self {
        let all = || subscription.expected.iter().chain(&subscription.unjudged);
        let first = usize::from(all().min().copied().unwrap_or_default());
        let last = all().max().map_or(first, |last| usize::from(*last) + 1);
        let mut tracks = vec![TrackMeter::default(); last - first];
        for (indices, wanted) in [
            (&subscription.unjudged, Wanted::Unjudged),
            (&subscription.expected, Wanted::Expected),
        ] {
            for index in indices {
                tracks[usize::from(*index) - first].wanted = wanted;
            }
        }
        Self {
            first,
            tracks,
            latency: latency_histogram(),
            complete: false,
        }
    }

    fn on_packet(&mut self, stamp: Stamp, at: Instant, windows: &[Arc<TrackWindow>]) -> Progress {
        let mut step = Progress::default();
        let index = usize::from(stamp.track);
        let track = index
            .checked_sub(self.first)
            .and_then(|index| self.tracks.get_mut(index));
        let (Some(track), Some(window)) = (track, windows.get(index)) else {
            return step;
        };
        if track.wanted == Wanted::Not {
            return step;
        }
        if track.wanted == Wanted::Expected && !std::mem::replace(&mut track.heard, true) {
            step.hearing = 1;
        }
        match window.position(stamp.seq) {
            Some(position) if track.insert(position) => {
                let micros = nanos_since_epoch(at).saturating_sub(stamp.sent) / 1000;
                self.latency.saturating_record(micros);
            }
            _ => {}
        }
        // Whether all is there is only asked once windows are over, so not while it costs.
        if !self.complete && self.is_complete(windows) {
            self.complete = true;
            step.complete = 1;
        }
        step
    }

    fn is_complete(&self, windows: &[Arc<TrackWindow>]) -> bool {
        self.tracks
            .iter()
            .zip(windows.iter().skip(self.first))
            .filter(|(track, _)| track.wanted == Wanted::Expected)
            .all(|(track, window)| window.len() == Some(track.received))
    }
}

impl TrackMeter {
    /// Whether the packet is new.
    fn insert(&mut self, position: usize) -> bool {
        let (word, bit) = (position / 64, 1 << (position % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        self.received += u64::from(new);
        new
    }
}

/// For microseconds up to a minute, with two significant digits: one per subscriber should stay small.
fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 2).expect("the bounds are valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::peer::SendStream;
    use crate::media::{AudioSource, Mark, MediaSource};

    fn deliver(sink: &mut Box<dyn MediaSink>, payload: &[u8], at: Instant) {
        sink.on_rtp(ReceivedRtp {
            at,
            ssrc: 1,
            csrc: None,
            payload_type: 111,
            sequence_number: 0,
            timestamp: 0,
            marker: false,
            payload,
        });
    }

    /// Payloads of 12 packets, of which 10 are in the window.
    fn packets(source: &mut AudioSource, start: Instant) -> Vec<Vec<u8>> {
        let stream = SendStream {
            kind: MediaKind::Audio,
            ssrc: 1,
            payload_type: 111,
        };
        let mut packets = Vec::new();
        for step in 0..12u32 {
            match step {
                1 => source.mark(Mark::Start),
                11 => source.mark(Mark::End),
                _ => {}
            }
            source.handle_timeout(start + Duration::from_millis(20) * step, stream, &mut |packet| {
                packets.push(packet.payload.to_vec());
            });
        }
        packets
    }

    #[tokio::test]
    async fn losses_duplicates_and_latencies_are_told_apart() {
        let start = Instant::now();
        nanos_since_epoch(start);
        let windows = [0, 1].map(|track| TrackWindow::new(track, MediaKind::Audio));
        let meters = Meters::new(windows.to_vec());
        let subscription = Subscription {
            expected: vec![1],
            unjudged: vec![],
        };
        let mut sinks = [meters.sink(&subscription), meters.sink(&subscription)];
        let packets = packets(&mut AudioSource::new(30, windows[1].clone(), start), start);
        let at = |index: usize| start + Duration::from_millis(20 * index as u64 + 5);
        for (index, payload) in packets.iter().enumerate() {
            deliver(&mut sinks[0], payload, at(index));
            deliver(&mut sinks[0], payload, at(index));
            if index % 2 == 0 {
                deliver(&mut sinks[1], payload, at(index));
            }
        }
        meters.all_hear(Duration::ZERO).await.unwrap();
        assert_eq!(
            *meters.progress.borrow(),
            Progress {
                hearing: 2,
                complete: 1
            }
        );
        drop(sinks);
        let counts = meters.counts(MediaKind::Audio);
        assert_eq!(
            counts,
            Counts {
                published: 10,
                expected: 20,
                received: 15,
                unjudged: 0,
            }
        );
        assert_eq!(meters.counts(MediaKind::Video), Counts::default());
        let latency = meters.latency();
        assert_eq!(latency.len(), 15);
        assert!((4900..5100).contains(&latency.max()), "{}", latency.max());
    }

    #[tokio::test]
    async fn what_the_server_may_leave_out_is_counted_but_not_missed() {
        let start = Instant::now();
        let windows = vec![
            TrackWindow::new(0, MediaKind::Video),
            TrackWindow::new(1, MediaKind::Audio),
        ];
        let meters = Meters::new(windows.clone());
        let mut sink = meters.sink(&Subscription {
            expected: vec![],
            unjudged: vec![1],
        });
        let mut source = AudioSource::new(30, windows[1].clone(), start);
        for payload in packets(&mut source, start).iter().take(4) {
            deliver(&mut sink, payload, start);
        }
        meters.all_hear(Duration::ZERO).await.unwrap();
        drop(sink);
        let counts = meters.counts(MediaKind::Audio);
        assert_eq!((counts.expected, counts.received, counts.unjudged), (0, 0, 3));
    }

    #[tokio::test]
    async fn a_subscriber_that_hears_nothing_is_named_after_the_limit() {
        let meters = Meters::new(vec![TrackWindow::new(0, MediaKind::Video)]);
        let subscription = Subscription {
            expected: vec![0],
            unjudged: vec![],
        };
        let _sink = meters.sink(&subscription);
        let error = meters.all_hear(Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("0 of 1"), "{error}");
    }
}
