//! What the runs found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::score::Score;

/// One visit behind one link. What never came is `None`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    pub case: String,
    pub profile: String,
    pub seed: u64,
    /// Of the measured span, after the first sound.
    pub seconds: f64,
    /// What the server and the page were told besides.
    pub variant: String,
    /// From the navigation until the join page could be used.
    pub page_ms: Option<f64>,
    /// From the navigation to the first sound.
    pub heard_ms: Option<f64>,
    pub first_picture_ms: Option<f64>,
    pub freezes: f64,
    pub freeze_seconds: f64,
    /// The longest time between two frames of the speaker's picture.
    pub longest_freeze_seconds: f64,
    pub concealed_share: f64,
    /// As `concealed_share`, with what was replaced by silence.
    pub missing_share: f64,
    /// Of the time, in how much of it anything was played, if only concealment.
    pub played_share: f64,
    /// Of the speaker's picture, as is `height`.
    pub fps: f64,
    pub height: u32,
    /// Down, in the steady state.
    pub link_use: Option<f64>,
    /// Mean time in the jitter buffer.
    pub audio_delay_ms: f64,
    /// How often the page said that its connection is in trouble.
    pub reconnects: usize,
    /// Joins anew, which nothing should need.
    pub rejoins: usize,
    /// Share of the run in which a core of the machine had nothing to do: below some percent the figures are those
    /// of the machine, not of the link.
    pub idle_share: f64,
    /// Of the speech that was heard, beside what was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// Of the case.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub more: BTreeMap<String, f64>,
    pub checks: Vec<Check>,
}

/// A bound, and what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub what: String,
    pub bound: String,
    /// `None` where it never came to that.
    pub measured: Option<f64>,
    pub is_met: bool,
}

impl Run {
    pub fn at_most(&mut self, what: &str, bound: f64, measured: impl Into<Option<f64>>) {
        self.check(what, format!("≤ {bound}"), measured.into(), |value| value <= bound);
    }

    pub fn at_least(&mut self, what: &str, bound: f64, measured: impl Into<Option<f64>>) {
        self.check(what, format!("≥ {bound}"), measured.into(), |value| value >= bound);
    }

    pub fn exactly(&mut self, what: &str, bound: f64, measured: f64) {
        self.check(what, format!("= {bound}"), Some(measured), |value| value == bound);
    }

    fn check(&mut self, what: &str, bound: String, measured: Option<f64>, is_good: impl Fn(f64) -> bool) {
        self.checks.push(Check {
            what: what.to_owned(),
            bound,
            measured,
            is_met: measured.is_some_and(is_good),
        });
    }

    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.is_met)
    }

    /// The checks, a line each.
    pub fn verdicts(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let mark = if check.is_met { "ok  " } else { "MISS" };
            let measured = check.measured.map_or("never".to_owned(), number);
            let _ = writeln!(text, "    {mark} {}: {measured} ({})", check.what, check.bound);
        }
        if let Some(Score { pesq, stoi, .. }) = self.score {
            let of = |value: Option<f64>| value.map_or("none".to_owned(), number);
            let _ = writeln!(text, "         PESQ {}, STOI {}", of(pesq), of(stoi));
        }
        for (what, value) in &self.more {
            let _ = writeln!(text, "         {what}: {}", number(*value));
        }
        text
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        small if small < 1.0 => format!("{value:.3}"),
        middle if middle < 100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// A line for each run.
pub fn table(runs: &[Run]) -> String {
    let head = [
        "case",
        "seed",
        "page",
        "heard",
        "picture",
        "concealed",
        "missing",
        "delay",
        "video",
        "freezes",
        "frozen",
        "longest",
        "link",
        "trouble",
        "idle",
    ];
    let rows: Vec<[String; 15]> = runs.iter().map(row).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([head[column].len()]).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&head.map(str::to_owned)).chain(&rows) {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        text = text.trim_end().to_owned() + "\n";
    }
    text
}

fn row(run: &Run) -> [String; 15] {
    let seconds = |ms: Option<f64>| ms.map_or("never".to_owned(), |ms| format!("{:.1} s", ms / 1e3));
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let case = match run.variant.is_empty() {
        true => run.case.clone(),
        false => format!("{} ({})", run.case, run.variant),
    };
    [
        case,
        run.seed.to_string(),
        seconds(run.page_ms),
        seconds(run.heard_ms),
        seconds(run.first_picture_ms),
        percent(run.concealed_share),
        percent(run.missing_share),
        format!("{:.0} ms", run.audio_delay_ms),
        format!("{:.1} fps of {}", run.fps, run.height),
        format!("{:.0}", run.freezes),
        format!("{:.1} s of {:.0}", run.freeze_seconds, run.seconds),
        format!("{:.1} s", run.longest_freeze_seconds),
        run.link_use.map_or("-".to_owned(), percent),
        format!("{}+{}", run.reconnects, run.rejoins),
        percent(run.idle_share),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_came_meets_no_bound() {
        let mut run = Run::default();
        run.at_most("heard", 8.0, None);
        run.at_most("concealed", 0.03, 0.02);
        run.at_least("fps", 5.0, 4.9);
        let met: Vec<_> = run.checks.iter().map(|check| check.is_met).collect();
        assert_eq!(met, [false, true, false]);
        assert!(!run.is_good());
    }
}
