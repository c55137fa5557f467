//! Thirty people on thirty different links in one room, by lean clients behind a UDP relay each: does each get what
//! its own link carries?

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use tianqiao_protocol::TrackSource;
use tianqiao_sfu_core::negotiated::Codec;
use tianqiao_sfu_core::packet::payload::describe;
use tianqiao_testnet::relay::Relay;

use super::super::stage::Room;
use super::*;
use crate::client::lean::OPUS;
use crate::client::{MediaSink, NoSink, PeerConfig, ReceivedRtp, sdp};
use crate::server_process::ServerOptions;
use crate::target::tianqiao::MeetingMember;
use crate::target::{Feed, MemberConfig};

const KBPS: [u32; 10] = [100, 150, 200, 300, 400, 600, 1_000, 2_000, 4_000, 10_000];
/// Round trip in ms, and loss in percent.
const OTHERS: [(u32, u32); 3] = [(40, 0), (150, 2), (300, 10)];
const CAMERAS: usize = 5;
/// To climb before the measured span begins.
const CLIMB: Duration = Duration::from_secs(20);
/// Asked for of every camera.
const HEIGHT: u16 = 360;
/// A voice and the slowest picture of somebody take less.
const PICTURE_KBPS: u32 = 200;
/// From here on there is always something more to send …
const FULL_KBPS: u32 = 300;
/// … until five cameras at [`HEIGHT`] and a voice are there.
const ALL_KBPS: u32 = 2_700;
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

pub async fn run(setting: Setting<'_>) -> Result<Vec<Run>> {
    let cast = Cast {
        voices: 1,
        cameras: CAMERAS,
        ..Default::default()
    };
    // So that all send to one address, of which a relay is told before anybody joins.
    let server = ServerOptions {
        workers: Some(1),
        ..setting.common.server.clone()
    };
    let room = Room::open(setting.common, &server, cast).await?;
    let server = media_addr(&room).await?;
    let idle = IdleShare::begin();
    let mut people = Vec::new();
    for (index, (kbps, (round_trip, loss))) in all().into_iter().enumerate() {
        let link = format!("{kbps} kbit/s, {round_trip} ms, {loss} %");
        let profile = profile(kbps, round_trip, loss)?;
        let relay = Relay::start(server, &profile, setting.seed + index as u64)?;
        let person = Person::join(&room, link, (kbps, loss), relay).await?;
        people.push(person);
    }
    for person in &people {
        person.member.participant.media.connected(CONNECT_LIMIT).await?;
    }
    tokio::time::sleep(CLIMB).await;
    let before: Vec<Seen> = people.iter().map(Person::begin).collect();
    let begin = now_ms();
    tokio::time::sleep(setting.seconds(60)).await;
    let seconds = (now_ms() - begin) / 1e3;
    let idle_share = idle.end();
    let mut runs = Vec::new();
    for (person, before) in people.iter().zip(before) {
        let mut run = person.judge(&before, seconds);
        (run.seed, run.idle_share) = (setting.seed, idle_share);
        runs.push(run);
    }
    for person in people {
        drop(person.member.participant);
        tokio::task::spawn_blocking(move || drop(person.relay)).await?;
    }
    room.close().await?;
    Ok(runs)
}

/// Where the server takes media, as it tells an onlooker.
async fn media_addr(room: &Room<'_>) -> Result<SocketAddr> {
    let config = MemberConfig {
        clients: room.common.clients.clone(),
        peer: PeerConfig {
            audio_slots: 1,
            ..Default::default()
        },
        ..Default::default()
    };
    let onlooker = room.meeting.join("Onlooker", &config, Box::new(NoSink)).await?;
    let addr = sdp::first_udp_candidate(&onlooker.participant.joined.sdp);
    onlooker.participant.leave().await;
    addr.context("the server has no UDP candidate")
}

fn all() -> Vec<(u32, (u32, u32))> {
    let of = |kbps: &u32| OTHERS.map(|other| (*kbps, other));
    KBPS.iter().flat_map(of).collect()
}

fn profile(kbps: u32, round_trip: u32, loss: u32) -> Result<Profile> {
    let way = format!(
        "rate = \"{kbps}kbps\"\nqueue = \"400ms\"\ndelay = \"{}ms\"\nloss = \"{loss}%\"\n",
        round_trip / 2
    );
    Ok(format!("description = \"\"\n[down]\n{way}[up]\n{way}").parse()?)
}

struct Person {
    link: String,
    kbps: u32,
    /// Share of the packets.
    loss: f64,
    relay: Relay,
    member: MeetingMember,
    eyes: Eyes,
    /// The speaker's camera, by the id that the server writes into packets.
    speaker: Option<u32>,
}

impl Person {
    async fn join(room: &Room<'_>, link: String, (kbps, loss): (u32, u32), relay: Relay) -> Result<Self> {
        let eyes = Eyes::default();
        let config = MemberConfig {
            clients: room.common.clients.clone(),
            peer: PeerConfig {
                audio_slots: 4,
                video_slots: CAMERAS,
                repair: true,
                arrival_feedback: true,
                ..Default::default()
            },
            watch: room.city.iter().map(|member| member.feed.clone()).collect(),
            height: HEIGHT,
            relay: Some(relay.addr()),
        };
        let member = room.meeting.join(&link, &config, Box::new(eyes.clone())).await?;
        Ok(Self {
            speaker: camera_of(&member, &room.city[0].feed),
            link,
            kbps,
            loss: f64::from(loss) / 100.0,
            relay,
            member,
            eyes,
        })
    }

    fn begin(&self) -> Seen {
        let mut seen = self.eyes.0.lock().expect("no panic while it is held");
        // What has been waited for in vain so far is nobody's loss in the span.
        seen.audio.values_mut().for_each(Audio::begin);
        Seen {
            link_seconds: self.relay.report().by_second.down_bytes.len(),
            ..seen.clone()
        }
    }

    fn judge(&self, before: &Seen, seconds: f64) -> Run {
        let now = self.eyes.0.lock().expect("no panic while it is held").clone();
        let report = self.relay.report();
        let of = |seen: &Seen| {
            self.speaker
                .and_then(|id| seen.video.get(&id).copied())
                .unwrap_or_default()
        };
        let (was, is) = (of(before), of(&now));
        let moving = now
            .video
            .iter()
            .filter(|(id, is)| is.frames > before.video.get(id).map_or(0, |was| was.frames));
        let lost = now.audio.values().map(Audio::lost_share).fold(0.0, f64::max);
        let bytes = now.video.values().map(|video| video.bytes).sum::<u64>() as f64
            - before.video.values().map(|video| video.bytes).sum::<u64>() as f64;
        let link_use = link_use(&report, before.link_seconds, report.by_second.down_bytes.len());
        let mut run = Run {
            case: format!("links, {}", self.link),
            profile: self.link.clone(),
            seconds,
            missing_share: lost,
            concealed_share: lost,
            fps: (is.frames - was.frames) as f64 / seconds,
            height: is.height.into(),
            link_use,
            ..Default::default()
        };
        run.more = BTreeMap::from([
            ("pictures that move".to_owned(), moving.count() as f64),
            ("kbit/s of video".to_owned(), bytes * 8e-3 / seconds),
        ]);
        self.bound(&mut run);
        run
    }

    /// What a link of its kind carries.
    fn bound(&self, run: &mut Run) {
        let (fps, use_of_link, lines) = (run.fps, run.link_use, f64::from(run.height));
        run.at_most("share of the sound lost", self.loss + 0.015, run.concealed_share);
        match self.kbps {
            ..PICTURE_KBPS => {}
            PICTURE_KBPS..FULL_KBPS => run.at_least("the speaker's frames per second", 3.0, fps),
            FULL_KBPS..ALL_KBPS => {
                run.at_least("the speaker's frames per second", 10.0, fps);
                // A tenth of it is lost, and sent again.
                run.at_least("link use", if self.loss >= 0.1 { 0.6 } else { 0.7 }, use_of_link);
            }
            ALL_KBPS.. => {
                run.at_least("the speaker's frames per second", 24.0, fps);
                run.at_least("lines of the speaker's picture", f64::from(HEIGHT), lines);
            }
        }
    }
}

/// The track of somebody's camera, as a newcomer was told of it.
fn camera_of(member: &MeetingMember, Feed(whom): &Feed) -> Option<u32> {
    let people = &member.participant.joined.state.participants;
    let person = people.iter().find(|person| person.id == *whom)?;
    let camera = person.tracks.iter().find(|track| track.source == TrackSource::Camera)?;
    Some(camera.id)
}

/// What a person has received so far.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// By track.
    video: HashMap<u32, Video>,
    /// By SSRC.
    audio: HashMap<u32, Audio>,
    link_seconds: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Video {
    bytes: u64,
    /// Whose last packet came.
    frames: u64,
    height: u16,
}

#[derive(Clone, Debug, Default)]
struct Audio {
    /// Of the span's packets.
    came: HashSet<u64>,
    first: u64,
    highest: u64,
}

impl Audio {
    fn begin(&mut self) {
        self.came.clear();
        self.first = self.highest + 1;
    }

    fn on_packet(&mut self, seq: u16) {
        if self.highest == 0 {
            // One wrap up, so that packets from before the first have numbers.
            self.highest = (1 << 16) + u64::from(seq);
            self.first = self.highest;
        }
        let distance = seq.wrapping_sub(self.highest as u16).cast_signed();
        let seq = self.highest.saturating_add_signed(distance.into());
        self.highest = self.highest.max(seq);
        if seq >= self.first {
            self.came.insert(seq);
        }
    }

    fn lost_share(&self) -> f64 {
        match self.came.len() as f64 / (self.highest + 1 - self.first).max(1) as f64 {
            // A slot of nobody's.
            0.0 => 0.0,
            came => 1.0 - came,
        }
    }
}

#[derive(Clone, Default)]
struct Eyes(Arc<Mutex<Seen>>);

impl MediaSink for Eyes {
    fn on_rtp(&mut self, packet: ReceivedRtp<'_>) {
        let mut seen = self.0.lock().expect("no panic while it is held");
        match packet.payload_type {
            OPUS => seen
                .audio
                .entry(packet.ssrc)
                .or_default()
                .on_packet(packet.sequence_number),
            _ => {
                let video = seen.video.entry(packet.csrc.unwrap_or_default()).or_default();
                video.bytes += packet.payload.len() as u64;
                video.frames += u64::from(packet.marker);
                if let Some((_, height)) = describe(Codec::Vp8, packet.payload).resolution {
                    video.height = height;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_links_that_differ() {
        let all: HashSet<_> = all().into_iter().collect();
        assert_eq!(all.len(), 30);
        for (kbps, (round_trip, loss)) in all {
            profile(kbps, round_trip, loss).unwrap();
        }
    }

    #[test]
    fn lost_audio_is_what_lies_between_first_and_last() {
        let mut audio = Audio::default();
        for seq in [65_533, 65_534, 1, 0, 3] {
            audio.on_packet(seq);
        }
        assert_eq!((audio.came.len(), audio.lost_share()), (5, 1.0 - 5.0 / 7.0));
        audio.begin();
        audio.on_packet(2);
        audio.on_packet(4);
        assert_eq!(audio.lost_share(), 0.0);
    }
}
