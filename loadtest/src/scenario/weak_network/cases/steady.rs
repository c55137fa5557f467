//! A link that stays as bad as it is: a shipped profile, and somebody who listens behind it.

use super::*;

const GOOD: &str = r#"
description = "20 Mbit/s, 40 ms round trip"
[down]
rate = "20Mbps"
queue = "100ms"
delay = "20ms"
[up]
rate = "20Mbps"
queue = "100ms"
delay = "20ms"
"#;
/// To climb to what the link carries.
const CLIMB: f64 = 10e3;

pub async fn run(case: Case, setting: Setting<'_>) -> Result<Run> {
    let profile = match case {
        Case::Good => GOOD.parse()?,
        _ => Profile::shipped(&case.name())?,
    };
    let stage = Stage::set(setting.common, &profile, setting.seed, setting.common.cast()).await?;
    let idle = IdleShare::begin();
    let recording = setting.common.recording(&case.name(), setting.seed);
    let listener = ViewerOptions {
        recording: recording.clone(),
        ..Default::default()
    };
    let mut viewer = stage.village(&listener).await?;
    let place = viewer.visit(&stage.url()).await?;
    // Who never hears anything is a result too.
    let begin = until_heard(&viewer, place).await.unwrap_or_else(|_| now_ms());
    tokio::time::sleep(setting.seconds(120)).await;
    let end = now_ms();
    let idle_share = idle.end();
    let visit = Visit::last_of(viewer.since(place));
    let link = stage.link.report();
    let mut run = Run {
        case: case.name(),
        profile: case.name(),
        seed: setting.seed,
        link_use: link_use(&link, stage.link_second(begin + CLIMB), stage.link_second(end)),
        idle_share,
        ..describe(&visit, SPEAKER, begin, end)
    };
    match setting.short {
        true => judge_in_short(&mut run),
        false => judge(case, setting.common.voices, &mut run),
    }
    viewer.close().await;
    stage.strike().await?;
    run.score = setting.common.score(recording.as_deref()).await?;
    Ok(run)
}

/// Bounds that hold on a busy machine too.
fn judge_in_short(run: &mut Run) {
    run.at_most("seconds until the first sound", 45.0, run.heard_ms.map(|ms| ms / 1e3));
    run.at_least("link use", 0.2, run.link_use);
    run.at_most("concealed speech", 0.4, run.concealed_share);
    run.at_least("time with sound", 0.8, run.played_share);
}

fn judge(case: Case, voices: usize, run: &mut Run) {
    let fps = run.fps;
    match case {
        Case::VillageBad => judge_speech(run, "", if voices > 1 { 0.05 } else { 0.03 }),
        Case::Village2gEdge => judge_speech(run, "", 0.01),
        Case::Village3g => {
            judge_speech(run, "", 0.01);
            run.at_least("the speaker's frames per second", 5.0, fps);
        }
        Case::Good => {
            judge_speech(run, "", 0.005);
            // A page's film has 20.
            run.at_least("the speaker's frames per second", 18.0, fps);
        }
        Case::Lossy2m => {
            run.at_least("the speaker's frames per second", 15.0, fps);
            run.at_most("share of the time in freezes", 0.05, run.freeze_seconds / run.seconds);
        }
        _ => {}
    }
    let trouble = (run.reconnects + run.rejoins) as f64;
    run.at_most("times that the page was in trouble", 0.0, trouble);
}
