//! What every request handler needs.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tianqiao_bus::Bus;
use tianqiao_protocol::control::InstanceId;
use tokio::sync::{Semaphore, watch};

use crate::api_keys::ApiKeys;
use crate::assets::Assets;
use crate::auth::Tokens;
use crate::config::Config;
use crate::fleet::{Fleet, Seat};
use crate::gates::Gates;
use crate::http::OwnNames;
use crate::listen::Connections;
use crate::meetings::{Meetings, now};
use crate::metrics::Metrics;
use crate::network::Origins;
use crate::operator_token::OperatorToken;
use crate::readiness::Readiness;
use crate::session::budget::Budgets;

/// How often what is no longer needed of addresses and persons is forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

pub struct App {
    pub config: Config,
    pub tokens: Tokens,
    pub gates: Gates,
    pub origins: Origins,
    pub readiness: Arc<Readiness>,
    pub budgets: Budgets,
    pub api_keys: ApiKeys,
    pub operator: Option<OperatorToken>,
    pub meetings: Arc<Meetings>,
    /// None where this is the only instance.
    pub fleet: Option<Arc<Fleet>>,
    pub metrics: Arc<Metrics>,
    pub registry: Registry,
    pub assets: Assets,
    /// Those of the public port.
    pub connections: Arc<Connections>,
    pub names: OwnNames,
    /// A permit for each open WebSocket.
    pub websockets: Arc<Semaphore>,
    /// True once the server stops.
    pub shutdown: watch::Receiver<bool>,
    /// `https` or `http`, for links where no public URL is set.
    pub scheme: &'static str,
}

impl App {
    #[allow(clippy::too_many_arguments)] // each is a part that the handlers share
    pub fn new(
        config: Config,
        api_keys: ApiKeys,
        operator: Option<OperatorToken>,
        secret: &[u8; 32],
        scheme: &'static str,
        instance: &InstanceId,
        bus: Arc<dyn Bus>,
        registry: Registry,
        metrics: Arc<Metrics>,
        connections: Arc<Connections>,
        shutdown: watch::Receiver<bool>,
        seat: Option<Seat>,
    ) -> Arc<Self> {
        let notify = seat.as_ref().map(|seat| seat.notify.clone());
        let proofs = seat.as_ref().map(|seat| seat.secrets.proofs);
        let meetings = Meetings::new(&config, instance, bus.clone(), metrics.clone(), notify);
        let fleet = seat.map(|seat| {
            let Seat {
                secrets, url, metrics, ..
            } = seat;
            Fleet::new(instance.clone(), bus.clone(), meetings.clone(), secrets, url, metrics)
        });
        Arc::new(Self {
            tokens: Tokens::new(secret, config.token_ttl),
            gates: Gates::new(&config, proofs),
            origins: Origins::default(),
            readiness: Readiness::new(instance, bus),
            budgets: Budgets::new(&config),
            api_keys,
            operator,
            meetings,
            fleet,
            metrics,
            registry,
            assets: Assets::embedded(),
            websockets: Arc::new(Semaphore::new(config.max_websockets as usize)),
            shutdown,
            names: OwnNames::new(&config, scheme == "https"),
            connections,
            scheme,
            config,
        })
    }

    /// Keeps what is known of strangers small, for as long as the server runs.
    pub async fn run_sweeps(&self) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            let now = now();
            self.gates.sweep(now);
            self.budgets.sweep(now);
            self.meetings.sweep(now);
        }
    }

    pub fn is_stopping(&self) -> bool {
        *self.shutdown.borrow()
    }
}
