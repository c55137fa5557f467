//! How long it takes to hear the speaker: from an empty cache, and at a second visit.

use anyhow::Context;

use super::*;

/// Visits of each kind, whose median counts.
const TIMES: usize = 5;
/// Between leaving and coming back.
const PAUSE: Duration = Duration::from_secs(3);
/// Until the page is kept for the second visit.
const KEEP_LIMIT: Duration = Duration::from_secs(60);
/// Profile, and bounds of the first and the second visit in seconds.
const BOUNDS: [(&str, f64, f64); 2] = [("village-2g-edge", 8.0, 5.0), ("village-bad", 15.0, 8.0)];

pub async fn run(setting: Setting<'_>) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for (profile, first_bound, second_bound) in BOUNDS {
        let (first, second) = visits(setting, profile).await?;
        for (which, bound, mut visits) in [("first", first_bound, first), ("second", second_bound, second)] {
            // Those who never heard come last.
            visits.sort_by(|a, b| {
                a.heard_ms
                    .unwrap_or(f64::MAX)
                    .total_cmp(&b.heard_ms.unwrap_or(f64::MAX))
            });
            let mut run = visits.swap_remove(TIMES / 2);
            run.case = format!("join {profile}, {which} visit");
            run.at_most("seconds until the first sound", bound, run.heard_ms.map(|ms| ms / 1e3));
            for (rank, other) in visits.iter().enumerate() {
                let seconds = other.heard_ms.map_or(f64::INFINITY, |ms| ms / 1e3);
                run.more.insert(format!("seconds of another ({rank})"), seconds);
            }
            runs.push(run);
        }
    }
    Ok(runs)
}

/// The first and the second visits of as many fresh browsers.
async fn visits(setting: Setting<'_>, profile: &str) -> Result<(Vec<Run>, Vec<Run>)> {
    let stage = Stage::set(
        setting.common,
        &Profile::shipped(profile)?,
        setting.seed,
        setting.common.cast(),
    )
    .await?;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let mut viewer = stage.village(&ViewerOptions::default()).await?;
        for visits in [&mut first, &mut second] {
            let idle = IdleShare::begin();
            let place = viewer.visit(&stage.url()).await?;
            let heard = until_heard(&viewer, place).await.unwrap_or_else(|_| now_ms());
            let visit = Visit::last_of(viewer.since(place));
            visits.push(Run {
                profile: profile.to_owned(),
                seed: setting.seed,
                idle_share: idle.end(),
                ..describe(&visit, SPEAKER, heard, heard)
            });
            let kept = |report: &Report| matches!(report, Report::Kept).then_some(());
            viewer
                .find(place, KEEP_LIMIT, kept)
                .await
                .context("the page is not kept")?;
            viewer.leave().await?;
            tokio::time::sleep(PAUSE).await;
        }
        viewer.close().await;
    }
    stage.strike().await?;
    Ok((first, second))
}
