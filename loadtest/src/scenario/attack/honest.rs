//! Three participants of a meeting, and what an attack takes from them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde::Serialize;
use tianqiao_protocol::rest::{CreateMeeting, CreateToken, CreatedMeeting};
use tianqiao_protocol::ws::ServerMessage;
use tianqiao_protocol::{MediaKind, SlotTarget, TrackSource};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::text::is_foul;
use crate::client::{Clients, JoinConfig, MediaSink, Participant, PeerConfig, ReceivedRtp, Server};
use crate::media::{AudioSource, CountedSource, MediaSource, Stamp, TrackWindow, VideoFormat, VideoSource};

pub const PASSCODE: &str = "right horse 42";
const NAMES: [&str; 3] = ["Ann", "Bob", "Cem"];
/// A talk of three; the first of them is the loudest.
const LEVELS: [u8; 3] = [22, 34, 40];
const VIDEO_KBPS: u32 = 400;
const HEIGHT: u16 = 720;
const AUDIO_SLOTS: usize = 4;
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// For what is still on its way, or repaired, at the end of a window.
const DRAIN: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);

/// Which tracks the participants must receive of each other whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Judged {
    #[default]
    All,
    /// All but the voices of those who are not the loudest: others speak as well, and there are but so many slots.
    OneVoice,
}

/// What the three saw in a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    pub expected: u64,
    pub lost: u64,
    /// Without a packet of a track that has 30 or 50 a second.
    pub longest_gap_ms: f64,
    /// WebSockets that the server closed or that broke.
    pub websockets_cut: u64,
    pub media_cut: u64,
    /// Words of others with characters in them that turn the page's own words around.
    pub foul_texts: u64,
}

pub struct Honest {
    pub meeting: CreatedMeeting,
    members: Vec<Member>,
}

struct Member {
    participant: Participant,
    ears: Arc<Mutex<Ears>>,
    sent: [watch::Receiver<u64>; 2],
    watched: Arc<Watched>,
}

#[derive(Default)]
struct Watched {
    is_cut: AtomicBool,
    /// Chat lines and names with characters that do not belong there.
    foul: Mutex<Vec<String>>,
}

/// Begin of a window, by the packets that each has sent.
pub struct Window(Vec<u64>);

/// What one participant has received, by track.
#[derive(Default)]
struct Ears(HashMap<u16, Heard>);

#[derive(Default)]
struct Heard {
    /// A bit per packet.
    seen: Vec<u64>,
    last: Option<Instant>,
    longest_gap: Duration,
}

struct Sink(Arc<Mutex<Ears>>);

impl MediaSink for Sink {
    fn on_rtp(&mut self, packet: ReceivedRtp<'_>) {
        if let Some(stamp) = Stamp::read(packet.payload) {
            let mut ears = self.0.lock().expect("no hearing panics");
            ears.0.entry(stamp.track).or_default().on_packet(stamp.seq, packet.at);
        }
    }
}

impl Heard {
    fn on_packet(&mut self, seq: u64, at: Instant) {
        let word = (seq / 64) as usize;
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        self.seen[word] |= 1 << (seq % 64);
        if let Some(last) = self.last.replace(at) {
            self.longest_gap = self.longest_gap.max(at.saturating_duration_since(last));
        }
    }

    fn has(&self, seq: u64) -> bool {
        self.seen
            .get((seq / 64) as usize)
            .is_some_and(|word| word >> (seq % 64) & 1 == 1)
    }

    fn lost(&self, window: std::ops::Range<u64>) -> u64 {
        window.filter(|seq| !self.has(*seq)).count() as u64
    }
}

/// The address of an honest participant; each has its own.
pub fn address(index: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, 10 + index as u8).into()
}

impl Honest {
    /// Makes a meeting with a passcode; all join, publish and receive one another.
    pub async fn join(url: &str, clients: &Clients) -> Result<Self> {
        let server = Server::seen_from(url, false, Some(address(0)))?;
        let request = CreateMeeting {
            title: Some("Honest work".to_owned()),
            passcode: Some(PASSCODE.to_owned()),
        };
        let meeting = server.create_meeting(&request).await?;
        let joining = (0..NAMES.len()).map(|index| Member::join(url, clients, &meeting, index));
        let mut honest = Self {
            members: try_join_all(joining).await?,
            meeting,
        };
        honest.watch_each_other();
        honest.all_hear().await?;
        Ok(honest)
    }

    pub fn ids(&self) -> Vec<String> {
        self.members
            .iter()
            .map(|member| member.participant.id().to_owned())
            .collect()
    }

    /// An answer of the server with its candidates.
    pub fn answer(&self) -> &str {
        &self.members[0].participant.joined.sdp
    }

    fn watch_each_other(&mut self) {
        let ids = self.ids();
        for (index, member) in self.members.iter_mut().enumerate() {
            let others = ids.iter().enumerate().filter(|(other, _)| *other != index);
            let target = |id: &String| SlotTarget::Source {
                participant: id.clone(),
                source: TrackSource::Camera,
            };
            let targets: Vec<_> = others.map(|(_, id)| target(id)).collect();
            member.participant.set_viewport(&targets, HEIGHT);
        }
    }

    async fn all_hear(&self) -> Result<()> {
        let hear = async {
            while !self.pairs().all(|(member, track)| self.members[member].hears(track)) {
                sleep(POLL).await;
            }
        };
        timeout(CONNECT_LIMIT, hear)
            .await
            .context("the honest participants do not receive one another")
    }

    /// Each participant with each track of the others.
    fn pairs(&self) -> impl Iterator<Item = (usize, u16)> {
        let count = self.members.len();
        (0..count).flat_map(move |member| {
            (0..2 * count as u16)
                .filter(move |track| usize::from(*track / 2) != member)
                .map(move |track| (member, track))
        })
    }

    /// Packets sent so far, by track.
    fn sent(&self) -> Vec<u64> {
        let sent = self.members.iter().flat_map(|member| &member.sent);
        sent.map(|sent| *sent.borrow()).collect()
    }

    pub fn begin_window(&self) -> Window {
        for member in &self.members {
            let mut ears = member.ears.lock().expect("no hearing panics");
            ears.0.values_mut().for_each(|heard| heard.longest_gap = Duration::ZERO);
        }
        Window(self.sent())
    }

    /// What was lost of all that was sent since.
    pub async fn end_window(&self, window: Window, judged: Judged) -> Seen {
        let end = self.sent();
        let begin = Instant::now();
        let mut seen = self.seen(&window.0, &end, judged);
        while seen.lost > 0 && begin.elapsed() < DRAIN {
            sleep(POLL).await;
            seen = self.seen(&window.0, &end, judged);
        }
        seen
    }

    fn seen(&self, begin: &[u64], end: &[u64], judged: Judged) -> Seen {
        let mut seen = Seen::default();
        for (member, track) in self.pairs() {
            // Tracks go by twos: audio, video.
            if judged == Judged::OneVoice && track % 2 == 0 && track > 0 {
                continue;
            }
            let window = begin[usize::from(track)]..end[usize::from(track)];
            seen.expected += window.end - window.start;
            let ears = self.members[member].ears.lock().expect("no hearing panics");
            if let Some(heard) = ears.0.get(&track) {
                seen.lost += heard.lost(window);
                let gap = heard.last.map(|last| last.elapsed()).unwrap_or_default();
                let gap = gap.max(heard.longest_gap).as_secs_f64() * 1e3;
                seen.longest_gap_ms = seen.longest_gap_ms.max(gap);
            }
        }
        for Member {
            watched, participant, ..
        } in &self.members
        {
            seen.websockets_cut += u64::from(watched.is_cut.load(Ordering::Relaxed));
            seen.media_cut += u64::from(!participant.media.is_connected());
            seen.foul_texts += watched.foul.lock().expect("no watching panics").len() as u64;
        }
        seen
    }

    pub async fn leave(self) {
        for member in self.members {
            let _ = timeout(Duration::from_secs(1), member.participant.leave()).await;
        }
    }
}

impl Member {
    async fn join(url: &str, clients: &Clients, meeting: &CreatedMeeting, index: usize) -> Result<Self> {
        let server = Server::seen_from(url, false, Some(address(index)))?;
        let request = CreateToken {
            name: NAMES[index].to_owned(),
            passcode: Some(PASSCODE.to_owned()),
        };
        let token = server.join_token(&meeting.id, &request).await?;
        let config = JoinConfig {
            clients: clients.clone(),
            peer: PeerConfig {
                microphone: true,
                camera: true,
                audio_slots: AUDIO_SLOTS,
                video_slots: NAMES.len() - 1,
                repair: true,
                ..Default::default()
            },
            ..Default::default()
        };
        let ears = Arc::new(Mutex::new(Ears::default()));
        let mut participant = Participant::join(&server, &token, &config, Box::new(Sink(ears.clone()))).await?;
        participant.media.connected(CONNECT_LIMIT).await?;
        let (sources, sent) = sources(index);
        participant.media.publish(sources);
        let (_, silent) = mpsc::unbounded_channel();
        let messages = std::mem::replace(&mut participant.messages, silent);
        let watched = Arc::new(Watched::default());
        tokio::spawn(watch_messages(messages, watched.clone()));
        Ok(Self {
            participant,
            ears,
            sent,
            watched,
        })
    }

    fn hears(&self, track: u16) -> bool {
        self.ears.lock().expect("no hearing panics").0.contains_key(&track)
    }
}

fn sources(index: usize) -> (Vec<Box<dyn MediaSource>>, [watch::Receiver<u64>; 2]) {
    let window = |kind| TrackWindow::new(2 * index as u16 + u16::from(kind == MediaKind::Video), kind);
    let now = Instant::now();
    let voice = AudioSource::speech(LEVELS[index], window(MediaKind::Audio), now);
    let format = VideoFormat {
        kbps: VIDEO_KBPS,
        ..Default::default()
    };
    let video = VideoSource::new(format, window(MediaKind::Video), now);
    let (voice, voice_sent) = CountedSource::new(voice);
    let (video, video_sent) = CountedSource::new(video);
    (vec![Box::new(voice), Box::new(video)], [voice_sent, video_sent])
}

async fn watch_messages(mut messages: mpsc::UnboundedReceiver<ServerMessage>, watched: Arc<Watched>) {
    while let Some(message) = messages.recv().await {
        let texts = match message {
            ServerMessage::Chat(line) => vec![line.name, line.text],
            ServerMessage::Roster { joined, .. } => joined.into_iter().map(|other| other.name).collect(),
            ServerMessage::Ended { .. } => break,
            _ => continue,
        };
        let foul = texts.into_iter().filter(|text| is_foul(text));
        watched.foul.lock().expect("no watching panics").extend(foul.take(100));
    }
    watched.is_cut.store(true, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_in_a_window_counts_as_lost() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        for seq in (0..200).filter(|seq| *seq != 100 && *seq != 150) {
            heard.on_packet(seq, start + Duration::from_millis(20) * seq as u32);
        }
        assert_eq!(heard.lost(0..100), 0);
        assert_eq!(heard.lost(90..201), 3);
        assert_eq!(heard.longest_gap, Duration::from_millis(40));
        heard.on_packet(150, start + Duration::from_secs(5));
        assert_eq!(heard.lost(90..200), 1, "repaired late is repaired");
    }
}
