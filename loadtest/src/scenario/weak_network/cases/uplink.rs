//! Somebody in the village speaks, with the camera on, and the city listens.

use super::*;

const PROFILE: &str = "village-2g-edge";

pub async fn run(setting: Setting<'_>) -> Result<Run> {
    // The city has pictures for the village, which load its link down.
    let cast = Cast {
        voices: 0,
        cameras: 4,
        ..Default::default()
    };
    let stage = Stage::set(setting.common, &Profile::shipped(PROFILE)?, setting.seed, cast).await?;
    let idle = IdleShare::begin();
    let recording = setting.common.recording("uplink", setting.seed);
    let listener = ViewerOptions {
        name: "Listener".to_owned(),
        recording: recording.clone(),
        ..Default::default()
    };
    let mut city = Viewer::launch(&setting.common.web_client, None, &listener).await?;
    let place = city.visit(&stage.url()).await?;
    let cadre = ViewerOptions {
        microphone: true,
        camera: true,
        film: true,
        speech: Some(setting.common.recordings.speech(0).display().to_string()),
        ..Default::default()
    };
    let mut cadre = stage.village(&cadre).await?;
    let cadre_place = cadre.visit(&stage.url()).await?;
    let begin = until_heard(&city, place).await.unwrap_or_else(|_| now_ms());
    tokio::time::sleep(setting.seconds(120)).await;
    let end = now_ms();
    let idle_share = idle.end();
    let visit = Visit::last_of(city.since(place));
    let own = Visit::last_of(cadre.since(cadre_place));
    let mut run = Run {
        case: "uplink".to_owned(),
        profile: PROFILE.to_owned(),
        seed: setting.seed,
        idle_share,
        ..describe(&visit, VILLAGE, begin, end)
    };
    run.page_ms = own.opened.zip(own.ready).map(|(opened, ready)| ready - opened);
    run.heard_ms = own.opened.zip(visit.heard()).map(|(opened, heard)| heard - opened);
    run.first_picture_ms = None;
    (run.reconnects, run.rejoins) = (own.troubles(), own.rejoins());
    judge_speech(&mut run, " in the city", 0.02);
    let up = &stage.link.report().counters.up;
    run.more
        .insert("packets up that found the queue full".to_owned(), up.overflowed as f64);
    if let Some(last) = own.samples.last() {
        run.more.insert("kB of audio sent".to_owned(), last.sent_audio / 1e3);
        run.more.insert("kB of video sent".to_owned(), last.sent_video / 1e3);
    }
    cadre.close().await;
    city.close().await;
    stage.strike().await?;
    run.score = setting.common.score(recording.as_deref()).await?;
    Ok(run)
}
