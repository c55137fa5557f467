//! What an attack must not reach.

use std::time::Duration;

use super::fourth::Joins;
use super::honest::Seen;
use super::memory::Memory;

/// How strictly it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub join: Duration,
    /// Lost packets by those expected, beyond those of the window without an attack.
    pub loss: f64,
    /// Memory afterwards by memory before.
    pub memory: f64,
    pub memory_slack: u64,
    pub settle: Duration,
}

impl Bounds {
    pub const FULL: Self = Self {
        join: Duration::from_secs(2),
        loss: 0.0,
        memory: 1.1,
        // A page of each thread's heap moves more than nothing.
        memory_slack: 2 << 20,
        settle: Duration::from_secs(30),
    };

    /// For a few seconds on a machine that has other things to do, where a quiet join takes `quiet_ms`.
    pub fn short(quiet_ms: f64) -> Self {
        Self {
            join: Duration::from_secs_f64((quiet_ms * 20.0 / 1e3).max(6.0)),
            loss: 0.05,
            memory: 1.1,
            memory_slack: 64 << 20,
            // The allocator gives memory back ten seconds after.
            settle: Duration::from_secs(15),
        }
    }

    pub fn memory(&self, before: u64) -> u64 {
        (before as f64 * self.memory) as u64 + self.memory_slack
    }

    /// The faults; `quiet` is what was seen without an attack.
    pub fn faults(&self, seen: &Seen, quiet: &Seen, joins: &Joins, memory: Option<&Memory>) -> Vec<String> {
        let mut faults = Vec::new();
        let allowed = quiet.lost + (self.loss * seen.expected as f64) as u64;
        if seen.lost > allowed {
            faults.push(format!(
                "{} of {} packets lost, {allowed} allowed",
                seen.lost, seen.expected
            ));
        }
        if seen.websockets_cut + seen.media_cut > 0 {
            let Seen {
                websockets_cut,
                media_cut,
                ..
            } = seen;
            faults.push(format!(
                "{websockets_cut} WebSockets and {media_cut} media connections cut"
            ));
        }
        if seen.foul_texts > 0 {
            faults.push(format!("{} texts with control characters", seen.foul_texts));
        }
        if joins.failed > 0 {
            let why = joins.last_failure.as_deref().unwrap_or_default();
            faults.push(format!("{} of {} joins failed, one {why}", joins.failed, joins.joins));
        }
        if joins.slowest_ms > self.join.as_secs_f64() * 1e3 {
            faults.push(format!("a join took {:.2} s", joins.slowest_ms / 1e3));
        }
        match memory {
            None => faults.push("the server ended".to_owned()),
            Some(memory) if memory.after_bytes > self.memory(memory.before_bytes) => {
                let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
                faults.push(format!(
                    "memory went from {:.0} to {:.0} MiB and is at {:.0} MiB after {:.0} s",
                    mebibytes(memory.before_bytes),
                    mebibytes(memory.peak_bytes),
                    mebibytes(memory.after_bytes),
                    memory.seconds_to_return
                ));
            }
            Some(_) => {}
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_harm_is_a_fault_of_its_own() {
        let well = Seen {
            expected: 1000,
            ..Default::default()
        };
        let memory = Memory {
            before_bytes: 50 << 20,
            peak_bytes: 80 << 20,
            after_bytes: 55 << 20,
            seconds_to_return: 1.0,
        };
        let joins = Joins {
            joins: 5,
            slowest_ms: 1900.0,
            ..Default::default()
        };
        let faults = |seen: &Seen, joins: &Joins, memory| Bounds::FULL.faults(seen, &well, joins, memory).len();
        assert_eq!(faults(&well, &joins, Some(&memory)), 0);
        assert_eq!(
            faults(
                &Seen {
                    lost: 1,
                    ..well.clone()
                },
                &joins,
                Some(&memory)
            ),
            1
        );
        assert_eq!(
            faults(
                &Seen {
                    media_cut: 1,
                    ..well.clone()
                },
                &joins,
                Some(&memory)
            ),
            1
        );
        assert_eq!(
            faults(
                &Seen {
                    foul_texts: 1,
                    ..well.clone()
                },
                &joins,
                Some(&memory)
            ),
            1
        );
        let slow = Joins {
            slowest_ms: 2100.0,
            ..joins.clone()
        };
        assert_eq!(faults(&well, &slow, Some(&memory)), 1);
        assert_eq!(
            faults(
                &well,
                &Joins {
                    failed: 1,
                    ..joins.clone()
                },
                Some(&memory)
            ),
            1
        );
        let grown = Memory {
            after_bytes: 58 << 20,
            ..memory
        };
        assert_eq!(faults(&well, &joins, Some(&grown)), 1);
        assert_eq!(faults(&well, &joins, None), 1);
        let lossy = Seen {
            lost: 3,
            ..well.clone()
        };
        assert!(
            Bounds::FULL.faults(&lossy, &lossy, &joins, Some(&memory)).is_empty(),
            "as without"
        );
    }
}
