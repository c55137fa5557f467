//! One stream of several layers: does a viewer decode the layer that fits?

use super::super::stage::Room;
use super::super::viewer::Whip;
use super::*;

const CODECS: [&str; 2] = ["video/VP9", "video/AV1"];
const MODES: [&str; 2] = ["L1T3", "L3T3_KEY"];
const PUBLISHER: &str = "Layers";
/// The page's size, whether the picture is on the stage, and the lines of the layer that fits.
const VIEWS: [([u32; 2], bool, u32); 3] = [
    ([660, 490], false, 180),
    ([1280, 800], false, 360),
    ([1280, 800], true, 720),
];
/// For the publisher's own estimate to allow all its layers.
const RAMP: Duration = Duration::from_secs(10);
/// For the layer to change.
const SETTLE: f64 = 6e3;
const STEADY: f64 = 8e3;

pub async fn run(setting: Setting<'_>) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for codec in CODECS {
        for mode in MODES {
            runs.extend(view(setting, codec, mode).await?);
        }
    }
    Ok(runs)
}

async fn view(setting: Setting<'_>, codec: &str, mode: &str) -> Result<Vec<Run>> {
    let cast = Cast {
        voices: 0,
        cameras: 0,
        ..Default::default()
    };
    let room = Room::open(setting.common, &setting.common.server, cast).await?;
    let film = ViewerOptions {
        name: PUBLISHER.to_owned(),
        film: true,
        ..Default::default()
    };
    let mut publisher = Viewer::launch(&setting.common.web_client, None, &film).await?;
    let whip = Whip {
        endpoint: format!("{}/whip/{}", room.server.url, room.code()),
        token: room.meeting.token(PUBLISHER).await?,
        codec,
        mode,
    };
    publisher.publish(&room.server.url, &whip).await?;
    tokio::time::sleep(RAMP).await;
    let mut viewer = room.onlooker("Viewer").await?;
    let place = viewer.visit(&room.join_url).await?;
    let mut runs = Vec::new();
    for (size, is_pinned, lines) in VIEWS {
        let idle = IdleShare::begin();
        viewer.resize(size).await?;
        if is_pinned {
            viewer.pin(PUBLISHER).await?;
        }
        tokio::time::sleep(Duration::from_millis((SETTLE + STEADY) as u64)).await;
        let end = now_ms();
        let visit = Visit::last_of(viewer.since(place));
        let picture = visit.picture(PUBLISHER, end - STEADY, end);
        let mut run = Run {
            case: format!("svc {} {mode} at {lines}", codec.trim_start_matches("video/")),
            seed: setting.seed,
            idle_share: idle.end(),
            ..describe(&visit, PUBLISHER, end - STEADY, end)
        };
        run.at_least("frames per second", 2.0, picture.fps);
        // Without spatial layers there is one size, and the encoder chooses it.
        if !mode.starts_with("L1") {
            run.exactly("lines", lines.into(), f64::from(picture.height));
        }
        run.at_most("key frame requests in the steady state", 0.0, picture.plis);
        runs.push(run);
    }
    viewer.close().await;
    publisher.close().await;
    room.close().await?;
    Ok(runs)
}
