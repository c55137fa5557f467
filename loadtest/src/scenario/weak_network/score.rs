//! How well speech can be understood, by web-client/tests/weak-network/score.py in a Python of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

const PACKAGES: [&str; 4] = ["pesq", "pystoi", "numpy", "scipy"];
const SCRIPT: &str = "tests/weak-network/score.py";

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Score {
    /// ITU-T P.862.2, 1 to 4.6.
    pub pesq: Option<f64>,
    /// 0 to 1.
    pub stoi: Option<f64>,
    /// Of eight seconds each, over which both are means.
    pub windows: usize,
}

/// A Python with what the script needs.
#[derive(Debug)]
pub struct Scorer {
    python: PathBuf,
    script: PathBuf,
}

impl Scorer {
    /// Installs what is missing into `folder`.
    pub async fn install(web_client: &Path, folder: &Path) -> Result<Self> {
        let venv = folder.join("python");
        let python = venv.join("bin/python3");
        let scorer = Self {
            script: web_client.join(SCRIPT),
            python: python.clone(),
        };
        let imports = format!("import {}", PACKAGES.join(","));
        if run(Command::new(&python).args(["-c", &imports])).await.is_ok() {
            return Ok(scorer);
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).await?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "-q"])
            .args(PACKAGES))
        .await?;
        Ok(scorer)
    }

    pub async fn score(&self, said: &Path, heard: &Path) -> Result<Score> {
        let output = run(Command::new(&self.python).arg(&self.script).arg(said).arg(heard)).await?;
        serde_json::from_str(&output).context("the score is none")
    }
}

async fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.context("Python does not start")?;
    ensure!(
        output.status.success(),
        "Python says: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
