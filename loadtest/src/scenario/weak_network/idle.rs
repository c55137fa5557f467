//! How much of the machine was left over: whoever measures on a busy machine measures the machine.

use std::fs;

/// CPU time of the whole machine since its start, from Linux' /proc/stat.
pub struct IdleShare(Option<(u64, u64)>);

impl IdleShare {
    pub fn begin() -> Self {
        Self(now())
    }

    /// Share of all cores' time since the beginning that nobody used; 1 where it is unknown.
    pub fn end(&self) -> f64 {
        let (Some((idle, all)), Some((idle_before, all_before))) = (now(), self.0) else {
            return 1.0;
        };
        (idle - idle_before) as f64 / (all - all_before).max(1) as f64
    }
}

fn now() -> Option<(u64, u64)> {
    parse(&fs::read_to_string("/proc/stat").ok()?)
}

/// Ticks of idling and of all, guests' aside, which are in `user` already.
fn parse(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .take(8)
        .collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((idle, ticks.iter().sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_idle_and_waiting_for_disks() {
        let stat = "cpu  10 1 9 70 5 2 3 0 7 7\ncpu0 1 1 1 1\n";
        assert_eq!(parse(stat), Some((75, 100)));
        assert_eq!(parse("intr 5"), None);
    }
}
