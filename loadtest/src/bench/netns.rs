//! Two network namespaces with a veth pair between them: a network without hardware for servers that
//! leave loopback out.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::place::{Place, Side};

/// RFC 2544's range for benchmarks.
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const GENERATOR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PREFIX: &str = "tianqiao-bench-";

/// The namespaces; they are removed, with whatever runs in them, when this is dropped.
pub struct Veth {
    server: String,
    generator: String,
}

impl Veth {
    /// Needs root. What a killed run has left behind is removed first.
    pub fn create() -> Result<Self> {
        for leftover in leftovers(&ip(&["netns", "list"])?, |pid| {
            Path::new(&format!("/proc/{pid}")).exists()
        }) {
            remove(&leftover);
        }
        let pid = std::process::id();
        let veth = Self {
            server: format!("{PREFIX}{pid}-s"),
            generator: format!("{PREFIX}{pid}-g"),
        };
        for netns in [&veth.server, &veth.generator] {
            ip(&["netns", "add", netns]).context("network namespaces need root and iproute2")?;
        }
        let (server, generator) = (veth.server.as_str(), veth.generator.as_str());
        let pair = ["link", "add", "bench0", "netns", server, "type", "veth"];
        ip(&[&pair[..], &["peer", "name", "bench0", "netns", generator]].concat())?;
        for (netns, addr) in [(server, SERVER), (generator, GENERATOR)] {
            ip(&["-n", netns, "addr", "add", &format!("{addr}/30"), "dev", "bench0"])?;
            ip(&["-n", netns, "link", "set", "bench0", "up"])?;
            ip(&["-n", netns, "link", "set", "lo", "up"])?;
        }
        Ok(veth)
    }

    /// The sides of `place` in these namespaces.
    pub fn place(&self, place: Place) -> Place {
        let side = |side: Side, addr: Ipv4Addr, netns: &String| Side {
            addr: IpAddr::V4(addr),
            netns: Some(netns.clone()),
            ..side
        };
        Place {
            server: side(place.server, SERVER, &self.server),
            generator: side(place.generator, GENERATOR, &self.generator),
        }
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        for netns in [&self.server, &self.generator] {
            remove(netns);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("`ip` is not there: install iproute2")?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", arguments.join(" "), error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A namespace lives on as long as processes are in it, so they are ended first.
fn remove(netns: &str) {
    let pids = ip(&["netns", "pids", netns]).unwrap_or_default();
    let pids: Vec<_> = pids.split_whitespace().collect();
    let own = std::process::id().to_string();
    let servers: Vec<_> = pids.into_iter().filter(|pid| *pid != own).collect();
    if !servers.is_empty() {
        let _ = Command::new("kill").arg("-9").args(servers).status();
    }
    if let Err(error) = ip(&["netns", "del", netns]) {
        tracing::warn!(%error, "left behind");
    }
}

/// The namespaces in the output of `ip netns list` whose process is gone.
fn leftovers(list: &str, is_alive: impl Fn(u32) -> bool) -> Vec<String> {
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| {
            let pid = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split('-').next()?.parse().ok());
            pid.is_some_and(|pid| !is_alive(pid))
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_dead_runs_are_leftovers() {
        let list = "tianqiao-bench-7-s (id: 1)\ntianqiao-bench-7-g\ntianqiao-bench-8-s\nother\ntianqiao-bench-x-s\n";
        assert_eq!(
            leftovers(list, |pid| pid == 8),
            ["tianqiao-bench-7-s", "tianqiao-bench-7-g"]
        );
        assert!(leftovers("", |_| false).is_empty());
    }
}
