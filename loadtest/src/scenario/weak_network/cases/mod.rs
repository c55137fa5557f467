//! The cases, each with the bounds that it is to keep.

mod drop;
mod join;
mod links;
mod resume;
mod steady;
mod stills;
mod svc;
mod uplink;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use tianqiao_testnet::profile::Profile;

use super::Setting;
use super::figures::{Visit, link_use};
use super::idle::IdleShare;
use super::report::Run;
use super::stage::{Cast, SPEAKER, Stage, VILLAGE};
use super::viewer::{Report, Viewer, ViewerOptions, now_ms};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// 100 kbit/s, 300 ms, 20 % loss: is speech understood?
    VillageBad,
    /// 100 kbit/s, 300 ms, 5 % loss: is speech heard whole?
    #[value(name = "village-2g-edge")]
    Village2gEdge,
    /// 384 kbit/s, 200 ms, bursts of loss: speech whole, and the speaker's picture moves.
    #[value(name = "village-3g")]
    Village3g,
    /// 2 Mbit/s and 20 % random loss: does video go on?
    #[value(name = "lossy-2m")]
    Lossy2m,
    /// 1 Mbit/s that falls to 300 kbit/s for 20 s and comes back.
    Drop,
    /// A link that is dead for 10 s, then a client whose address changes.
    Resume,
    /// Thirty people on thirty links in one room: does each get what its own link carries?
    Links,
    /// A cadre with the camera on behind 100 kbit/s up, 300 ms, 5 %: does the city hear?
    Uplink,
    /// From an empty cache to the first sound, and a second visit, on the two worst links.
    Join,
    /// AV1 and VP9 in one stream of several layers, seen at three sizes.
    Svc,
    /// Slides that are shown to 100 kbit/s, 300 ms, 20 %: when is each there, and is speech still understood?
    Stills,
    /// A link with room for everything: what the measuring itself adds.
    Good,
    /// LTE in a car.
    LteMoving,
    /// A hotel's Wi-Fi.
    HotelWifi,
    /// A geostationary satellite.
    Satellite,
}

/// Until the first sound of a visit: over the worst link that took over 20 s.
const HEAR_LIMIT: Duration = Duration::from_secs(60);

impl Case {
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("no case is hidden");
        value.get_name().to_owned()
    }

    pub(super) async fn run(self, setting: Setting<'_>) -> Result<Vec<Run>> {
        Ok(match self {
            Self::Drop => vec![drop::run(setting).await?],
            Self::Resume => vec![resume::run(setting).await?],
            Self::Uplink => vec![uplink::run(setting).await?],
            Self::Links => links::run(setting).await?,
            Self::Svc => svc::run(setting).await?,
            Self::Join => join::run(setting).await?,
            Self::Stills => vec![stills::run(setting).await?],
            _ => vec![steady::run(self, setting).await?],
        })
    }
}

/// The visit whose reports begin at `place`, when it has come to its first sound.
async fn until_heard(viewer: &Viewer, place: usize) -> Result<f64> {
    let sounds = |report: &Report| match report {
        Report::Sample(sample) if sample.has_sound() => Some(sample.at),
        _ => None,
    };
    viewer.find(place, HEAR_LIMIT, sounds).await
}

/// Few concealed samples mean little where there are few samples.
fn judge_speech(run: &mut Run, whose: &str, bound: f64) {
    run.at_most(&format!("concealed speech{whose}"), bound, run.concealed_share);
    run.at_least(&format!("time with sound{whose}"), 0.95, run.played_share);
}

/// What is common to the runs: what was heard, and seen of `whom`, between two times.
fn describe(visit: &Visit, whom: &str, from: f64, to: f64) -> Run {
    let since_opened = |at: Option<f64>| Some(at? - visit.opened?);
    let speech = visit.speech(from, to);
    let picture = visit.picture(whom, from, to);
    Run {
        seconds: (to - from) / 1e3,
        page_ms: since_opened(visit.ready),
        heard_ms: since_opened(visit.heard()),
        first_picture_ms: since_opened(visit.pictured()),
        freezes: picture.freezes,
        freeze_seconds: picture.freeze_seconds,
        longest_freeze_seconds: picture.longest_seconds,
        concealed_share: speech.concealed_share,
        missing_share: speech.missing_share,
        played_share: speech.played_share,
        fps: picture.fps,
        height: picture.height,
        audio_delay_ms: speech.delay_ms,
        reconnects: visit.troubles(),
        rejoins: visit.rejoins(),
        ..Default::default()
    }
}
