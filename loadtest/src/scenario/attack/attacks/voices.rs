//! Members who lie about how loud they are.

use std::time::{Duration, Instant};

use anyhow::Result;
use tianqiao_protocol::MediaKind;

use super::super::ctx::{Ctx, listener};
use crate::client::PeerConfig;
use crate::client::peer::{OutgoingRtp, SendStream};
use crate::media::{Mark, MediaSource};

const LIARS: usize = 5;
const PACKET: Duration = Duration::from_millis(20);

/// Packets as Opus sends them of silence, by a level of nothing below the maximum.
struct LoudSilence {
    next: Instant,
    seq: u16,
}

impl MediaSource for LoudSilence {
    fn kind(&self) -> MediaKind {
        MediaKind::Audio
    }

    fn poll_timeout(&self) -> Instant {
        self.next
    }

    fn handle_timeout(&mut self, now: Instant, stream: SendStream, send: &mut dyn FnMut(OutgoingRtp<'_>)) {
        if self.next <= now {
            send(OutgoingRtp {
                stream,
                sequence_number: self.seq,
                timestamp: u32::from(self.seq) * 960,
                marker: false,
                audio_level: Some(0),
                payload: &[0xf8, 0xff, 0xfe],
            });
            self.seq = self.seq.wrapping_add(1);
            self.next = now + PACKET;
        }
    }

    fn on_keyframe_request(&mut self) {}

    fn mark(&mut self, _mark: Mark) {}
}

pub async fn loud_silence(ctx: Ctx) -> Result<()> {
    ctx.once(LIARS, |ctx, index| async move {
        let peer = PeerConfig {
            microphone: true,
            ..listener()
        };
        let member = ctx.member(index, peer).await?;
        let next = Instant::now();
        member.media.publish(vec![Box::new(LoudSilence { next, seq: 0 })]);
        ctx.count("liars", 1);
        ctx.over().await;
        member.leave().await;
        Ok(())
    })
    .await;
    Ok(())
}
