//! `weak-network`: what a person behind a weak link hears and sees of a meeting, measured in real browsers.

mod cases;
mod figures;
mod idle;
mod report;
mod score;
mod stage;
mod viewer;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;
use tokio::process::Command;

use self::report::table;
use self::score::Scorer;
use self::stage::{Common, Recordings};
use crate::server_process::ServerOptions;

pub use self::cases::Case;
pub use self::report::{Check, Run};
pub use self::stage::SpeakerKind;

#[derive(Clone, Debug)]
pub struct WeakNetworkOptions {
    /// All, where there are none.
    pub only: Vec<Case>,
    /// Each case is run once with each.
    pub seeds: Vec<u64>,
    /// Of the measured span; `None` is the case's own.
    pub seconds: Option<u64>,
    /// Added to the URL that the village opens.
    pub url_extra: String,
    /// The village's receivers hold no more than the browser thinks.
    pub small_buffer: bool,
    pub speaker: SpeakerKind,
    pub server: ServerOptions,
    pub web_client: PathBuf,
    /// For what is made once and for the results.
    pub folder: PathBuf,
    pub output: PathBuf,
    /// Short runs with bounds that only what is broken misses.
    pub short: bool,
    /// Who talk at once.
    pub voices: usize,
    /// Keeps the runs that `output` has.
    pub append: bool,
    /// Scores the speech that is heard.
    pub score: bool,
    /// What is special in this run, for the table.
    pub variant: String,
}

/// What a case is run with.
#[derive(Clone, Copy)]
struct Setting<'a> {
    common: &'a Common,
    seed: u64,
    seconds: Option<u64>,
    short: bool,
}

impl Setting<'_> {
    /// Length of the measured span where `usual` is the case's own.
    fn seconds(&self, usual: u64) -> Duration {
        let usual = if self.short { SHORT_SECONDS } else { usual };
        Duration::from_secs(self.seconds.unwrap_or(usual))
    }
}

const SHORT: [Case; 3] = [Case::Village2gEdge, Case::Village3g, Case::Lossy2m];
const SHORT_SECONDS: u64 = 20;

/// The cases and what they are about.
pub fn list() -> Vec<(String, String)> {
    let describe = |case: &Case| {
        let value = case.to_possible_value()?;
        let help = value.get_help().map(ToString::to_string);
        Some((value.get_name().to_owned(), help.unwrap_or_default()))
    };
    Case::value_variants().iter().filter_map(describe).collect()
}

/// Runs, prints each run's verdict when it is over, then the table; the results are in the file too.
pub async fn run(options: &WeakNetworkOptions) -> Result<Vec<Run>> {
    record(&options.web_client, &options.folder).await?;
    let recordings = Recordings::load(&options.folder)?;
    let mut common = Common::new(options.server.clone(), &options.web_client, recordings)?;
    common.url_extra.clone_from(&options.url_extra);
    common.small_buffer = options.small_buffer;
    common.speaker = options.speaker;
    common.voices = options.voices;
    if options.score {
        common.scorer = Some(Scorer::install(&common.web_client, &options.folder.canonicalize()?).await?);
    }
    let cases = match options.only.as_slice() {
        [] if options.short => &SHORT,
        [] => Case::value_variants(),
        only => only,
    };
    let before = if options.append { read(&options.output)? } else { vec![] };
    let mut runs = Vec::new();
    for case in cases {
        for seed in &options.seeds {
            let setting = Setting {
                common: &common,
                seed: *seed,
                seconds: options.seconds,
                short: options.short,
            };
            let found = case.run(setting).await.with_context(|| case.name())?;
            for mut run in found {
                run.variant.clone_from(&options.variant);
                eprintln!("{}, seed {seed}\n{}", run.case, run.verdicts().trim_end());
                runs.push(run);
            }
            write(&options.output, &before, &runs)?;
        }
    }
    print!("{}", table(&runs));
    println!("{}", options.output.display());
    Ok(runs)
}

fn read(path: &Path) -> Result<Vec<Value>> {
    if !path.exists() {
        return Ok(vec![]);
    }
    let text = std::fs::read_to_string(path)?;
    serde_json::from_str(&text).with_context(|| format!("{} has no runs", path.display()))
}

fn write(path: &Path, before: &[Value], runs: &[Run]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut all = before.to_vec();
    for run in runs {
        all.push(serde_json::to_value(run)?);
    }
    Ok(std::fs::write(path, serde_json::to_string_pretty(&all)?)?)
}

/// Lets a browser encode what the city sends, where that is not there yet.
async fn record(web_client: &Path, folder: &Path) -> Result<()> {
    ensure!(
        web_client.join("node_modules").is_dir(),
        "no web client at {}: run `make web` there, or use --web-client",
        web_client.display()
    );
    std::fs::create_dir_all(folder)?;
    let status = Command::new("node")
        .args(["--import", "tsx", "tests/weak-network/record.ts"])
        .arg(folder.canonicalize()?)
        .current_dir(web_client)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("Node does not start")?;
    match status.success() {
        true => Ok(()),
        false => bail!("the city's media could not be recorded"),
    }
}
