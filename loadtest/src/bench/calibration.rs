//! What the dearest pieces of a forwarded packet cost on this machine, in the place of the run: its
//! encryption and its way into the kernel. Their sum is the floor that figures are told against.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tianqiao_sfu::udp::{UdpSettings, UdpSocket as ServerSocket};
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::send_batch::SendBatch;
use tianqiao_sfu_core::transport::srtp::{MasterKey, Outbound, Profile, SRTP_MAX_OVERHEAD};
use tianqiao_sfu_core::units::ExtendedSeq;

use super::place::Place;
use super::row::median;

/// Bytes of a packet of video.
const PACKET: usize = 1_100;
const RTP_HEADER: usize = 12;
/// As a frame of 2,500 kbit/s is cut.
const RUN: usize = 8;
/// Subscribers.
const RECEIVERS: usize = 16;
/// Datagrams of one batch, well below what the receive buffers hold.
const DATAGRAMS: usize = 4 * RUN * RECEIVERS;
const BATCHES: usize = 200;
const PROTECTIONS: u64 = 200_000;
/// Until the drainer must have a batch.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
const WAKE: Token = Token(usize::MAX);

/// Nanoseconds of CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// AEAD_AES_128_GCM protection of a packet of 1,100 bytes, in place.
    pub aes_ns: f64,
    /// A datagram of 1,100 bytes in runs of 8 by UDP GSO.
    pub gso8_ns: f64,
    /// The same datagram by `sendmmsg` without GSO.
    pub plain_ns: f64,
    /// Whether this kernel has UDP GSO; without it both ways of sending are one.
    pub has_gso: bool,
}

impl Calibration {
    /// Measures between the sides of `place`.
    pub fn measure(place: &Place) -> Result<Self> {
        let (drainer, ports) = Drainer::start(place)?;
        let destinations: Vec<_> = ports
            .iter()
            .map(|port| SocketAddr::new(place.generator.addr, *port))
            .collect();
        let server = place.server.clone();
        let drained = drainer.drained.clone();
        let sender = std::thread::spawn(move || {
            server.enter()?;
            let aes_ns = protect()?;
            let (gso8_ns, has_gso) = send(server.addr, &destinations, &drained, true)?;
            let (plain_ns, _) = send(server.addr, &destinations, &drained, false)?;
            anyhow::Ok(Self {
                aes_ns,
                gso8_ns,
                plain_ns,
                has_gso,
            })
        });
        let measured = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
        drainer.stop()?;
        measured
    }

    /// Encryption and a GSO datagram, µs.
    pub fn floor_us(&self) -> f64 {
        (self.aes_ns + self.gso8_ns) / 1e3
    }
}

/// CPU time of this thread.
fn thread_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn protect() -> Result<f64> {
    let profile = Profile::AeadAes128Gcm;
    let master = MasterKey::new(profile, &[7; 16], &[9; 12]).context("the lengths are the profile's")?;
    let mut outbound = Outbound::new(&master);
    let mut packet = [0; PACKET + SRTP_MAX_OVERHEAD];
    packet[0] = 0x80;
    let mut run = |from: u64, count: u64| {
        let begin = thread_time()?;
        for seq in from..from + count {
            packet[2..4].copy_from_slice(&(seq as u16).to_be_bytes());
            let seq = ExtendedSeq(seq);
            std::hint::black_box(outbound.protect_rtp(&mut packet, PACKET, RTP_HEADER, seq));
        }
        anyhow::Ok(thread_time()? - begin)
    };
    run(0, PROTECTIONS / 10)?;
    Ok(run(PROTECTIONS, PROTECTIONS)?.as_nanos() as f64 / PROTECTIONS as f64)
}

/// Sends batch by batch, each once the one before is drained. CPU time by datagram, and whether by GSO.
fn send(from: IpAddr, to: &[SocketAddr], drained: &AtomicU64, offload: bool) -> Result<(f64, bool)> {
    let settings = UdpSettings {
        offload,
        ..Default::default()
    };
    let mut socket = ServerSocket::bind(SocketAddr::new(from, 0), settings)?;
    let mut batch = SendBatch::with_capacity(DATAGRAMS * PACKET);
    for index in 0..DATAGRAMS {
        batch.push(Path::udp(to[index / RUN % to.len()]), &[0; PACKET]);
    }
    let mut costs = Vec::with_capacity(BATCHES);
    for round in 0..BATCHES + BATCHES / 10 {
        let before = drained.load(Ordering::Acquire);
        let begin = thread_time()?;
        let report = socket.send_batch(&batch);
        let took = thread_time()? - begin;
        // The first warm caches and routes up.
        if round >= BATCHES / 10 {
            costs.push(took.as_nanos() as f64 / report.datagrams.max(1) as f64);
        }
        let limit = Instant::now() + DRAIN_LIMIT;
        while drained.load(Ordering::Acquire) < before + report.datagrams as u64 {
            if Instant::now() > limit {
                bail!("datagrams were lost between the sides of the calibration");
            }
            std::thread::yield_now();
        }
    }
    // The median: what else the machine does falls on some batches.
    let median = median(&costs).context("there were batches")?;
    Ok((costs[median], socket.is_offloading()))
}

/// Plain sockets on the generator's side and the thread that empties them.
struct Drainer {
    drained: Arc<AtomicU64>,
    waker: Arc<Waker>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Drainer {
    fn start(place: &Place) -> Result<(Self, Vec<u16>)> {
        let drained = Arc::new(AtomicU64::new(0));
        let mut poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (ready, ports) = std::sync::mpsc::channel();
        let (side, count) = (place.generator.clone(), drained.clone());
        let thread = std::thread::spawn(move || {
            side.enter()?;
            let sockets = (0..RECEIVERS)
                .map(|_| {
                    let socket = UdpSocket::bind((side.addr, 0))?;
                    socket.set_nonblocking(true)?;
                    anyhow::Ok(socket)
                })
                .collect::<Result<Vec<_>>>()?;
            let mut ports = Vec::new();
            for (index, socket) in sockets.iter().enumerate() {
                let mut source = SourceFd(&socket.as_raw_fd());
                poll.registry()
                    .register(&mut source, Token(index), Interest::READABLE)?;
                ports.push(socket.local_addr()?.port());
            }
            let _ = ready.send(ports);
            drain(&mut poll, &sockets, &count)
        });
        match ports.recv() {
            Ok(ports) => Ok((Self { drained, waker, thread }, ports)),
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error),
                _ => bail!("the drainer panicked"),
            },
        }
    }

    fn stop(self) -> Result<()> {
        self.waker.wake()?;
        self.thread
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the drainer panicked")))
    }
}

fn drain(poll: &mut Poll, sockets: &[UdpSocket], drained: &AtomicU64) -> Result<()> {
    let mut events = Events::with_capacity(RECEIVERS + 1);
    let mut buffer = [0; 2048];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let Some(socket) = sockets.get(event.token().0) else {
                return Ok(());
            };
            while socket.recv(&mut buffer).is_ok() {
                drained.fetch_add(1, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_measured_took_time() {
        let calibration = Calibration::measure(&Place::loopback().unwrap()).unwrap();
        assert!(calibration.aes_ns > 50.0, "{calibration:?}");
        assert!(
            calibration.plain_ns > 100.0 && calibration.gso8_ns > 50.0,
            "{calibration:?}"
        );
        let floor = (calibration.aes_ns + calibration.gso8_ns) / 1000.0;
        assert!((calibration.floor_us() - floor).abs() < 1e-9);
    }
}
