//! What the figures are from.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::Result;
use serde::Serialize;

use crate::cpus::CpuList;

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    /// What each server says to `--version`.
    pub servers: Vec<String>,
    /// RFC 3339.
    pub date: String,
    /// Runnable processes in the last minute before the run: what else the machine does.
    pub load_average: String,
}

impl Machine {
    pub fn describe(servers: &[&Path]) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Ok(Self {
            cpu: cpu_model(&read("/proc/cpuinfo")),
            cores: CpuList::online()?.count(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            servers: servers.iter().map(|server| version(server)).collect(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            load_average: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        })
    }

    /// A line for people.
    pub fn line(&self) -> String {
        format!(
            "{}, {} cores, Linux {}; {}; {}, load average before the run {}",
            self.cpu,
            self.cores,
            self.kernel,
            self.servers.join(", "),
            self.date,
            self.load_average
        )
    }
}

/// With family and model, since virtual machines shorten the name.
fn cpu_model(cpuinfo: &str) -> String {
    let field = |name: &str| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    match (field("model name"), field("cpu family"), field("model")) {
        (Some(name), Some(family), Some(model)) => format!("{name} (family {family} model {model})"),
        (Some(name), ..) => name,
        _ => std::env::consts::ARCH.to_owned(),
    }
}

fn version(server: &Path) -> String {
    let name = server
        .file_name()
        .unwrap_or(server.as_os_str())
        .to_string_lossy()
        .into_owned();
    let output = Command::new(server).arg("--version").output();
    let said = output
        .map(|output| [output.stdout, output.stderr].concat())
        .unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    // `tianqiao 0.1.0`, `Janus version: 1102 (1.1.2)`.
    let number = said
        .split([' ', '(', ')', '\n'])
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'));
    match number {
        Some(number) => format!("{name} {number}"),
        None => format!("{name} of unknown version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_named_with_family_and_model() {
        let cpuinfo = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n";
        assert_eq!(cpu_model(cpuinfo), "AMD EPYC (family 25 model 17)");
        assert_eq!(cpu_model(""), std::env::consts::ARCH);
    }

    #[test]
    fn a_server_that_is_not_there_has_no_version() {
        assert_eq!(version(Path::new("/nonexistent/janus")), "janus of unknown version");
    }
}
