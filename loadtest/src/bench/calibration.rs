//! What the dearest pieces of a forwarded packet cost on this machine, in the place of the run: its
//! encryption and its way into the kernel. Their sum is the floor that figures are told against.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tianqiao_sfu::udp::{UdpSettings, UdpSocket as ServerSocket};
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::send_batch::SendBatch;
use tianqiao_sfu_core::transport::srtp::{MasterKey, Outbound, Profile, SRTP_MAX_OVERHEAD};
use tianqiao_sfu_core::units::ExtendedSeq;

use super::place::{Place, Side};
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
        let (drainer, ports) = Drainer::start(place.generator.clone())?;
        let to: Vec<_> = ports
            .iter()
            .map(|port| SocketAddr::new(place.generator.addr, *port))
            .collect();
        let server = place.server.clone();
        let sender = std::thread::spawn(move || {
            let measured = Self::on(&server, &to, &drainer);
            // What ended the drainer is why the sender could not go on.
            drainer.stop().and(measured)
        });
        sender.join().map_err(|_| anyhow!("the sender panicked"))?
    }

    fn on(server: &Side, to: &[SocketAddr], drainer: &Drainer) -> Result<Self> {
        server.enter()?;
        let aes_ns = protect()?;
        let (gso8_ns, has_gso) = send(server.addr, to, drainer, true)?;
        let (plain_ns, _) = send(server.addr, to, drainer, false)?;
        Ok(Self {
            aes_ns,
            gso8_ns,
            plain_ns,
            has_gso,
        })
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
fn send(from: IpAddr, to: &[SocketAddr], drainer: &Drainer, offload: bool) -> Result<(f64, bool)> {
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
        let begin = thread_time()?;
        let report = socket.send_batch(&batch);
        let took = thread_time()? - begin;
        // The first warm caches and routes up.
        if round >= BATCHES / 10 {
            costs.push(took.as_nanos() as f64 / report.datagrams.max(1) as f64);
        }
        drainer.drain(report.datagrams)?;
    }
    // The median: what else the machine does falls on some batches.
    let median = median(&costs).context("there were batches")?;
    Ok((costs[median], socket.is_offloading()))
}

/// Plain sockets on the generator's side and the thread that empties them when told to: while datagrams
/// are sent nobody is woken and nobody waits for a lock, so that the floor is one.
struct Drainer {
    /// Of how many datagrams to fetch.
    wanted: SyncSender<usize>,
    fetched: Receiver<()>,
    thread: JoinHandle<Result<()>>,
}

impl Drainer {
    /// With the ports of its sockets.
    fn start(side: Side) -> Result<(Self, Vec<u16>)> {
        let (ready, ports) = sync_channel(1);
        let (wanted, orders) = sync_channel(1);
        let (done, fetched) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            side.enter()?;
            let sockets = receivers(&side)?;
            let ports = sockets.iter().map(|socket| Ok(socket.local_addr()?.port()));
            let _ = ready.send(ports.collect::<Result<Vec<_>>>()?);
            for count in orders {
                drain(&sockets, count)?;
                let _ = done.send(());
            }
            Ok(())
        });
        let drainer = Self {
            wanted,
            fetched,
            thread,
        };
        match ports.recv() {
            Ok(ports) => Ok((drainer, ports)),
            Err(_) => Err(drainer.stop().err().context("the drainer ended")?),
        }
    }

    fn drain(&self, count: usize) -> Result<()> {
        let _ = self.wanted.send(count);
        self.fetched
            .recv()
            .context("datagrams were lost between the sides of the calibration")
    }

    fn stop(self) -> Result<()> {
        drop(self.wanted);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err(anyhow!("the drainer panicked")))
    }
}

fn receivers(side: &Side) -> Result<Vec<UdpSocket>> {
    let bind = |_| {
        let socket = UdpSocket::bind((side.addr, 0))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    (0..RECEIVERS).map(bind).collect()
}

fn drain(sockets: &[UdpSocket], count: usize) -> Result<()> {
    let mut buffer = [0; 2048];
    let (mut fetched, limit) = (0, Instant::now() + DRAIN_LIMIT);
    while fetched < count {
        for socket in sockets {
            while socket.recv(&mut buffer).is_ok() {
                fetched += 1;
            }
        }
        ensure!(Instant::now() < limit, "only {fetched} of {count} datagrams arrived");
    }
    Ok(())
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
