//! The table: attack, what it reached, what the honest ones saw.

use std::fmt::Write;

use serde::Serialize;

use super::ctx::{OVER_IPV6, Reached};
use super::fourth::Joins;
use super::honest::Seen;
use super::memory::Memory;

#[derive(Debug, Serialize)]
pub struct AttackReport {
    /// A network of its own, with IPv6 addresses of many networks.
    pub is_isolated: bool,
    pub ipv6_addresses: usize,
    pub rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    pub attack: &'static str,
    pub about: &'static str,
    pub seconds: f64,
    pub reached: Reached,
    pub honest: Seen,
    pub fourth: Joins,
    pub memory: Memory,
    /// The server's CPU time by the time that passed; 1 is a core.
    pub server_cores: f64,
    /// What should not have happened; none: the attack failed.
    pub faults: Vec<String>,
}

impl AttackReport {
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = self.rows.iter().filter(|row| !row.faults.is_empty());
        failed.map(|row| row.attack).collect()
    }

    pub fn table(&self) -> String {
        let mut out = String::new();
        let place = if self.is_isolated {
            "a network of our own"
        } else {
            "no network of our own"
        };
        let over_v6: u64 = self
            .rows
            .iter()
            .filter_map(|row| row.reached.counts.get(OVER_IPV6))
            .sum();
        let _ = writeln!(
            out,
            "{place}: {} IPv6 addresses of attackers, {over_v6} connections from them",
            self.ipv6_addresses
        );
        let _ = writeln!(
            out,
            "{:20} {:>6} {:>8} {:>7} {:>11} {:>4} {:>22}  reached",
            "attack", "lost", "gap", "join", "joins", "cut", "memory MiB"
        );
        for row in &self.rows {
            row.write(&mut out);
        }
        out
    }
}

impl Row {
    pub fn write(&self, out: &mut String) {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let Self {
            honest, fourth, memory, ..
        } = self;
        let reached: Vec<_> = self
            .reached
            .counts
            .iter()
            .map(|(what, number)| format!("{number} {what}"))
            .collect();
        let memory = format!(
            "{:.0} → {:.0} → {:.0}",
            mebibytes(memory.before_bytes),
            mebibytes(memory.peak_bytes),
            mebibytes(memory.after_bytes)
        );
        let _ = writeln!(
            out,
            "{:20} {:>6} {:>5.0} ms {:>5.2} s {:>4}/{:<6} {:>4} {:>22}  {:.1} s, {:.2} cores: {}",
            self.attack,
            honest.lost,
            honest.longest_gap_ms,
            fourth.slowest_ms / 1e3,
            fourth.joins - fourth.failed,
            fourth.joins,
            honest.websockets_cut + honest.media_cut,
            memory,
            self.seconds,
            self.server_cores,
            reached.join(", ")
        );
        if let Some(failure) = &self.reached.last_failure {
            let _ = writeln!(out, "    one attacker: {failure}");
        }
        for fault in &self.faults {
            let _ = writeln!(out, "    FAILED: {fault}");
        }
    }
}
