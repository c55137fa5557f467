//! CPU time and resident memory of a process, from Linux' /proc.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time of each thread, so that what is between two snapshots is exact to the nanosecond.
#[derive(Clone, Debug)]
pub struct CpuSnapshot {
    threads: HashMap<String, u64>,
}

impl CpuSnapshot {
    pub fn take(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/task");
        let entries = fs::read_dir(&path).with_context(|| format!("no process {pid} ({path})"))?;
        let mut threads = HashMap::new();
        for entry in entries {
            let entry = entry?;
            // A thread may end while the folder is read.
            let Ok(line) = fs::read_to_string(entry.path().join("schedstat")) else {
                continue;
            };
            if let Some(nanos) = parse_schedstat(&line) {
                threads.insert(entry.file_name().to_string_lossy().into_owned(), nanos);
            }
        }
        Ok(Self { threads })
    }

    /// CPU time spent since `earlier`; threads that ended in between are not in it.
    pub fn since(&self, earlier: &Self) -> Duration {
        Duration::from_nanos(self.spent(earlier).sum())
    }

    /// The same of the thread that spent most.
    pub fn busiest_since(&self, earlier: &Self) -> Duration {
        Duration::from_nanos(self.spent(earlier).max().unwrap_or_default())
    }

    fn spent(&self, earlier: &Self) -> impl Iterator<Item = u64> {
        self.threads
            .iter()
            .map(|(thread, nanos)| nanos.saturating_sub(earlier.threads.get(thread).copied().unwrap_or_default()))
    }
}

/// The first number of schedstat: nanoseconds on a CPU.
fn parse_schedstat(line: &str) -> Option<u64> {
    line.split_whitespace().next()?.parse().ok()
}

/// Resident memory in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("no process {pid}"))?;
    parse_resident(&status).with_context(|| format!("no VmRSS in {path}"))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_parse() {
        assert_eq!(parse_schedstat("111595 855539 2\n"), Some(111_595));
        assert_eq!(parse_schedstat(""), None);
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(parse_resident("Name:\tx\n"), None);
    }

    #[test]
    fn only_threads_time_since_the_earlier_snapshot_counts() {
        let snapshot = |threads: &[(&str, u64)]| CpuSnapshot {
            threads: threads
                .iter()
                .map(|(thread, nanos)| ((*thread).to_owned(), *nanos))
                .collect(),
        };
        let (before, after) = (snapshot(&[("1", 100), ("2", 50)]), snapshot(&[("1", 130), ("3", 7)]));
        assert_eq!(after.since(&before), Duration::from_nanos(37));
        assert_eq!(after.busiest_since(&before), Duration::from_nanos(30));
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 1 << 20);
        let before = CpuSnapshot::take(pid).unwrap();
        let after = CpuSnapshot::take(pid).unwrap();
        assert!(after.since(&before) < Duration::from_secs(60));
        assert!(CpuSnapshot::take(u32::MAX).is_err());
    }
}
