//! Log lines to standard error. None holds a secret: crates of others print what they carry (headers with tokens, frames
//! with session secrets, ICE passwords) at debug and trace, so they are heard from `info` up only, whatever is asked for.

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use prometheus::IntCounter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Config, LogFormat};

/// Our own crates: `tianqiao`, `tianqiao_sfu`, …
const OURS: &str = "tianqiao";

/// Once per process.
pub fn init(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log).with_context(|| format!("log: not a filter: {:?}", config.log))?;
    let json = config.log_format == LogFormat::Json;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        // It would tell of a failed write by a macro that panics where standard error is full.
        .log_internal_errors(false)
        .with_writer(move || LossyStderr { json });
    let lines = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(filter_fn(may_be_heard)).with_filter(filter);
    tracing_subscriber::registry().with(lines).init();
    Ok(())
}

fn may_be_heard(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || is_ours(metadata.target())
}

fn is_ours(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or_default();
    name == OURS || name.strip_prefix(OURS).is_some_and(|rest| rest.starts_with('_'))
}

/// Lines that could not be written, since the start of the process.
pub fn lost_lines() -> &'static IntCounter {
    static LOST: LazyLock<IntCounter> = LazyLock::new(|| {
        let help = "Log lines that could not be written, for example because the disk was full.";
        IntCounter::new("tianqiao_log_lines_lost_total", help).expect("a valid name")
    });
    &LOST
}

/// Standard error; where it cannot be written (a full disk) the line is lost and counted, and the server goes on. The first
/// line that can be written again is followed by how many are missing.
struct LossyStderr {
    json: bool,
}

/// Lost lines that the log has told of.
static TOLD: AtomicU64 = AtomicU64::new(0);

impl Write for LossyStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        if stderr.write_all(line).is_err() {
            lost_lines().inc();
            return Ok(line.len());
        }
        let lost = lost_lines().get();
        let missing = lost.saturating_sub(TOLD.load(Ordering::Relaxed));
        if missing > 0 && stderr.write_all(self.notice(missing).as_bytes()).is_ok() {
            TOLD.store(lost, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LossyStderr {
    fn notice(&self, missing: u64) -> String {
        let words = "log lines were lost: standard error could not be written (is its disk full?)";
        match self.json {
            true => format!("{{\"level\":\"WARN\",\"message\":\"{missing} {words}\",\"target\":\"{OURS}\"}}\n"),
            false => format!("WARN {OURS}: {missing} {words}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_crates_are_ours() {
        for (target, ours) in [
            ("tianqiao", true),
            ("tianqiao::session::wire", true),
            ("tianqiao_sfu_core::transport", true),
            ("tianqiaoxy", false),
            ("hyper::proto::h1", false),
            ("log", false),
            ("", false),
        ] {
            assert_eq!(is_ours(target), ours, "{target}");
        }
    }
}
