//! When a room tells who speaks: on change, at most once per interval, and never stale at the end.

use std::time::{Duration, Instant};

use super::types::SessionId;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Speaking {
    pub dominant: Option<SessionId>,
    /// Loudest first.
    pub speaking: Vec<SessionId>,
}

impl Speaking {
    /// A mere change of order is none.
    fn same(&self, other: &Self) -> bool {
        self.dominant == other.dominant
            && self.speaking.len() == other.speaking.len()
            && self.speaking.iter().all(|session| other.speaking.contains(session))
    }
}

#[derive(Debug, Default)]
pub(super) struct SpeakersReport {
    told: Speaking,
    told_at: Option<Instant>,
}

/// What [`SpeakersReport::update`] asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Report {
    Nothing,
    Tell,
    /// Too early: update again then.
    Later(Instant),
}

impl SpeakersReport {
    /// Somebody has not heard what was told: it is told again.
    pub(super) fn forget(&mut self) {
        self.told = Speaking::default();
    }

    pub(super) fn update(&mut self, now: Instant, interval: Duration, speaking: &Speaking) -> Report {
        if self.told.same(speaking) {
            return Report::Nothing;
        }
        match self.told_at.map(|at| at + interval) {
            Some(earliest) if earliest > now => Report::Later(earliest),
            _ => {
                self.told = speaking.clone();
                self.told_at = Some(now);
                Report::Tell
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_at_most_once_per_interval() {
        let start = Instant::now();
        let interval = Duration::from_millis(200);
        let at = |ms| start + Duration::from_millis(ms);
        let mut report = SpeakersReport::default();
        let who = |names: &[&str]| Speaking {
            dominant: names.first().map(|&name| name.into()),
            speaking: names.iter().map(|&name| name.into()).collect(),
        };
        for (ms, names, expected) in [
            (0, &[][..], Report::Nothing),
            (10, &["a"][..], Report::Tell),
            (60, &["a", "b"], Report::Later(at(210))),
            // back to what was told: nothing is owed
            (110, &["a"], Report::Nothing),
            (150, &["b"], Report::Later(at(210))),
            (210, &["b"], Report::Tell),
            (900, &["b"], Report::Nothing),
            (950, &[], Report::Tell),
        ] {
            assert_eq!(report.update(at(ms), interval, &who(names)), expected, "{ms}");
        }
    }
}
