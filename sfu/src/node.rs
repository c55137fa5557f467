//! The node: its workers, and the control task that serves the bus with them.

mod answerer;
mod control;
mod convert;
mod fair_queue;
mod intake;
mod load;
mod owners;
mod relays;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus::{IntGauge, Registry};
use thiserror::Error;
use tianqiao_bus::{Bus, vital};
use tianqiao_protocol::fleet::{NodeCapacity, NodeReport};
use tianqiao_sfu_core::negotiated::Fingerprint;
use tianqiao_sfu_core::ntp::NtpClock;
use tianqiao_sfu_core::rooms::{Rooms, RoomsConfig};
use tianqiao_sfu_core::sdp::Offer;
use tianqiao_sfu_core::transport::Certificate;
use tianqiao_sfu_core::units::WorkerIndex;
use tianqiao_sfu_core::worker_core::{WorkerConfig, WorkerCore};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::SfuConfig;
use crate::metrics::WorkerCollector;
use crate::worker::{self, Core, WorkerHandle, WorkerSettings};
use answerer::Answerer;
pub use control::NodeStatus;
use control::Surroundings;
pub use fair_queue::QueueLimits;
pub use intake::IntakeConfig;
use intake::{Intake, OfferCounters};
use load::LoadMeter;

#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0} workers are more than 255")]
    Workers(usize),
    #[error("no certificate: {0}")]
    Certificate(String),
    #[error("the workers do not start: {0}")]
    Worker(#[from] io::Error),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A running SFU node. Dropping it without [`Self::shutdown`] ends it too, without waiting.
pub struct Node {
    stop: oneshot::Sender<()>,
    draining: watch::Sender<bool>,
    status: watch::Receiver<NodeStatus>,
    control: JoinHandle<()>,
    workers: Arc<Vec<WorkerHandle>>,
}

impl Node {
    /// Starts a node that serves `bus`.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(config: SfuConfig, bus: Arc<dyn Bus>, registry: &Registry) -> Result<Self, StartError> {
        let certificate = Certificate::generate().map_err(|error| StartError::Certificate(error.to_string()))?;
        let fingerprint = certificate.fingerprint().clone();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ntp = NtpClock::new(Instant::now(), since_epoch);
        let rates = config.worker_rates(config.worker_count().unwrap_or(1));
        let speech = config.speech;
        let new_core = move |worker, now| {
            let settings = WorkerConfig {
                rates,
                speech,
                ..WorkerConfig::new(worker, certificate.clone(), ntp)
            };
            WorkerCore::new(settings, now)
        };
        Self::start_with(config, bus, registry, fingerprint, new_core).await
    }

    /// Starts a node whose workers run cores of another kind, with `fingerprint` for its answers.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start_with<C: Core + 'static>(
        config: SfuConfig,
        bus: Arc<dyn Bus>,
        registry: &Registry,
        fingerprint: Fingerprint,
        new_core: impl Fn(WorkerIndex, Instant) -> C + Clone + Send + 'static,
    ) -> Result<Self, StartError> {
        let workers = config.worker_count().ok_or(StartError::Workers(config.workers))?;
        let sessions = IntGauge::new("tianqiao_sfu_sessions", "Media sessions that are open.")?;
        let rooms = IntGauge::new("tianqiao_sfu_rooms", "Rooms with at least one session.")?;
        registry.register(Box::new(sessions.clone()))?;
        registry.register(Box::new(rooms.clone()))?;
        let offers = OfferCounters::new()?;
        registry.register(offers.collector())?;

        let settings = WorkerSettings {
            workers,
            pin: config.pin_workers,
            bind: Some(config.media_bind),
            port: config.media_port,
            tcp: config.tcp,
            ..WorkerSettings::default()
        };
        let (reports, events) = mpsc::unbounded_channel();
        let workers = Arc::new(worker::spawn_all(&settings, new_core, &reports)?);
        let stats: Vec<_> = workers.iter().map(WorkerHandle::stats).collect();
        WorkerCollector::register(registry, stats.clone())?;
        let identity = NodeReport {
            node: config.node.clone(),
            incarnation: rand::random(),
            region: config.region.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capacity: NodeCapacity {
                sessions: u32::try_from(config.limits.sessions).unwrap_or(u32::MAX),
                egress: config.max_bitrate.0,
            },
            http: config.http.clone(),
            ..NodeReport::default()
        };

        let addrs = config.announced_addrs();
        let ports: Vec<u16> = workers.iter().map(WorkerHandle::port).collect();
        tracing::info!(node = config.node, ?addrs, ?ports, "media is served");
        let to = Arc::clone(&workers);
        let surroundings = Surroundings {
            identity,
            load: LoadMeter::new(stats, Instant::now()),
            answerer: Answerer::new(fingerprint, &addrs, &ports, config.codecs).with_rfc8888(config.rfc8888),
            send: Box::new(move |worker, command| to[usize::from(worker.0)].send(command)),
            offers: offers.clone(),
            sessions,
            rooms,
            bus: Arc::clone(&bus),
        };
        let brain = Rooms::new(RoomsConfig {
            workers: settings.workers,
            limits: config.limits,
            ..RoomsConfig::default()
        });
        let (stop, stopped) = oneshot::channel();
        let (draining, told_to_drain) = watch::channel(false);
        let (tell_status, status) = watch::channel(NodeStatus::default());
        let calls = bus.serve(config.node);
        let parse = Arc::new(move |sdp: &str| Offer::parse(sdp, &config.sdp));
        let intake = Intake::spawn(calls, &config.intake, parse, offers);
        let control = vital::spawn(
            "control",
            control::run(
                brain,
                surroundings,
                intake,
                events,
                control::Wires {
                    stop: stopped,
                    draining: told_to_drain,
                    status: tell_status,
                },
            ),
        );
        Ok(Self {
            stop,
            draining,
            status,
            control,
            workers,
        })
    }

    /// Takes no new rooms from now on, and says so to all, or takes them again.
    pub fn set_draining(&self, draining: bool) {
        let _ = self.draining.send(draining);
    }

    /// What the control task tells of itself, twice a second at least.
    pub fn status(&self) -> watch::Receiver<NodeStatus> {
        self.status.clone()
    }

    /// Ends every session, each with a `Closed` event, and then the workers.
    pub async fn shutdown(self) {
        // The task may have ended already.
        let _ = self.stop.send(());
        if let Err(error) = self.control.await {
            tracing::error!(%error, "the control task failed");
        }
        // The control task is gone, so this is the last hold on the workers.
        let Some(workers) = Arc::into_inner(self.workers) else {
            return;
        };
        workers.iter().for_each(WorkerHandle::stop);
        let join = move || workers.into_iter().for_each(WorkerHandle::join);
        if let Err(error) = tokio::task::spawn_blocking(join).await {
            tracing::error!(%error, "the workers failed to end");
        }
    }
}
