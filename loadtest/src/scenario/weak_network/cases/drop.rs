//! A good link that is bad for a while.

use super::*;

/// To climb to what the link carries before it falls.
const BEFORE: Duration = Duration::from_secs(25);
const BAD: Duration = Duration::from_secs(20);
const AFTER: Duration = Duration::from_secs(25);
/// Of each part, to judge how the link is used when all has settled.
const STEADY: f64 = 10e3;
/// What the fall itself may cost.
const FALL: f64 = 1e3;

pub async fn run(setting: Setting<'_>) -> Result<Run> {
    let shipped = Profile::shipped("drop-1m-300k")?;
    let (good, bad) = by_command(&shipped);
    let stage = Stage::set(setting.common, &good, setting.seed, setting.common.cast()).await?;
    let idle = IdleShare::begin();
    let mut viewer = stage.village(&ViewerOptions::default()).await?;
    let place = viewer.visit(&stage.url()).await?;
    let begin = until_heard(&viewer, place).await?;
    tokio::time::sleep(BEFORE).await;
    let fallen = now_ms();
    stage.link.set_profile(bad);
    tokio::time::sleep(BAD).await;
    let mended = now_ms();
    stage.link.set_profile(good);
    tokio::time::sleep(AFTER).await;
    let end = now_ms();
    let idle_share = idle.end();
    let visit = Visit::last_of(viewer.since(place));
    let link = stage.link.report();
    let in_drop = visit.picture(SPEAKER, fallen + FALL, mended);
    let used = |to: f64| link_use(&link, stage.link_second(to - STEADY), stage.link_second(to));
    let mut run = Run {
        case: "drop".to_owned(),
        profile: "drop-1m-300k".to_owned(),
        seed: setting.seed,
        link_use: used(fallen),
        idle_share,
        ..describe(&visit, SPEAKER, begin, end)
    };
    let layers = Layers::of(&visit, fallen, mended);
    run.at_most(
        "seconds of the longest freeze in the drop",
        1.0,
        in_drop.longest_seconds,
    );
    run.at_most("seconds until lower layers", 2.0, layers.lower);
    run.at_most("seconds until full layers again", 10.0, layers.full);
    run.at_least("link use before the drop", 0.8, used(fallen));
    run.at_least("link use late in the drop", 0.8, used(mended));
    run.at_least("link use late after it", 0.8, used(end));
    for (what, value) in [
        ("lines of all pictures before the drop", f64::from(layers.before)),
        ("concealed in the drop", visit.speech(fallen, mended).concealed_share),
        (
            "speaker's fps before",
            visit.picture(SPEAKER, fallen - STEADY, fallen).fps,
        ),
        ("speaker's fps in the drop", in_drop.fps),
        (
            "speaker's fps late after",
            visit.picture(SPEAKER, end - STEADY, end).fps,
        ),
    ] {
        run.more.insert(what.to_owned(), value);
    }
    viewer.close().await;
    stage.strike().await?;
    Ok(run)
}

/// The link before and in its first drop, each for good: the drop comes when all has settled.
fn by_command(shipped: &Profile) -> (Profile, Profile) {
    let mut good = shipped.clone();
    let steps = std::mem::take(&mut good.down.trace);
    good.down.repeat = None;
    let mut bad = good.clone();
    bad.down.rate = steps.first().and_then(|step| step.rate).or(bad.down.rate);
    (good, bad)
}

/// What the layers of all pictures did. Times are seconds since the drop, and since its end.
struct Layers {
    /// Lines of all pictures that moved.
    before: u32,
    lower: Option<f64>,
    full: Option<f64>,
}

impl Layers {
    fn of(visit: &Visit, fallen: f64, mended: f64) -> Self {
        let lines = visit.lines(None);
        let settled = lines.iter().filter(|(at, _)| (fallen - STEADY..fallen).contains(at));
        let mut settled: Vec<u32> = settled.map(|(_, lines)| *lines).collect();
        settled.sort_unstable();
        let before = settled.get(settled.len() / 2).copied().unwrap_or_default();
        let first = |since: f64, is_it: &dyn Fn(u32) -> bool| {
            let mut later = lines.iter().filter(|(at, _)| *at > since);
            later.find(|(_, lines)| is_it(*lines)).map(|(at, _)| (at - since) / 1e3)
        };
        Self {
            before,
            lower: first(fallen, &|lines| lines < before),
            full: first(mended, &|lines| before > 0 && lines >= before),
        }
    }
}
