//! `crowd`: hundreds of honest people behind one address join one meeting within a minute, all lose their
//! connections and come back; as many more come from as many addresses while attacks go on. Nobody is refused.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use serde::Serialize;
use tianqiao_protocol::rest::CreateToken;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::honest::PASSCODE;
use super::{Attack, Stage, World, attack_named};
use crate::client::{Clients, JoinConfig, MediaSink, Participant, PeerConfig, ReceivedRtp, Refused, Server};

/// Where the hall is.
const HALL: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 50));
/// In that part of the time for joining the last one sets out.
const SPREAD: f64 = 0.75;
/// All are without network for this long.
const OUTAGE: Duration = Duration::from_secs(3);
/// After which somebody on the way in counts as failed.
const GIVE_UP: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct CrowdOptions {
    pub participants: usize,
    /// For all to join in.
    pub seconds: f64,
    /// For all to be back in.
    pub back_seconds: f64,
    /// What goes on while the second crowd joins.
    pub attacks: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct CrowdReport {
    pub participants: usize,
    pub phases: Vec<Phase>,
    /// Packets that three who talk lost of each other meanwhile, and how many there were.
    pub talkers_lost: u64,
    pub talkers_expected: u64,
}

#[derive(Debug, Serialize)]
pub struct Phase {
    pub what: String,
    pub wanted: usize,
    /// In, with media.
    pub arrived: usize,
    /// By a typed error.
    pub refused: usize,
    /// In any other way.
    pub failed: usize,
    pub slowest_s: f64,
    pub median_s: f64,
    /// Until the last one was in, and how long it may take.
    pub seconds: f64,
    pub limit_s: f64,
    /// Of page and assets, by participant.
    pub page_bytes: u64,
    pub failures: BTreeSet<String>,
}

impl Phase {
    pub fn is_good(&self) -> bool {
        self.arrived == self.wanted && self.seconds <= self.limit_s
    }
}

impl CrowdReport {
    pub fn is_good(&self) -> bool {
        self.phases.iter().all(Phase::is_good)
    }

    pub fn table(&self) -> String {
        let mut text = String::new();
        for phase in &self.phases {
            let Phase {
                what, wanted, arrived, ..
            } = phase;
            text += &format!(
                "{what}\n  {arrived} of {wanted} in, {} refused, {} failed; all in {:.1} s of {:.0}; one took {:.2} s at most, \
                 {:.2} s by median\n",
                phase.refused, phase.failed, phase.seconds, phase.limit_s, phase.slowest_s, phase.median_s
            );
            if phase.page_bytes > 0 {
                text += &format!("  page and assets: {} bytes each\n", phase.page_bytes);
            }
            for failure in &phase.failures {
                text += &format!("  FAILED: {failure}\n");
            }
        }
        let (lost, expected) = (self.talkers_lost, self.talkers_expected);
        text + &format!("three who talk meanwhile lost {lost} of {expected} packets\n")
    }
}

/// One of the crowd.
struct Person {
    server: Server,
    token: String,
    participant: Participant,
    heard: watch::Receiver<u64>,
}

/// Counts what is heard, a notice at a time.
struct Ear(watch::Sender<u64>);

impl MediaSink for Ear {
    fn on_rtp(&mut self, _packet: ReceivedRtp<'_>) {
        // Those who wait are few, and wait for one packet.
        if self.0.receiver_count() > 0 {
            self.0.send_modify(|heard| *heard += 1);
        }
    }
}

pub(super) async fn run(stage: &Stage<'_>, options: &CrowdOptions) -> Result<CrowdReport> {
    let attacks: Vec<&Attack> = options
        .attacks
        .iter()
        .map(|name| attack_named(name))
        .collect::<Result<_>>()?;
    let world = World::start(stage).await?;
    let window = world.honest.begin_window();
    let mut phases = Vec::new();

    let crowd = Crowd {
        url: world.url.clone(),
        meeting: world.honest.meeting.id.clone(),
        clients: stage.honest.clone(),
        page_bytes: AtomicU64::new(0),
    };
    let n = options.participants;
    let (mut people, phase) = crowd.fill(n, options.seconds, |_| HALL).await;
    phases.push(Phase {
        what: format!("{n} from one address"),
        ..phase
    });

    phases.push(Phase {
        what: format!("{} lose everything and come back", people.len()),
        ..come_back(&crowd, &mut people, options.back_seconds).await
    });

    let time = Duration::from_secs_f64(options.seconds);
    let running: Vec<_> = attacks
        .iter()
        .map(|attack| stage.runtime.handle().spawn((attack.run)(world.ctx(stage, time))))
        .collect();
    let address = |index: usize| Ipv4Addr::new(127, 0, 2 + (index / 200) as u8, (index % 200) as u8 + 1).into();
    let (more, phase) = crowd.fill(n, options.seconds, address).await;
    for attack in running {
        attack.abort();
        let _ = attack.await;
    }
    phases.push(Phase {
        what: format!("{n} more from {n} addresses during {}", options.attacks.join(", ")),
        ..phase
    });
    let seen = world.honest.end_window(window, Default::default()).await;
    join_all(people.into_iter().chain(more).map(|person| person.participant.vanish())).await;
    world.end().await;
    Ok(CrowdReport {
        participants: n,
        phases,
        talkers_lost: seen.lost,
        talkers_expected: seen.expected,
    })
}

struct Crowd {
    url: String,
    meeting: String,
    clients: Clients,
    page_bytes: AtomicU64,
}

impl Crowd {
    /// All set out within a part of `seconds`, evenly.
    async fn fill(&self, count: usize, seconds: f64, from: impl Fn(usize) -> IpAddr) -> (Vec<Person>, Phase) {
        let begin = Instant::now();
        let step = Duration::from_secs_f64(seconds * SPREAD / count.max(1) as f64);
        let arrivals = (0..count).map(|index| {
            let from = from(index);
            async move {
                sleep_until((begin + step * index as u32).into()).await;
                let set_out = Instant::now();
                (self.arrive(from, index).await, set_out.elapsed())
            }
        });
        let (people, phase) = judge(join_all(arrivals).await, begin, seconds);
        let page_bytes = self.page_bytes.load(Ordering::Relaxed);
        (people, Phase { page_bytes, ..phase })
    }

    /// Page, assets, token, WebSocket, media, and the first that is heard.
    async fn arrive(&self, from: IpAddr, index: usize) -> Result<Person> {
        let arriving = async {
            let server = Server::seen_from(&self.url, false, Some(from))?;
            self.page_bytes
                .store(page(&server).await.context("no page")?, Ordering::Relaxed);
            let request = CreateToken {
                name: format!("Person {index}"),
                passcode: Some(PASSCODE.to_owned()),
            };
            let token = server.join_token(&self.meeting, &request).await.context("no token")?;
            let (participant, heard) = self.join(&server, &token).await?;
            Ok(Person {
                server,
                token,
                participant,
                heard,
            })
        };
        timeout(GIVE_UP, arriving).await.context("not in after a minute")?
    }

    async fn join(&self, server: &Server, token: &str) -> Result<(Participant, watch::Receiver<u64>)> {
        let config = JoinConfig {
            clients: self.clients.clone(),
            peer: PeerConfig {
                audio_slots: 1,
                video_slots: 1,
                ..Default::default()
            },
            ..Default::default()
        };
        let (sender, heard) = watch::channel(0);
        let joining = Participant::join(server, token, &config, Box::new(Ear(sender)));
        let participant = joining.await.context("no join")?;
        participant.media.connected(GIVE_UP).await?;
        heard_more(&heard).await?;
        Ok((participant, heard))
    }
}

/// Waits for a packet from now on.
async fn heard_more(heard: &watch::Receiver<u64>) -> Result<()> {
    let mut heard = heard.clone();
    let before = *heard.borrow();
    heard
        .wait_for(|heard| *heard > before)
        .await
        .context("the media ended")?;
    Ok(())
}

/// The page and what it names; how many bytes that was.
async fn page(server: &Server) -> Result<u64> {
    let page = server.text("/").await?;
    let mut bytes = page.len() as u64;
    let assets: BTreeSet<&str> = page
        .split(['"', '\''])
        .filter(|text| text.starts_with("/assets/") || text.starts_with("./assets/"))
        .collect();
    for asset in assets {
        bytes += server.text(asset.trim_start_matches('.')).await?.len() as u64;
    }
    Ok(bytes)
}

/// Everybody is cut off at once. Half of them take their sessions up again and restart ICE, as a page does whose
/// network comes back; the others join anew by their tokens, as a page does that was loaded again.
async fn come_back(crowd: &Crowd, people: &mut Vec<Person>, seconds: f64) -> Phase {
    for person in people.iter_mut() {
        person.participant.media.impair(Some(Box::new(|_, _| true)));
        person.participant.cut_websocket().await;
    }
    let begin = Instant::now() + OUTAGE;
    sleep_until(begin.into()).await;
    let returning = people.drain(..).enumerate().map(|(index, mut person)| async move {
        let back = async {
            if index % 2 == 0 {
                person.participant.resume().await.context("no resume")?;
                person.participant.media.impair(None);
                person
                    .participant
                    .renegotiate(0, true)
                    .await
                    .context("no ICE restart")?;
                heard_more(&person.heard).await?;
            } else {
                let (participant, heard) = crowd.join(&person.server, &person.token).await?;
                let before = std::mem::replace(&mut person.participant, participant);
                person.heard = heard;
                before.vanish().await;
            }
            Ok(person)
        };
        let result = timeout(GIVE_UP, back).await.context("not back after a minute");
        (result.and_then(|result| result), begin.elapsed())
    });
    let (back, phase) = judge(join_all(returning).await, begin, seconds);
    *people = back;
    phase
}

fn judge(arrivals: Vec<(Result<Person>, Duration)>, begin: Instant, limit: f64) -> (Vec<Person>, Phase) {
    let wanted = arrivals.len();
    let (mut people, mut times) = (Vec::new(), Vec::new());
    let mut phase = Phase {
        what: String::new(),
        wanted,
        arrived: 0,
        refused: 0,
        failed: 0,
        slowest_s: 0.0,
        median_s: 0.0,
        seconds: begin.elapsed().as_secs_f64(),
        limit_s: limit,
        page_bytes: 0,
        failures: BTreeSet::new(),
    };
    for (arrival, time) in arrivals {
        match arrival {
            Ok(person) => {
                people.push(person);
                times.push(time.as_secs_f64());
            }
            Err(error) => {
                match error.downcast_ref::<Refused>() {
                    Some(_) => phase.refused += 1,
                    None => phase.failed += 1,
                }
                phase.failures.insert(format!("{error:#}"));
            }
        }
    }
    times.sort_by(f64::total_cmp);
    phase.arrived = people.len();
    phase.slowest_s = times.last().copied().unwrap_or_default();
    phase.median_s = times.get(times.len() / 2).copied().unwrap_or_default();
    (people, phase)
}
