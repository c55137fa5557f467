//! A bridge with a server, an attacker, a victim and honest clients on it, each in a network namespace of its
//! own, and so with an address that only it can read at.

use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sched::{CloneFlags, setns};

const PREFIX: &str = "tianqiao-test-";

#[derive(Clone, Copy)]
pub enum Host {
    Server,
    Attacker,
    Victim,
    Honest,
}

use Host::{Attacker, Honest, Server, Victim};

impl Host {
    /// RFC 2544's range for benchmarks.
    pub fn addr(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, 1 + self as u8)
    }
}

/// The namespaces; they are removed when this is dropped, also by a panic.
pub struct Network {
    name: String,
}

impl Network {
    /// `None`, and says why, where this machine does not allow it.
    pub fn create() -> Option<Self> {
        match Self::try_create() {
            Ok(network) => Some(network),
            Err(error) => {
                // Past the harness, which hides what a test that passes prints.
                let _ = writeln!(io::stderr(), "SKIPPED, as it needs root and iproute2: {error}");
                None
            }
        }
    }

    fn try_create() -> Result<Self, String> {
        static CREATED: AtomicUsize = AtomicUsize::new(0);
        if !is_root() {
            return Err("not root".to_owned());
        }
        remove_leftovers(&ip(&["netns", "list"])?);
        let count = CREATED.fetch_add(1, Ordering::Relaxed);
        let network = Self {
            name: format!("{PREFIX}{}-{count}", std::process::id()),
        };
        let server = network.netns(Server);
        ip(&["netns", "add", &server])?;
        // What is allowed so far is allowed to the end: a failure from here on is one of the test.
        network.connect(&server).expect("a bridge");
        Ok(network)
    }

    fn connect(&self, server: &str) -> Result<(), String> {
        ip(&["-n", server, "link", "add", "bridge", "type", "bridge"])?;
        ip(&[
            "-n",
            server,
            "addr",
            "add",
            &format!("{}/24", Server.addr()),
            "dev",
            "bridge",
        ])?;
        ip(&["-n", server, "link", "set", "bridge", "up"])?;
        for host in [Attacker, Victim, Honest] {
            let netns = self.netns(host);
            let port = format!("port{}", host as u8);
            ip(&["netns", "add", &netns])?;
            ip(&[
                "-n", server, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &netns,
            ])?;
            ip(&["-n", server, "link", "set", &port, "master", "bridge", "up"])?;
            ip(&[
                "-n",
                &netns,
                "addr",
                "add",
                &format!("{}/24", host.addr()),
                "dev",
                "eth0",
            ])?;
            ip(&["-n", &netns, "link", "set", "eth0", "up"])?;
        }
        // One network, so even a strict reverse path filter lets the victim's address through.
        Ok(())
    }

    /// Runs `work` at `host`: sockets that it makes, and threads that it starts, stay there.
    pub fn at<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> T {
        let netns = File::open(format!("/run/netns/{}", self.netns(host))).expect("its namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(netns, CloneFlags::CLONE_NEWNET).expect("enters it");
                work()
            });
            thread.join().expect("no panic")
        })
    }

    pub fn udp(&self, host: Host) -> UdpSocket {
        self.at(host, || UdpSocket::bind((host.addr(), 0)).expect("a socket"))
    }

    fn netns(&self, host: Host) -> String {
        format!("{}-{}", self.name, host as u8)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in [Attacker, Victim, Honest, Server] {
            let _ = ip(&["netns", "del", &self.netns(host)]);
        }
    }
}

/// Those of processes that were killed.
fn remove_leftovers(list: &str) {
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String, String> {
    let run = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = run.map_err(|error| format!("`ip`: {error}"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`ip {}`: {}", arguments.join(" "), error.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut ids = status.lines().filter_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved, of the file system.
    ids.next().and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}
