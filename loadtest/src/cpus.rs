//! On which of the machine's CPUs a thread runs, and what it starts.

use std::fmt;
use std::fs;
use std::str::FromStr;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Serialize, Serializer};

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// CPU numbers as Linux writes them: `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

impl CpuList {
    /// All that the machine has, whatever this process may use.
    pub fn online() -> Result<Self> {
        let text = fs::read_to_string(ONLINE).with_context(|| format!("{ONLINE} cannot be read"))?;
        text.trim().parse()
    }

    /// Those that this thread may use.
    pub fn usable() -> Result<Self> {
        let set = sched_getaffinity(Pid::from_raw(0))?;
        Ok(Self(
            (0..CpuSet::count())
                .filter(|cpu| set.is_set(*cpu).unwrap_or_default())
                .collect(),
        ))
    }

    /// The first `count` CPUs, or as many as there are.
    pub fn first(&self, count: usize) -> Self {
        Self(self.0.iter().take(count).copied().collect())
    }

    /// The CPU after the first `count` of them alone; the last where there is none.
    pub fn after(&self, count: usize) -> Self {
        Self(self.0.iter().take(count + 1).next_back().copied().into_iter().collect())
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Keeps this thread, and the threads and processes that it starts from now on, to these CPUs.
    pub fn pin_this_thread(&self) -> Result<()> {
        let mut set = CpuSet::new();
        for cpu in &self.0 {
            set.set(*cpu).with_context(|| format!("no CPU {cpu}"))?;
        }
        sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("CPUs {self} cannot be used"))
    }

    /// Runs `start` with this thread on these CPUs and puts it back.
    pub fn pinned<R>(&self, start: impl FnOnce() -> R) -> Result<R> {
        let before = sched_getaffinity(Pid::from_raw(0))?;
        self.pin_this_thread()?;
        let result = start();
        sched_setaffinity(Pid::from_raw(0), &before)?;
        Ok(result)
    }
}

impl FromStr for CpuList {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                text.trim()
                    .parse::<usize>()
                    .with_context(|| format!("`{part}` is no CPU"))
            };
            let (first, last) = (number(first)?, number(last)?);
            anyhow::ensure!(first <= last && last < CpuSet::count(), "`{part}` is no range of CPUs");
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpus: Vec<_> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&cpus.join(","))
    }
}

impl Serialize for CpuList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_parse_as_linux_writes_them() {
        assert_eq!("0,2-4".parse::<CpuList>().unwrap(), CpuList(vec![0, 2, 3, 4]));
        assert_eq!(CpuList(vec![0, 2]).to_string(), "0,2");
        for wrong in ["", "a", "3-2", "0,", "0-999999999"] {
            assert!(wrong.parse::<CpuList>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_thread_is_pinned_and_put_back() {
        let usable = CpuList::usable().unwrap();
        let pinned = usable.first(1).pinned(|| CpuList::usable().unwrap()).unwrap();
        assert_eq!(pinned, usable.first(1));
        assert_eq!(CpuList::usable().unwrap(), usable);
        assert!(CpuList::online().unwrap().count() >= usable.count());
    }

    #[test]
    fn where_cpus_are_too_few_the_last_serves() {
        let three = CpuList(vec![3, 5, 6]);
        assert_eq!(
            (three.first(2), three.after(2)),
            (CpuList(vec![3, 5]), CpuList(vec![6]))
        );
        let one = CpuList(vec![3]);
        assert_eq!((one.first(2), one.after(1)), (one.clone(), one.clone()));
    }
}
