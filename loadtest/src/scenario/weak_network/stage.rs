//! What a run needs: a link, a server at its good end, and a meeting of people in the city.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use tianqiao_protocol::MediaKind;
use tianqiao_testnet::profile::Profile;
use tianqiao_testnet::tun_link::TunLink;

use super::score::{Score, Scorer};
use super::viewer::{Viewer, ViewerOptions, now_ms};
use crate::client::{ClientKind, Clients, NoSink, PeerConfig, Server};
use crate::media::{MediaSource, Recording, ReplaySource};
use crate::server_process::{ServerOptions, ServerProcess};
use crate::target::tianqiao::MeetingMember;
use crate::target::{Meeting, MemberConfig};

/// The name under which the one who talks is in the meeting.
pub const SPEAKER: &str = "Speaker";
pub const VILLAGE: &str = "Village";
/// Smallest first, as in the web client.
const RIDS: [&str; 3] = ["q", "h", "f"];
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Of the client's end of a [`TunLink`].
const LINK_DEVICE: &str = "eth0";
const LINK_PREFIX: u8 = 29;

/// Who talks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SpeakerKind {
    /// A client that sends again what a browser encoded: costs nothing, but always sends all layers at their own rates.
    #[default]
    Replay,
    /// A browser with the page.
    Page,
}

/// Who is in the city.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cast {
    pub speaker: SpeakerKind,
    /// Who talk, at most two.
    pub voices: usize,
    /// Who send a 720p camera in three layers, the speaker included.
    pub cameras: usize,
}

/// What was recorded for the city's clients.
pub struct Recordings {
    folder: PathBuf,
    camera: Vec<Arc<Recording>>,
    voices: Vec<Arc<Recording>>,
    /// The same in a few bits.
    low_voices: Vec<Arc<Recording>>,
}

impl Recordings {
    pub fn load(folder: &Path) -> Result<Self> {
        let load = |name: String| Recording::load(&folder.join(name));
        let camera = RIDS.map(|rid| load(format!("camera-{rid}.frames")));
        let voices = [0, 1].map(|voice| load(format!("voice-{voice}.frames")));
        let low_voices = [0, 1].map(|voice| load(format!("low-{voice}.frames")));
        Ok(Self {
            folder: folder.canonicalize()?,
            camera: camera.into_iter().collect::<Result<_>>()?,
            voices: voices.into_iter().collect::<Result<_>>()?,
            low_voices: low_voices.into_iter().collect::<Result<_>>()?,
        })
    }

    /// The speech itself, as a .wav file.
    pub fn speech(&self, voice: usize) -> PathBuf {
        self.folder.join(format!("speech-{voice}.wav"))
    }

    fn sources(&self, voice: Option<usize>, has_camera: bool, start: Instant) -> Vec<Box<dyn MediaSource>> {
        let mut sources: Vec<Box<dyn MediaSource>> = Vec::new();
        if let Some(voice) = voice {
            for recording in [&self.voices[voice], &self.low_voices[voice]] {
                sources.push(Box::new(ReplaySource::new(
                    MediaKind::Audio,
                    Arc::clone(recording),
                    start,
                )));
            }
        }
        for layer in self.camera.iter().filter(|_| has_camera) {
            sources.push(Box::new(ReplaySource::new(MediaKind::Video, Arc::clone(layer), start)));
        }
        sources
    }
}

/// All that is common to the runs.
pub struct Common {
    pub server: ServerOptions,
    pub web_client: PathBuf,
    pub recordings: Recordings,
    pub clients: Clients,
    /// Added to the URL that the village opens.
    pub url_extra: String,
    /// The village's receivers hold no more than the browser thinks.
    pub small_buffer: bool,
    pub speaker: SpeakerKind,
    /// Who talk at once.
    pub voices: usize,
    /// Where speech is to be scored.
    pub scorer: Option<Scorer>,
}

impl Common {
    pub fn new(server: ServerOptions, web_client: &Path, recordings: Recordings) -> Result<Self> {
        Ok(Self {
            server,
            web_client: web_client.canonicalize().context("no web client")?,
            recordings,
            clients: ClientKind::Lean.start(1)?,
            url_extra: String::new(),
            small_buffer: false,
            speaker: SpeakerKind::default(),
            voices: 1,
            scorer: None,
        })
    }

    /// A meeting of one speaker, or as many as are wanted, and others with their cameras on.
    pub fn cast(&self) -> Cast {
        Cast {
            speaker: self.speaker,
            voices: self.voices,
            cameras: 5,
        }
    }

    /// Where what a page plays is kept, if it is to be scored.
    pub fn recording(&self, case: &str, seed: u64) -> Option<PathBuf> {
        let file = format!("heard-{case}-{seed}.wav");
        self.scorer.as_ref().map(|_| self.recordings.folder.join(file))
    }

    /// Of what was recorded while the first voice spoke.
    pub async fn score(&self, recording: Option<&Path>) -> Result<Option<Score>> {
        match (&self.scorer, recording) {
            (Some(scorer), Some(heard)) => Ok(Some(scorer.score(&self.recordings.speech(0), heard).await?)),
            _ => Ok(None),
        }
    }
}

/// A meeting that goes on on a server of its own.
pub struct Room<'a> {
    pub common: &'a Common,
    pub server: ServerProcess,
    pub meeting: Meeting,
    pub join_url: String,
    /// The speaker first, unless that is a browser.
    pub city: Vec<MeetingMember>,
    speaker: Option<Viewer>,
}

/// A room with a link to it, behind which nobody is yet.
pub struct Stage<'a> {
    pub room: Room<'a>,
    pub link: TunLink,
    /// When the link's record by second begins, in milliseconds since the epoch.
    pub link_began: f64,
}

impl<'a> Room<'a> {
    pub async fn open(common: &'a Common, server: &ServerOptions, cast: Cast) -> Result<Self> {
        let server = ServerProcess::start(server).await?;
        let meeting = Meeting::open(Server::new(&server.url, true)?, None).await?;
        let join_url = meeting.join_url().context("a new meeting has a link")?.to_owned();
        let mut room = Self {
            common,
            server,
            meeting,
            join_url,
            city: Vec::new(),
            speaker: None,
        };
        room.gather(cast).await?;
        Ok(room)
    }

    async fn gather(&mut self, cast: Cast) -> Result<()> {
        let by_page = usize::from(cast.speaker == SpeakerKind::Page && cast.voices > 0);
        if by_page == 1 {
            let options = ViewerOptions {
                name: SPEAKER.to_owned(),
                microphone: true,
                camera: cast.cameras > 0,
                film: true,
                speech: Some(self.common.recordings.speech(0).display().to_string()),
                certificate: self.server.certificate(),
                ..Default::default()
            };
            let mut page = Viewer::launch(&self.common.web_client, None, &options).await?;
            page.visit(&self.join_url).await?;
            self.speaker = Some(page);
        }
        let start = Instant::now();
        for index in by_page..cast.cameras.max(cast.voices) {
            let voice = (index < cast.voices).then_some(index);
            let has_camera = index < cast.cameras;
            let name = match index {
                0 if cast.voices > 0 => SPEAKER.to_owned(),
                _ => format!("City {index}"),
            };
            let config = MemberConfig {
                clients: self.common.clients.clone(),
                peer: PeerConfig {
                    microphone: voice.is_some(),
                    low_voice: voice.is_some(),
                    camera: has_camera,
                    repair: true,
                    rids: RIDS.map(str::to_owned).to_vec(),
                    ..Default::default()
                },
                ..Default::default()
            };
            let member = self.meeting.join(&name, &config, Box::new(NoSink)).await?;
            member.participant.media.connected(CONNECT_LIMIT).await?;
            // Their frames are spread over a frame's time, as in life.
            let start = start + Duration::from_millis(7) * index as u32;
            let sources = self.common.recordings.sources(voice, has_camera, start);
            member.participant.media.publish(sources);
            self.city.push(member);
        }
        Ok(())
    }

    /// The meeting's number.
    pub fn code(&self) -> &str {
        self.join_url.rsplit('/').next().unwrap_or_default()
    }

    /// A browser in the city that sends nothing.
    pub async fn onlooker(&self, name: &str) -> Result<Viewer> {
        let options = ViewerOptions {
            name: name.to_owned(),
            certificate: self.server.certificate(),
            ..Default::default()
        };
        Viewer::launch(&self.common.web_client, None, &options).await
    }

    pub async fn close(self) -> Result<()> {
        if let Some(speaker) = self.speaker {
            speaker.close().await;
        }
        for member in self.city {
            drop(member.participant);
        }
        self.server.stop().await
    }
}

impl<'a> Stage<'a> {
    pub async fn set(common: &'a Common, profile: &Profile, seed: u64, cast: Cast) -> Result<Self> {
        let link = TunLink::start(profile, seed)?;
        let link_began = now_ms();
        let server = ServerOptions {
            addr: Some(link.server().into()),
            ..common.server.clone()
        };
        let room = Room::open(common, &server, cast).await?;
        Ok(Self { room, link, link_began })
    }

    /// A browser behind the link, which has not gone anywhere.
    pub async fn village(&self, options: &ViewerOptions) -> Result<Viewer> {
        let options = ViewerOptions {
            name: VILLAGE.to_owned(),
            certificate: self.room.server.certificate(),
            small_buffer: self.room.common.small_buffer,
            ..options.clone()
        };
        Viewer::launch(&self.room.common.web_client, Some(self.link.netns()), &options).await
    }

    /// What the village opens.
    pub fn url(&self) -> String {
        format!("{}{}", self.room.join_url, self.room.common.url_extra)
    }

    /// Gives who is behind the link another address, as a change of network does, and takes the old one away.
    pub fn move_client(&self) -> Result<()> {
        let (old, new) = (
            self.link.client(),
            Ipv4Addr::from_bits(self.link.client().to_bits() + 1),
        );
        let netns = self.link.netns();
        netns.ip(&["addr", "del", &format!("{old}/{LINK_PREFIX}"), "dev", LINK_DEVICE])?;
        netns.ip(&["addr", "add", &format!("{new}/{LINK_PREFIX}"), "dev", LINK_DEVICE])?;
        // With the address its route went.
        netns.ip(&["route", "replace", "default", "via", &self.link.server().to_string()])?;
        Ok(())
    }

    /// Of a wall clock's time, the second in the link's record.
    pub fn link_second(&self, at: f64) -> usize {
        ((at - self.link_began) / 1e3).max(0.0) as usize
    }

    pub async fn strike(self) -> Result<()> {
        self.room.close().await?;
        let link = self.link;
        // It waits for a thread, and for `ip`.
        tokio::task::spawn_blocking(move || drop(link)).await?;
        Ok(())
    }
}
