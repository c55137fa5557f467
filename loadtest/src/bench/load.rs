//! The loads of the benchmarks, in the order in which they are run.

use crate::scenario::forward::ForwardOptions;

/// One row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub options: ForwardOptions,
    /// How often it is run; the row is the run with the median cost.
    pub runs: usize,
}

const VIDEO: ForwardOptions = ForwardOptions {
    publishers: 1,
    subscribers: 50,
    video_kbps: 2_500,
    seconds: 8,
    audio: false,
};
const QUICK_SECONDS: u64 = 3;

/// What the tables are about: 1 → 50 at 2,500 kbit/s.
const MAIN_RUNS: usize = 3;

fn once(options: ForwardOptions) -> Load {
    Load { options, runs: 1 }
}

fn fan(subscribers: usize, video_kbps: u32) -> ForwardOptions {
    ForwardOptions {
        subscribers,
        video_kbps,
        ..VIDEO
    }
}

/// Not measured: the first run of a process pays for what is loaded once.
pub fn warm_up() -> ForwardOptions {
    ForwardOptions {
        seconds: 2,
        ..fan(10, 800)
    }
}

/// Of our own server.
pub fn forward(quick: bool) -> Vec<Load> {
    if quick {
        return shortened(vec![once(fan(10, 800)), once(fan(50, 2_500))]);
    }
    let shapes = [fan(10, 0), fan(50, 0), fan(200, 0)];
    let mut loads = Vec::new();
    for shape in shapes {
        for video_kbps in [150, 800, 2_500] {
            let options = ForwardOptions { video_kbps, ..shape };
            let is_main = options.subscribers == VIDEO.subscribers && video_kbps == VIDEO.video_kbps;
            loads.push(Load {
                options,
                runs: if is_main { MAIN_RUNS } else { 1 },
            });
        }
    }
    loads.push(once(ForwardOptions { audio: true, ..VIDEO }));
    loads
}

/// Of servers side by side.
pub fn peers(quick: bool) -> Vec<Load> {
    if quick {
        return shortened(vec![once(fan(10, 800))]);
    }
    vec![
        once(fan(10, 800)),
        once(fan(10, 2_500)),
        once(fan(50, 800)),
        Load {
            options: VIDEO,
            runs: MAIN_RUNS,
        },
        once(ForwardOptions { audio: true, ..VIDEO }),
    ]
}

fn shortened(mut loads: Vec<Load>) -> Vec<Load> {
    for load in &mut loads {
        load.options.seconds = QUICK_SECONDS;
    }
    loads
}

impl Load {
    /// `1 → 50`.
    pub fn shape(&self) -> String {
        format!("{} → {}", self.options.publishers, self.options.subscribers)
    }

    /// `2,500 kbit/s`, with what else is sent.
    pub fn media(&self) -> String {
        let audio = if self.options.audio { " + audio" } else { "" };
        format!("{} kbit/s{audio}", thousands(self.options.video_kbps.into()))
    }
}

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_load_is_in_both_benchmarks_and_runs_thrice() {
        for loads in [forward(false), peers(false)] {
            let main: Vec<_> = loads.iter().filter(|load| load.runs == MAIN_RUNS).collect();
            assert_eq!(main.len(), 1);
            assert_eq!(
                (main[0].shape().as_str(), main[0].media().as_str()),
                ("1 → 50", "2,500 kbit/s")
            );
        }
    }

    #[test]
    fn names_tell_loads_apart() {
        for loads in [forward(false), peers(false), forward(true), peers(true)] {
            let names: std::collections::HashSet<_> = loads.iter().map(|l| (l.shape(), l.media())).collect();
            assert_eq!(names.len(), loads.len());
        }
    }

    #[test]
    fn thousands_are_parted() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
