//! The media clock of a downtrack: continuous over switches of layer and source.

use std::time::{Duration, Instant};

use crate::track::MappedReport;

/// A switch by sender reports is believed while it lands this near to where the arrival times say.
const REPORT_TOLERANCE: Duration = Duration::from_millis(500);

/// What was sent last, and how far the source's clock is moved.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    clock_rate: u32,
    offset: u32,
    last: Option<(Instant, u32)>,
}

impl Timeline {
    pub fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            offset: 0,
            last: None,
        }
    }

    /// What [`Self::map`] adds.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    pub fn map(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.offset)
    }

    /// Of what was sent last; 0 before.
    pub fn latest(&self) -> u32 {
        self.last.map_or(0, |(_, last)| last)
    }

    pub fn on_sent(&mut self, arrival: Instant, out: u32) {
        match self.last {
            Some((_, last)) if (out.wrapping_sub(last) as i32) < 0 => {}
            _ => self.last = Some((arrival, out)),
        }
    }

    /// Starts another stream with its packet of `timestamp` that arrived at `arrival`. `reports` are the sender
    /// reports of the stream before and of the new one where both come from one publisher: then the
    /// two clocks are related exactly, else by arrival. Time never goes backwards.
    pub fn switch(&mut self, arrival: Instant, timestamp: u32, reports: Option<(MappedReport, MappedReport)>) {
        let Some((last_arrival, last)) = self.last else {
            self.offset = 0;
            return;
        };
        let out = self
            .related(arrival, timestamp, reports)
            .filter(|out| (out.wrapping_sub(last) as i32) > 0)
            .unwrap_or_else(|| self.by_arrival(arrival, last_arrival, last));
        self.join(timestamp, out);
    }

    /// Where `timestamp` of another stream, which arrived at `arrival`, would be by its sender report and that of the
    /// stream that is sent now. `None` without them, or where they are not to be believed.
    pub fn related(
        &self,
        arrival: Instant,
        timestamp: u32,
        reports: Option<(MappedReport, MappedReport)>,
    ) -> Option<u32> {
        let (last_arrival, last) = self.last?;
        let (before, after) = reports?;
        let same_moment = before.rtp_at(after.at, self.clock_rate);
        let out = timestamp
            .wrapping_add(same_moment.wrapping_sub(after.rtp))
            .wrapping_add(self.offset);
        let error = out.wrapping_sub(self.by_arrival(arrival, last_arrival, last)) as i32;
        (error.unsigned_abs() < self.ticks(REPORT_TOLERANCE)).then_some(out)
    }

    /// Another stream goes on: its `timestamp` becomes `out`.
    pub fn join(&mut self, timestamp: u32, out: u32) {
        self.offset = out.wrapping_sub(timestamp);
    }

    /// What was sent last: when it arrived, and its outgoing timestamp.
    pub fn last(&self) -> Option<(Instant, u32)> {
        self.last
    }

    fn by_arrival(&self, arrival: Instant, last_arrival: Instant, last: u32) -> u32 {
        let elapsed = arrival.saturating_duration_since(last_arrival);
        last.wrapping_add(self.ticks(elapsed).max(1))
    }

    fn ticks(&self, duration: Duration) -> u32 {
        (duration.as_micros() as u64 * u64::from(self.clock_rate) / 1_000_000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_switch_goes_on_by_the_time_that_passed() {
        let now = Instant::now();
        let mut timeline = Timeline::new(90_000);
        timeline.switch(now, 5_000, None);
        assert_eq!(timeline.map(5_000), 5_000);
        timeline.on_sent(now, 5_000);
        timeline.switch(now + 40 * MS, 4_000_000_000, None);
        assert_eq!(timeline.map(4_000_000_000), 5_000 + 3_600);
    }

    #[test]
    fn a_switch_at_the_same_moment_still_moves_forward() {
        let now = Instant::now();
        let mut timeline = Timeline::new(48_000);
        timeline.switch(now, u32::MAX, None);
        timeline.on_sent(now, u32::MAX);
        timeline.switch(now, 77, None);
        assert_eq!(timeline.map(77), 0);
    }

    #[test]
    fn sender_reports_relate_two_layers_exactly() {
        let now = Instant::now();
        let mut timeline = Timeline::new(90_000);
        timeline.switch(now, 1_000, None);
        timeline.on_sent(now, 1_000);
        // The layers' clocks differ by 1,000,000; the packet of the new layer was captured 33 ms (2,970 ticks)
        // after the last one but arrived after 50 ms.
        let before = MappedReport { at: now, rtp: 1_000 };
        let after = MappedReport {
            at: now + 10 * MS,
            rtp: 1_001_900,
        };
        timeline.switch(now + 50 * MS, 1_003_970, Some((before, after)));
        assert_eq!(timeline.map(1_003_970), 1_000 + 2_970);
    }

    #[test]
    fn reports_that_make_no_sense_are_not_believed() {
        let now = Instant::now();
        let mut timeline = Timeline::new(90_000);
        timeline.switch(now, 1_000, None);
        timeline.on_sent(now, 1_000);
        let before = MappedReport { at: now, rtp: 1_000 };
        let after = MappedReport {
            at: now + 3600 * 1000 * MS,
            rtp: 5,
        };
        timeline.switch(now + 50 * MS, 9_000, Some((before, after)));
        assert_eq!(timeline.map(9_000), 1_000 + 4_500);
    }
}
