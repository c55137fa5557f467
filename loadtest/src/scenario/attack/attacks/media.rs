//! Members whose media asks for too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tianqiao_protocol::{MediaKind, SlotTarget, TrackSource};
use tokio::time::sleep;

use super::super::ctx::{Ctx, listener, talker};
use super::super::limits::{
    KEYFRAME_SECONDS, KEYFRAMES_AT_ONCE, RETRANSMISSION, RETRANSMISSION_KBPS, SLOTS_OF_SOURCE, VIDEO_KBPS,
};
use crate::client::{MediaSink, Participant, PeerConfig, ReceivedRtp};
use crate::media::{CountedSource, TrackWindow, VideoFormat, VideoSource};

const SLOTS: usize = 60;
/// Of each honest one's camera, and of all that is heard.
const CAMERA_KBPS: f64 = 400.0;
const VOICES_KBPS: f64 = 200.0;
const FLOOD_KBPS: u32 = 300_000;
/// Key frames, and rates that are measured from another moment on than the server does.
const INEXACT: f64 = 1.1;
/// With which a picture begins to be watched.
const FIRST_KEYFRAME: f64 = 1.0;
const TICK: Duration = Duration::from_millis(5);

#[derive(Clone, Default)]
struct Got(Arc<Numbers>);

#[derive(Default)]
struct Numbers {
    bytes: AtomicU64,
    keyframes: AtomicU64,
    ssrc: AtomicU32,
    seq: AtomicU32,
}

impl MediaSink for Got {
    fn on_rtp(&mut self, packet: ReceivedRtp<'_>) {
        self.0.bytes.fetch_add(packet.payload.len() as u64, Ordering::Relaxed);
        if packet.payload_type != 111 {
            let is_keyframe = crate::media::is_keyframe_start(packet.payload);
            self.0.keyframes.fetch_add(u64::from(is_keyframe), Ordering::Relaxed);
            self.0.ssrc.store(packet.ssrc, Ordering::Relaxed);
            self.0.seq.store(packet.sequence_number.into(), Ordering::Relaxed);
        }
    }
}

fn camera(ctx: &Ctx, index: usize) -> SlotTarget {
    SlotTarget::Source {
        participant: ctx.honest[index % ctx.honest.len()].clone(),
        source: TrackSource::Camera,
    }
}

/// A member who watches the honest ones, and what it gets.
async fn watcher(ctx: &Ctx, index: usize, slots: usize, targets: &[SlotTarget]) -> Result<(Participant, Got)> {
    let got = Got::default();
    let peer = PeerConfig {
        video_slots: slots,
        ..listener()
    };
    let mut member = ctx.member_with(index, peer, Box::new(got.clone())).await?;
    member.set_viewport(targets, 720);
    Ok((member, got))
}

pub async fn same_slots(ctx: Ctx) -> Result<()> {
    let targets = vec![camera(&ctx, 0); SLOTS];
    let (member, got) = watcher(&ctx, 0, SLOTS, &targets).await?;
    let begin = Instant::now();
    ctx.over().await;
    let kbps = got.0.bytes.load(Ordering::Relaxed) as f64 * 8e-3 / begin.elapsed().as_secs_f64();
    ctx.count("kbit/s received", kbps as u64);
    member.leave().await;
    let allowed = (SLOTS_OF_SOURCE * CAMERA_KBPS + VOICES_KBPS) * INEXACT;
    ensure!(
        kbps <= allowed,
        "{kbps:.0} kbit/s of a camera of {CAMERA_KBPS}, {allowed:.0} allowed"
    );
    Ok(())
}

pub async fn publisher_flood(ctx: Ctx) -> Result<()> {
    let got = Got::default();
    let member = ctx.member_with(0, talker(), Box::new(got)).await?;
    let format = VideoFormat {
        kbps: FLOOD_KBPS,
        ..Default::default()
    };
    let video = VideoSource::new(format, TrackWindow::new(1000, MediaKind::Video), Instant::now());
    let (video, sent) = CountedSource::new(video);
    member.media.publish(vec![Box::new(video)]);
    let audience = (1..4).map(|index| {
        let (ctx, id) = (ctx.clone(), member.id().to_owned());
        async move {
            let target = SlotTarget::Source {
                participant: id,
                source: TrackSource::Camera,
            };
            watcher(&ctx, index, 1, &[target]).await
        }
    });
    let audience = futures_util::future::try_join_all(audience).await?;
    let begin = Instant::now();
    ctx.over().await;
    let mut most = 0.0f64;
    for (watcher, got) in audience {
        let bytes = got.0.bytes.load(Ordering::Relaxed);
        ctx.count("bytes forwarded", bytes);
        most = most.max(bytes as f64 * 8e-3 / begin.elapsed().as_secs_f64());
        watcher.leave().await;
    }
    let sent = *sent.borrow() * 1100 * 8 / 1000;
    ctx.count("kbit/s sent", (sent as f64 / begin.elapsed().as_secs_f64()) as u64);
    member.leave().await;
    // A second's worth may come at once.
    let seconds = begin.elapsed().as_secs_f64();
    let allowed = (VIDEO_KBPS * (1.0 + 1.0 / seconds) + VOICES_KBPS) * INEXACT;
    ensure!(
        most <= allowed,
        "{most:.0} kbit/s of one publisher to one subscriber, {allowed:.0} allowed"
    );
    Ok(())
}

pub async fn nacks(ctx: Ctx) -> Result<()> {
    let (member, got) = watcher(&ctx, 0, 1, &[camera(&ctx, 1)]).await?;
    let begin = Instant::now();
    while !ctx.is_over() {
        let (ssrc, seq) = (got.0.ssrc.load(Ordering::Relaxed), got.0.seq.load(Ordering::Relaxed));
        if ssrc != 0 {
            let seqs: Vec<u16> = (0..200).map(|back| (seq as u16).wrapping_sub(back)).collect();
            member.media.request_packets(ssrc, seqs).await?;
            ctx.count("packets asked for", 200);
        }
        sleep(TICK).await;
    }
    let kbps = got.0.bytes.load(Ordering::Relaxed) as f64 * 8e-3 / begin.elapsed().as_secs_f64();
    ctx.count("kbit/s received", kbps as u64);
    member.leave().await;
    let once = CAMERA_KBPS + VOICES_KBPS;
    let allowed = (once * (1.0 + RETRANSMISSION) + RETRANSMISSION_KBPS) * INEXACT;
    ensure!(
        kbps <= allowed,
        "{kbps:.0} kbit/s of {once} by NACK, {allowed:.0} allowed"
    );
    Ok(())
}

pub async fn plis(ctx: Ctx) -> Result<()> {
    // Not of the loudest, whom the fourth watches and asks each time.
    let (member, got) = watcher(&ctx, 0, 1, &[camera(&ctx, 1)]).await?;
    let begin = Instant::now();
    while !ctx.is_over() {
        let ssrc = got.0.ssrc.load(Ordering::Relaxed);
        if ssrc != 0 {
            for _ in 0..5 {
                member.media.request_keyframe(ssrc).await?;
            }
            ctx.count("asked for", 5);
        }
        sleep(TICK).await;
    }
    let keyframes = got.0.keyframes.load(Ordering::Relaxed);
    ctx.count("key frames", keyframes);
    let seconds = begin.elapsed().as_secs_f64();
    member.leave().await;
    let allowed = FIRST_KEYFRAME + KEYFRAMES_AT_ONCE + seconds / KEYFRAME_SECONDS;
    ensure!(
        keyframes as f64 <= allowed,
        "{keyframes} key frames in {seconds:.0} s for one who asks, {allowed:.0} allowed"
    );
    Ok(())
}

pub async fn viewports(ctx: Ctx) -> Result<()> {
    ctx.swarm(4, |ctx, index| async move {
        let (mut member, _) = watcher(&ctx, index, 9, &[camera(&ctx, 0)]).await?;
        for turn in 0.. {
            let targets: Vec<_> = (0..9).map(|slot| camera(&ctx, slot + turn)).collect();
            member.set_viewport(&targets, [90, 720][turn % 2]);
            ctx.count("viewports", 1);
            sleep(TICK * 2).await;
            while let Ok(message) = member.messages.try_recv() {
                if let tianqiao_protocol::ws::ServerMessage::Error(_) = message {
                    ctx.count("refused", 1);
                }
            }
            if ctx.is_over() {
                break;
            }
        }
        member.leave().await;
        Ok(())
    })
    .await;
    Ok(())
}
