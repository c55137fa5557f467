//! The worker threads. Each owns a UDP socket, a TCP listener on the same port and a sans-IO core,
//! and turns in a loop: wait, commands, mail, datagrams, streams, timeouts, send what came of it.

mod core_api;
mod feedback;
mod handle;
mod pinning;
mod turn;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use tianqiao_sfu_core::units::WorkerIndex;
use tianqiao_sfu_core::worker_api::WorkerEvent;
use tokio::sync::mpsc::UnboundedSender;

use crate::mailbox::{Commands, Exchange, Wake, wake_of};
use crate::metrics::WorkerStats;
use crate::poller::Poller;
use crate::tcp::{TcpSettings, TcpStreams};
use crate::udp::{UdpSettings, UdpSocket, wildcard};

pub use core_api::{Core, PacketSink};
pub use handle::WorkerHandle;

/// Ports tried for one that is free for both UDP and TCP, where any will do.
const PORT_ATTEMPTS: usize = 32;

#[derive(Clone, Copy, Debug)]
pub struct WorkerSettings {
    /// At least 1.
    pub workers: u8,
    /// Each worker stays on a core of its own, where there are exactly as many.
    pub pin: bool,
    /// Address of the sockets; `None` is the wildcard of both IP versions.
    pub bind: Option<IpAddr>,
    /// Worker i uses `port` + i for UDP and TCP; 0 lets each take any port.
    pub port: u16,
    pub udp: UdpSettings,
    pub tcp: TcpSettings,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            workers: 1,
            pin: false,
            bind: None,
            port: 0,
            udp: UdpSettings::default(),
            tcp: TcpSettings::default(),
        }
    }
}

/// Binds the sockets of all workers and starts their threads. `new_core` is called on each thread;
/// `events` gets what the workers report.
///
/// # Errors
/// A port that is taken, or no descriptors or threads to be had; then no worker is left running.
pub fn spawn_all<C: Core + 'static>(
    settings: &WorkerSettings,
    new_core: impl Fn(WorkerIndex, Instant) -> C + Clone + Send + 'static,
    events: &UnboundedSender<(WorkerIndex, WorkerEvent)>,
) -> io::Result<Vec<WorkerHandle>> {
    let cores = match settings.pin {
        true => pinning::cores(settings.workers.into()).unwrap_or_default(),
        false => Vec::new(),
    };
    let parts = (0..settings.workers)
        .map(|index| Parts::bind(WorkerIndex(index), settings))
        .collect::<io::Result<Vec<_>>>()?;
    let wakes: Vec<_> = parts.iter().map(|part| Arc::clone(&part.wake)).collect();
    parts
        .into_iter()
        .zip(Exchange::new_all(&wakes))
        .map(|(parts, exchange)| {
            let core = cores.get(usize::from(parts.index.0)).copied();
            parts.spawn(core, exchange, new_core.clone(), events.clone())
        })
        .collect()
}

/// What a worker needs before there can be others to exchange mail with.
struct Parts {
    index: WorkerIndex,
    poller: Poller,
    wake: Arc<Wake>,
    udp: UdpSocket,
    tcp: TcpStreams,
}

impl Parts {
    fn bind(index: WorkerIndex, settings: &WorkerSettings) -> io::Result<Self> {
        let ip = settings.bind.unwrap_or_else(wildcard);
        let poller = Poller::new()?;
        let (udp, tcp) = match settings.port {
            0 => bind_any(ip, settings, &poller)?,
            base => {
                let port = base
                    .checked_add(index.0.into())
                    .ok_or_else(|| io::Error::other("the workers' ports would pass 65535"))?;
                bind(SocketAddr::new(ip, port), settings, &poller)?
            }
        };
        Ok(Self {
            index,
            wake: wake_of(&poller)?,
            poller,
            udp,
            tcp,
        })
    }

    fn spawn<C: Core + 'static>(
        self,
        pinned: Option<usize>,
        exchange: Exchange<C::Mail>,
        new_core: impl Fn(WorkerIndex, Instant) -> C + Send + 'static,
        events: UnboundedSender<(WorkerIndex, WorkerEvent)>,
    ) -> io::Result<WorkerHandle> {
        let index = self.index;
        let local = self.udp.local_addr();
        tracing::info!(worker = index.0, %local, offload = self.udp.is_offloading(), core = pinned, "worker starts");
        let commands = Arc::new(Commands::new(Arc::clone(&self.wake)));
        let stats = Arc::new(WorkerStats::new(index));
        let (worker_commands, worker_stats) = (Arc::clone(&commands), Arc::clone(&stats));
        let thread = thread::Builder::new()
            .name(format!("sfu-worker-{}", index.0))
            .spawn(move || {
                let _alarm = Alarm(index);
                // First of all: what the thread allocates is then near its core.
                if let Some(core) = pinned {
                    pinning::pin(index, core);
                }
                let core = new_core(index, Instant::now());
                let mailboxes = turn::Mailboxes {
                    wake: self.wake,
                    commands: worker_commands,
                    exchange,
                    events,
                };
                let sockets = turn::Sockets {
                    poller: self.poller,
                    udp: self.udp,
                    tcp: self.tcp,
                };
                turn::Worker::new(index, core, sockets, mailboxes, worker_stats).run();
            })?;
        Ok(WorkerHandle::new(index, local, commands, stats, thread))
    }
}

fn bind(addr: SocketAddr, settings: &WorkerSettings, poller: &Poller) -> io::Result<(UdpSocket, TcpStreams)> {
    let describe = |protocol: &str, addr: SocketAddr, error: io::Error| {
        io::Error::new(error.kind(), format!("cannot use {protocol} {addr}: {error}"))
    };
    let udp = UdpSocket::bind(addr, settings.udp).map_err(|error| describe("UDP", addr, error))?;
    let addr = SocketAddr::new(addr.ip(), udp.local_addr().port());
    let tcp = TcpStreams::listen(addr, settings.tcp, poller.registry(), Instant::now())
        .map_err(|error| describe("TCP", addr, error))?;
    poller.add_udp(udp.as_raw_fd())?;
    warn_of_small_buffers(&udp, settings.udp.buffer_bytes)?;
    Ok((udp, tcp))
}

fn warn_of_small_buffers(udp: &UdpSocket, asked: usize) -> io::Result<()> {
    let (receive, send) = udp.buffer_sizes()?;
    if receive.min(send) < asked {
        tracing::warn!(
            asked,
            receive,
            send,
            "small UDP buffers lose packets in bursts: raise net.core.rmem_max and net.core.wmem_max"
        );
    }
    Ok(())
}

fn bind_any(ip: IpAddr, settings: &WorkerSettings, poller: &Poller) -> io::Result<(UdpSocket, TcpStreams)> {
    let addr = SocketAddr::new(ip, 0);
    for _ in 1..PORT_ATTEMPTS {
        match bind(addr, settings, poller) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            outcome => return outcome,
        }
    }
    bind(addr, settings, poller)
}

/// Ends the process where a worker's thread panics: its clients would hang until they time out,
/// and the supervisor would see a healthy process.
struct Alarm(WorkerIndex);

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!(worker = self.0.0, "a worker has panicked, the process ends");
            std::process::abort();
        }
    }
}
