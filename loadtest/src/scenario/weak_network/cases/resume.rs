//! A link that dies and comes back, and a client whose address changes, as from Wi-Fi to mobile.

use super::*;

const BEFORE: Duration = Duration::from_secs(10);
const OUTAGE: Duration = Duration::from_secs(10);
/// For media to come back, whatever it takes.
const AFTER: Duration = Duration::from_secs(30);
const PROFILE: &str = "drop-1m-300k";
/// It is told to a twentieth of a second when media is back.
const EVERY_MS: u32 = 50;

pub async fn run(setting: Setting<'_>) -> Result<Run> {
    let mut profile = Profile::shipped(PROFILE)?;
    profile.down.trace.clear();
    profile.down.repeat = None;
    let stage = Stage::set(setting.common, &profile, setting.seed, setting.common.cast()).await?;
    let idle = IdleShare::begin();
    let options = ViewerOptions {
        every_ms: Some(EVERY_MS),
        ..ViewerOptions::default()
    };
    let mut viewer = stage.village(&options).await?;
    let place = viewer.visit(&stage.url()).await?;
    let begin = until_heard(&viewer, place).await?;
    tokio::time::sleep(BEFORE).await;
    stage.link.cut(OUTAGE);
    tokio::time::sleep(OUTAGE).await;
    let mended = now_ms();
    tokio::time::sleep(AFTER).await;
    let moved = now_ms();
    stage.move_client()?;
    tokio::time::sleep(AFTER).await;
    let end = now_ms();
    let idle_share = idle.end();
    let visit = Visit::last_of(viewer.since(place));
    let mut run = Run {
        case: "resume".to_owned(),
        profile: PROFILE.to_owned(),
        seed: setting.seed,
        idle_share,
        ..describe(&visit, SPEAKER, begin, end)
    };
    for (what, at, until) in [("the outage", mended, moved), ("the change of address", moved, end)] {
        let back = visit.media_back(SPEAKER, at, until);
        run.at_most(&format!("seconds after {what} until sound"), 2.0, back.sound);
        run.at_most(
            &format!("seconds after {what} until the picture moves"),
            2.0,
            back.picture,
        );
    }
    run.at_most("joins anew", 0.0, run.rejoins as f64);
    run.more.insert("WebSockets lost".to_owned(), visit.sockets_lost as f64);
    viewer.close().await;
    stage.strike().await?;
    Ok(run)
}
