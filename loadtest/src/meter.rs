//! Counts what one subscriber receives of the tracks of a run.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use tianqiao_protocol::MediaKind;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::client::{MediaSink, ReceivedRtp};
use crate::media::{Stamp, TrackWindow, nanos_since_epoch};
use crate::report::micros_histogram;

/// How far all meters of a run are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Pairs of subscriber and track of which a packet has come.
    pub hearing: usize,
    /// Subscribers that have every packet of the finished window.
    pub complete: usize,
}

/// What the subscribers of one run count into.
pub struct Meters {
    windows: Vec<Arc<TrackWindow>>,
    progress: watch::Sender<Progress>,
    meters: Mutex<Vec<Arc<Mutex<Meter>>>>,
}

#[derive(Debug)]
pub struct Meter {
    tracks: Vec<TrackMeter>,
    latency: Histogram<u64>,
    complete: bool,
}

#[derive(Clone, Debug, Default)]
struct TrackMeter {
    heard: bool,
    /// A bit per packet of the window.
    seen: Vec<u64>,
    received: u64,
}

/// Packets of one kind, over all tracks and subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub published: u64,
    pub expected: u64,
    pub received: u64,
}

impl Meters {
    /// `windows`: by the index of their tracks.
    pub fn new(windows: Vec<Arc<TrackWindow>>) -> Arc<Self> {
        Arc::new(Self {
            windows,
            progress: watch::Sender::default(),
            meters: Mutex::default(),
        })
    }

    /// A sink that counts for one more subscriber.
    pub fn sink(self: &Arc<Self>) -> Box<dyn MediaSink> {
        let meter = Meter {
            tracks: vec![TrackMeter::default(); self.windows.len()],
            latency: micros_histogram(),
            complete: false,
        };
        let meter = Arc::new(Mutex::new(meter));
        self.meters.lock().expect("no meter panics").push(meter.clone());
        Box::new(MeterSink {
            meters: self.clone(),
            meter,
        })
    }

    /// Waits until every subscriber has received something of every track.
    pub async fn all_hear(&self, limit: Duration) -> Result<()> {
        let wanted = self.subscribers() * self.windows.len();
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
        let wanted = self.subscribers();
        let mut progress = self.progress.subscribe();
        let _ = timeout(limit, progress.wait_for(|progress| progress.complete >= wanted)).await;
    }

    pub fn counts(&self, kind: MediaKind) -> Counts {
        let meters = self.meters.lock().expect("no meter panics");
        let mut counts = Counts::default();
        for (index, window) in self
            .windows
            .iter()
            .enumerate()
            .filter(|(_, window)| window.kind == kind)
        {
            let published = window.len().unwrap_or_default();
            counts.published += published;
            counts.expected += published * meters.len() as u64;
            let received = |meter: &Arc<Mutex<Meter>>| meter.lock().expect("no meter panics").tracks[index].received;
            counts.received += meters.iter().map(received).sum::<u64>();
        }
        counts
    }

    /// One-way latencies of all subscribers, in microseconds.
    pub fn latency(&self) -> Histogram<u64> {
        let mut sum = micros_histogram();
        for meter in self.meters.lock().expect("no meter panics").iter() {
            sum.add(&meter.lock().expect("no meter panics").latency)
                .expect("all histograms have one range");
        }
        sum
    }

    fn subscribers(&self) -> usize {
        self.meters.lock().expect("no meter panics").len()
    }
}

struct MeterSink {
    meters: Arc<Meters>,
    meter: Arc<Mutex<Meter>>,
}

impl MediaSink for MeterSink {
    fn on_rtp(&mut self, packet: ReceivedRtp) {
        let Some(stamp) = Stamp::read(&packet.payload) else {
            return;
        };
        let step = self
            .meter
            .lock()
            .expect("no meter panics")
            .on_packet(stamp, packet.at, &self.meters.windows);
        if step != Progress::default() {
            self.meters.progress.send_modify(|progress| {
                progress.hearing += step.hearing;
                progress.complete += step.complete;
            });
        }
    }
}

impl Meter {
    fn on_packet(&mut self, stamp: Stamp, at: Instant, windows: &[Arc<TrackWindow>]) -> Progress {
        let mut step = Progress::default();
        let index = usize::from(stamp.track);
        let (Some(track), Some(window)) = (self.tracks.get_mut(index), windows.get(index)) else {
            return step;
        };
        if !std::mem::replace(&mut track.heard, true) {
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
            .zip(windows)
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::client::peer::SendStream;
    use crate::media::{AudioSource, Mark, MediaSource};

    fn deliver(sink: &mut Box<dyn MediaSink>, payload: &Bytes, at: Instant) {
        sink.on_rtp(ReceivedRtp {
            at,
            ssrc: 1,
            csrc: None,
            payload_type: 111,
            sequence_number: 0,
            timestamp: 0,
            marker: false,
            payload: payload.clone(),
        });
    }

    #[tokio::test]
    async fn losses_duplicates_and_latencies_are_told_apart() {
        let start = Instant::now();
        nanos_since_epoch(start);
        let window = TrackWindow::new(0, MediaKind::Audio);
        let mut source = AudioSource::new(30, window.clone(), start);
        let meters = Meters::new(vec![window]);
        let mut sinks = [meters.sink(), meters.sink()];
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
            source.handle_timeout(start + Duration::from_millis(20) * step, stream, &mut packets);
        }
        let at = |index: usize| start + Duration::from_millis(20 * index as u64 + 5);
        for (index, packet) in packets.iter().enumerate() {
            deliver(&mut sinks[0], &packet.payload, at(index));
            deliver(&mut sinks[0], &packet.payload, at(index));
            if index % 2 == 0 {
                deliver(&mut sinks[1], &packet.payload, at(index));
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
        let counts = meters.counts(MediaKind::Audio);
        assert_eq!(
            counts,
            Counts {
                published: 10,
                expected: 20,
                received: 15
            }
        );
        assert_eq!(meters.counts(MediaKind::Video), Counts::default());
        let latency = meters.latency();
        assert_eq!(latency.len(), 15);
        assert!((4900..5100).contains(&latency.max()), "{}", latency.max());
    }

    #[tokio::test]
    async fn a_subscriber_that_hears_nothing_is_named_after_the_limit() {
        let meters = Meters::new(vec![TrackWindow::new(0, MediaKind::Video)]);
        let _sink = meters.sink();
        let error = meters.all_hear(Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("0 of 1"), "{error}");
    }
}
