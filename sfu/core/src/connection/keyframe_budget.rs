//! How often one subscriber may make a publisher send a key frame, whatever it does to that end: by PLI, by FIR,
//! or by putting the source into its slots ever anew. Each costs the publisher, and all who watch him, several
//! frames' worth of bits; what is shared among all subscribers is in `uptrack::keyframe_throttle`.

use std::time::Duration;

use crate::rate::{RateLimit, RateMeter, Ticks};
use crate::units::TrackId;

/// Sources of which account is kept at a time; of more than that nobody needs key frames within a minute.
const MAX_SOURCES: usize = 1_024;

/// Why a subscriber needs a key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It asked: it has lost something, or cannot decode.
    Request,
    /// A slot changed its source or layer, by our doing or its own.
    Switch,
}

/// At once: somebody leafs through the pages of a grid, or drags a window's corner …
const SWITCHES: u64 = 8;
/// … and then one each so often.
const SWITCH_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct KeyframeBudget {
    sources: Vec<Account>,
}

#[derive(Debug)]
struct Account {
    source: TrackId,
    requests: RateMeter,
    switches: RateMeter,
}

impl KeyframeBudget {
    /// One more key frame of `source`? Where not, it is to be tried again later.
    pub(crate) fn take(&mut self, requests: &RateLimit, now: Ticks, source: TrackId, cause: Cause) -> bool {
        let index = self.sources.iter().position(|account| account.source == source);
        let index = match index.or_else(|| self.begin(now, source)) {
            Some(index) => index,
            None => return false,
        };
        let account = &mut self.sources[index];
        match cause {
            Cause::Request => account.requests.admit(requests, now, 1),
            Cause::Switch => {
                let switches = RateLimit::events(SWITCHES, SWITCH_INTERVAL);
                account.switches.admit(&switches, now, 1)
            }
        }
    }

    /// Accounts that nothing stands on any more give way.
    fn begin(&mut self, now: Ticks, source: TrackId) -> Option<usize> {
        self.sources
            .retain(|account| !account.requests.is_empty(now) || !account.switches.is_empty(now));
        if self.sources.len() >= MAX_SOURCES {
            return None;
        }
        self.sources.push(Account {
            source,
            requests: RateMeter::default(),
            switches: RateMeter::default(),
        });
        Some(self.sources.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn requests() -> RateLimit {
        RateLimit::events(4, Duration::from_secs(3))
    }

    #[test]
    fn some_at_once_and_then_one_now_and_then_for_each_source() {
        let epoch = Instant::now();
        for (cause, at_once, in_a_minute) in [(Cause::Request, 4, 24), (Cause::Switch, 8, 38)] {
            let mut budget = KeyframeBudget::default();
            let mut given = [0; 2];
            for ms in 0..60_000 {
                let now = Ticks::since(epoch, epoch + Duration::from_millis(ms));
                for (source, given) in (0..).zip(&mut given) {
                    *given += usize::from(budget.take(&requests(), now, TrackId(source), cause));
                }
                if ms == 100 {
                    assert_eq!(given, [at_once; 2], "{cause:?}");
                }
            }
            assert_eq!(given, [in_a_minute - 1; 2], "{cause:?}");
        }
    }

    #[test]
    fn accounts_are_bounded_and_given_up_when_they_are_settled() {
        let epoch = Instant::now();
        let mut budget = KeyframeBudget::default();
        for source in 0..5_000 {
            let given = budget.take(&requests(), Ticks::since(epoch, epoch), TrackId(source), Cause::Switch);
            assert_eq!(given, (source as usize) < MAX_SOURCES);
        }
        let later = Ticks::since(epoch, epoch + Duration::from_secs(3));
        assert!(budget.take(&requests(), later, TrackId(9_999), Cause::Request));
        assert_eq!(budget.sources.len(), 1);
    }
}
