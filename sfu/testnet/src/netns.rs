//! Network namespaces of this process, by iproute2, as root.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use thiserror::Error;

const PREFIX: &str = "tianqiao-";

/// Why there is no such network.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// This machine does not have it, or this user may not.
    #[error("a network of one's own needs root, iproute2 and a kernel that has it: {0}")]
    NotAllowed(String),
    #[error("{0}")]
    Failed(String),
}

/// A namespace with its loopback up; removed, with whatever runs in it, when this is dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// `what` it is for is part of its name. What killed processes have left behind of that kind is removed first.
    ///
    /// # Errors
    /// [`NetworkError::NotAllowed`] without root and iproute2.
    pub fn create(what: &str) -> Result<Self, NetworkError> {
        static CREATED: AtomicUsize = AtomicUsize::new(0);
        if !geteuid().is_root() {
            return Err(NetworkError::NotAllowed("not root".to_owned()));
        }
        let prefix = format!("{PREFIX}{what}-");
        let list = ip(&["netns", "list"]).map_err(not_allowed)?;
        for leftover in leftovers(&list, &prefix, |pid| Path::new(&format!("/proc/{pid}")).exists()) {
            drop(Self { name: leftover });
        }
        let count = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}{}-{count}", std::process::id());
        ip(&["netns", "add", &name]).map_err(not_allowed)?;
        let netns = Self { name };
        netns.ip(&["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// For `ip netns exec` and the like.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip` in it.
    ///
    /// # Errors
    /// With what `ip` says.
    pub fn ip(&self, arguments: &[&str]) -> Result<String, NetworkError> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// Runs `work` in it: sockets that it makes, threads and processes that it starts stay there.
    ///
    /// # Panics
    /// Where `work` does, or where the namespace has been taken away.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let netns = File::open(format!("/run/netns/{}", self.name)).expect("it lives as long as this");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(netns, CloneFlags::CLONE_NEWNET).expect("who made it may enter it");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Ends all processes in it but this one.
    pub fn kill_processes(&self) {
        let pids = ip(&["netns", "pids", &self.name]).unwrap_or_default();
        let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
        for pid in pids.map(Pid::from_raw).filter(|pid| *pid != Pid::this()) {
            // It may have ended by itself.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // It would live on as long as processes are in it.
        self.kill_processes();
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            tracing::warn!(%error, "a namespace is left behind");
        }
    }
}

/// `ip` where this thread is.
///
/// # Errors
/// With what `ip` says.
pub fn ip(arguments: &[&str]) -> Result<String, NetworkError> {
    let run = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = run.map_err(|error| NetworkError::NotAllowed(format!("`ip`: {error}")))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let said = format!("`ip {}`: {}", arguments.join(" "), error.trim());
        return Err(NetworkError::Failed(said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// For tests: `None`, and says so loudly, where this machine does not allow it.
///
/// # Panics
/// Where it is allowed and fails.
pub fn or_skip<T>(created: Result<T, NetworkError>) -> Option<T> {
    match created {
        Ok(created) => Some(created),
        Err(error @ NetworkError::NotAllowed(_)) => {
            // Past the harness, which hides what a test that passes prints.
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("SKIPPED: {error}\n"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn not_allowed(error: NetworkError) -> NetworkError {
    match error {
        NetworkError::Failed(said) => NetworkError::NotAllowed(said),
        other => other,
    }
}

/// The namespaces in the output of `ip netns list` whose process is gone.
fn leftovers(list: &str, prefix: &str, is_alive: impl Fn(u32) -> bool) -> Vec<String> {
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let is_leftover = |name: &&str| {
        let pid = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next());
        pid.and_then(|pid| pid.parse().ok()).is_some_and(|pid| !is_alive(pid))
    };
    names.filter(is_leftover).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_dead_processes_are_leftovers() {
        let list = "tianqiao-x-7-0 (id: 1)\ntianqiao-x-7-1\ntianqiao-x-8-0\nother\ntianqiao-x-y-0\ntianqiao-z-7-0\n";
        let found = leftovers(list, "tianqiao-x-", |pid| pid == 8);
        assert_eq!(found, ["tianqiao-x-7-0", "tianqiao-x-7-1"]);
        assert!(leftovers("", "tianqiao-x-", |_| false).is_empty());
    }
}
