//! Media towards somebody who has not asked for it.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tianqiao_protocol::{SlotTarget, TrackSource};
use tianqiao_sfu_core::transport::stun::{BindingRequest, IceRole, IntegrityKey};
use tokio::time::sleep;

use super::super::ctx::{Ctx, listener};

/// Who is to be flooded.
const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 9);
/// Bytes to an address that has not answered, by those that came from it.
const FACTOR: u64 = 3;
/// A victim's port receives this long after the forged check.
const LISTEN: Duration = Duration::from_secs(5);

/// A check with the credentials of a session, for any address to send.
pub fn check_of(offer: &str, answer: &str) -> Result<Vec<u8>> {
    let field = |sdp: &str, name: &str| -> Result<String> {
        let value = sdp.lines().find_map(|line| line.strip_prefix(name));
        value.map(|value| value.trim().to_owned()).context("no ICE credentials")
    };
    let local = field(offer, "a=ice-ufrag:")?;
    let (remote, password) = (field(answer, "a=ice-ufrag:")?, field(answer, "a=ice-pwd:")?);
    let check = BindingRequest {
        transaction: rand::random(),
        username: &format!("{remote}:{local}"),
        priority: 1,
        role: IceRole::Controlling(rand::random()),
        use_candidate: true,
    };
    Ok(check.write(&IntegrityKey::new(&password)))
}

pub async fn redirect(ctx: Ctx) -> Result<()> {
    let mut member = ctx.member(0, listener()).await?;
    let targets = ctx.honest.iter().cycle().take(9).map(|participant| SlotTarget::Source {
        participant: participant.clone(),
        source: TrackSource::Camera,
    });
    member.set_viewport(&targets.collect::<Vec<_>>(), 720);
    sleep(ctx.end.saturating_duration_since(Instant::now()) / 4).await;
    let victim = UdpSocket::bind((VICTIM, 0))?;
    socket2::SockRef::from(&victim).set_recv_buffer_size(4 << 20)?;
    victim.set_nonblocking(true)?;
    let check = check_of(&member.offer, &member.joined.sdp)?;
    victim.send_to(&check, ctx.media)?;
    let sent = check.len() as u64;
    ctx.count("bytes sent as the victim", sent);
    // The attacker itself says nothing any more: media would come back to it.
    member.media.impair(Some(Box::new(|_, _| true)));
    let (mut received, mut buffer) = (0, [0; 2048]);
    let until = ctx.end.min(Instant::now() + LISTEN);
    while Instant::now() < until {
        while let Ok(len) = victim.recv(&mut buffer) {
            received += len as u64;
        }
        sleep(Duration::from_millis(5)).await;
    }
    ctx.count("bytes to the victim", received);
    member.vanish().await;
    ensure!(
        received <= FACTOR * sent,
        "{received} bytes to a victim for {sent} sent in its name"
    );
    Ok(())
}
