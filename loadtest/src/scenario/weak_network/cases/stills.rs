//! Somebody in the city shows slides while another talks; the village gets stills of them.

use super::*;

const PROFILE: &str = "village-bad";
const PRESENTER: &str = "Presenter";
const SLIDES: u32 = 7;
const SLIDES_IN_SHORT: u32 = 2;
/// For a slide to be there; past it the next one is shown.
const SLIDE_LIMIT: Duration = Duration::from_secs(60);
/// How long a slide is talked about once it is there.
const TALK: Duration = Duration::from_secs(10);

pub async fn run(setting: Setting<'_>) -> Result<Run> {
    let cast = Cast {
        cameras: 2,
        ..setting.common.cast()
    };
    let stage = Stage::set(setting.common, &Profile::shipped(PROFILE)?, setting.seed, cast).await?;
    let idle = IdleShare::begin();
    let slides = ViewerOptions {
        name: PRESENTER.to_owned(),
        slides: true,
        ..Default::default()
    };
    let mut presenter = Viewer::launch(&setting.common.web_client, None, &slides).await?;
    let entered = presenter.visit(&stage.room.join_url).await?;
    let joined = |report: &Report| matches!(report, Report::Joined).then_some(());
    presenter.find(entered, HEAR_LIMIT, joined).await?;
    presenter.share().await?;
    let recording = setting.common.recording("stills", setting.seed);
    let listener = ViewerOptions {
        recording: recording.clone(),
        ..Default::default()
    };
    let mut viewer = stage.village(&listener).await?;
    let place = viewer.visit(&stage.url()).await?;
    let begin = until_heard(&viewer, place).await.unwrap_or_else(|_| now_ms());
    let first = shows(&viewer, place, 0).await;
    let mut seconds = Vec::new();
    for number in 1..=if setting.short { SLIDES_IN_SHORT } else { SLIDES } {
        tokio::time::sleep(TALK).await;
        let place = viewer.count();
        let changed = presenter.show_slide(number).await?;
        let shown = shows(&viewer, place, number).await;
        seconds.push(shown.map(|shown| (shown - changed) / 1e3));
    }
    tokio::time::sleep(TALK).await;
    let end = now_ms();
    let visit = Visit::last_of(viewer.since(place));
    let mut run = Run {
        case: "stills".to_owned(),
        profile: PROFILE.to_owned(),
        seed: setting.seed,
        idle_share: idle.end(),
        ..describe(&visit, SPEAKER, begin, end)
    };
    // One that never came makes the worst never.
    let worst = seconds.iter().copied().reduce(|worst, next| Some(worst?.max(next?)));
    let came: Vec<f64> = seconds.iter().copied().flatten().collect();
    let mean = came.iter().sum::<f64>() / came.len().max(1) as f64;
    run.more.insert("still_seconds, mean".to_owned(), mean);
    if let Some(first) = first {
        run.more.insert(
            "seconds from the first sound to the first still".to_owned(),
            (first - begin) / 1e3,
        );
    }
    if let Some(last) = visit.samples.last() {
        run.more
            .insert("kB of the last still".to_owned(), last.still_bytes / 1e3);
    }
    run.at_most("still_seconds, worst", 20.0, worst.flatten());
    match setting.short {
        true => run.at_most("concealed speech", 0.9, run.concealed_share),
        false => judge_speech(&mut run, "", 0.03),
    }
    viewer.close().await;
    presenter.close().await;
    stage.strike().await?;
    run.score = setting.common.score(recording.as_deref()).await?;
    Ok(run)
}

/// When the page shows a still of that slide; `None`: not in time.
async fn shows(viewer: &Viewer, place: usize, number: u32) -> Option<f64> {
    let shows = |report: &Report| match report {
        Report::Sample(sample) if sample.slide == Some(number) => Some(sample.at),
        _ => None,
    };
    viewer.find(place, SLIDE_LIMIT, shows).await.ok()
}
