//! The running control plane: from settings to listening sockets, and back.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use ipnet::IpNet;
use prometheus::{IntCounter, Registry};
use tianqiao_bus::{Bus, vital};
use tianqiao_protocol::control::InstanceId;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::api_keys::ApiKeys;
use crate::app::App;
use crate::auth::{random_bytes, random_id};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::fleet::Seat;
use crate::listen::{ConnectionLimits, Connections, Listener};
use crate::meetings::Notice;
use crate::metrics::Metrics;
use crate::operator_token::OperatorToken;
use crate::{http, tls};

/// Signs tokens; 32 random bytes.
const TOKEN_SECRET: &str = "token-secret";
/// WebSockets are told of the shutdown and have this long to take it in.
const WEBSOCKET_GRACE: Duration = Duration::from_secs(2);
/// For HTTP requests that still run.
const HTTP_GRACE: Duration = Duration::from_secs(1);
/// Connections of the machines that watch the server.
const METRICS_CONNECTIONS: usize = 64;
/// A refusal or a close frame may still be on its way when `join-timeout` is over.
const JOIN_GRACE: Duration = Duration::from_secs(15);

pub struct Server {
    url: String,
    metrics_url: Option<String>,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens; nodes may come to the bus before or after.
    pub async fn start(config: Config, bus: Arc<dyn Bus>, registry: Registry) -> anyhow::Result<Self> {
        Self::start_as(config, bus, registry, false).await
    }

    /// The same as one of several instances on the bus, which own and take over each other's meetings.
    pub async fn start_in_fleet(config: Config, bus: Arc<dyn Bus>, registry: Registry) -> anyhow::Result<Self> {
        Self::start_as(config, bus, registry, true).await
    }

    async fn start_as(config: Config, bus: Arc<dyn Bus>, registry: Registry, in_fleet: bool) -> anyhow::Result<Self> {
        // Fails only where one is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let data_dir = DataDir::open(&config.data_dir)
            .with_context(|| format!("the data folder {} cannot be used", config.data_dir.display()))?;
        let own_secret = || {
            data_dir
                .read_or_create(TOKEN_SECRET, || Ok(random_bytes::<32>().to_vec()))
                .with_context(|| format!("{TOKEN_SECRET} in the data folder cannot be read or written"))?
                .try_into()
                .map_err(|_| anyhow::anyhow!("{TOKEN_SECRET} in the data folder is not 32 bytes long; delete it"))
        };
        let tls = tls::load(&config, &data_dir)?;
        let scheme = if tls.is_some() { "https" } else { "http" };

        let tcp = bind(config.listen).await?;
        let metrics_tcp = bind_metrics(&config).await?;
        let url = config
            .public_url
            .clone()
            .unwrap_or_else(|| reachable(scheme, tcp.local_addr(), &config));
        let metrics_url = metrics_tcp
            .as_ref()
            .and_then(|tcp| tcp.local_addr().ok())
            .map(|address| format!("http://{address}"));

        let instance: InstanceId = random_id::<9>();
        let events = bus.events(&instance);
        let (stop, stopping) = watch::channel(false);
        let operator = config.operator_token_file.as_deref();
        let operator = operator.map(OperatorToken::load).transpose()?;
        let api_keys = match &config.api_keys_file {
            Some(path) => {
                ApiKeys::load(path).with_context(|| format!("the API keys in {} cannot be read", path.display()))?
            }
            None => ApiKeys::default(),
        };
        let internal = match in_fleet {
            true => Some(Internal::open(&config, &bus, &registry).await?),
            false => None,
        };
        let (internal_tcp, seat, notices) = internal.map_or_else(Default::default, |internal| {
            (Some(internal.tcp), Some(internal.seat), Some(internal.notices))
        });
        let secret: [u8; 32] = match &seat {
            Some(seat) => seat.secrets.tokens,
            None => own_secret()?,
        };
        let metrics = Arc::new(Metrics::register(&registry)?);
        let connections = Connections::new(connection_limits(&config), metrics.http_closed.clone());
        let app = App::new(
            config,
            api_keys,
            operator,
            &secret,
            scheme,
            &instance,
            bus,
            registry,
            metrics,
            connections,
            stopping,
            seat,
        );
        let gates = app.clone();
        let mut background = vec![
            vital::spawn("events", app.meetings.clone().run_events(events)),
            vital::spawn("nodes", app.meetings.clone().run_nodes()),
            vital::spawn("sweeps", async move { gates.run_sweeps().await }),
        ];
        let mut listeners = Vec::new();
        // The others know the port as soon as this instance is registered.
        if let Some(tcp) = internal_tcp {
            listeners.push(vital::spawn("internal listener", members(&app, tcp).run()));
        }
        if let (Some(fleet), Some(notices)) = (&app.fleet, notices) {
            background.extend(fleet.join(notices).await?);
        }
        listeners.push(vital::spawn("listener", public(&app, tcp, tls).run()));
        if let Some(tcp) = metrics_tcp {
            listeners.push(vital::spawn("metrics listener", watchers(&app, tcp).run()));
        }
        Ok(Self {
            url,
            metrics_url,
            app,
            stop,
            listeners,
            background,
        })
    }

    /// Where a browser finds the page.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where `/metrics` is, if anywhere.
    pub fn metrics_url(&self) -> Option<&str> {
        self.metrics_url.as_deref()
    }

    /// Tells every client, ends every session at the SFU and stops listening.
    pub async fn shutdown(self) {
        let _ = self.stop.send(true);
        match &self.app.fleet {
            Some(fleet) => fleet.hand_over().await,
            None => self.app.meetings.shut_down(),
        }
        // Held by nobody once every WebSocket is closed.
        let all = self.app.websockets.acquire_many(self.app.config.max_websockets);
        if tokio::time::timeout(WEBSOCKET_GRACE, all).await.is_err() {
            tracing::info!("some WebSockets did not close in time");
        }
        for task in self.listeners.into_iter().chain(self.background) {
            task.abort();
        }
        self.app.connections.leave_all();
        if tokio::time::timeout(HTTP_GRACE, self.app.connections.emptied())
            .await
            .is_err()
        {
            self.app.connections.close_all();
        }
    }
}

/// For everybody.
fn public(app: &Arc<App>, tcp: TcpListener, tls: Option<TlsAcceptor>) -> Listener {
    let connections = app.connections.clone();
    let trusted = app.config.trusted_proxies.clone();
    listener(app, tcp, tls, http::router(app.clone()), connections, trusted)
}

/// The internal port, with what is fetched of the fleet before meetings can be made.
struct Internal {
    tcp: TcpListener,
    seat: Seat,
    notices: mpsc::UnboundedReceiver<Notice>,
}

impl Internal {
    async fn open(config: &Config, bus: &Arc<dyn Bus>, registry: &Registry) -> anyhow::Result<Self> {
        let tcp = bind(config.internal_listen).await?;
        let url = config.internal_url.as_ref();
        let url = url.map(|url| url.trim_end_matches('/').to_owned());
        let url = url.unwrap_or_else(|| reachable("http", tcp.local_addr(), config));
        let (seat, notices) = Seat::take(bus, url, registry).await?;
        Ok(Self { tcp, seat, notices })
    }
}

/// For the other instances of the fleet, behind which are many clients.
fn members(app: &Arc<App>, tcp: TcpListener) -> Listener {
    let connections = Connections::new(*app.connections.limits(), app.metrics.http_closed.clone());
    let everybody = [IpAddr::from([0, 0, 0, 0]), IpAddr::from([0_u16; 8])];
    let everybody = everybody.map(|ip| IpNet::new(ip, 0).expect("a prefix of no bits"));
    listener(
        app,
        tcp,
        None,
        http::members_router(app.clone()),
        connections,
        everybody.into(),
    )
}

/// For the machines that watch the server; strangers on the public port cannot take their places.
fn watchers(app: &Arc<App>, tcp: TcpListener) -> Listener {
    let limits = ConnectionLimits {
        total: METRICS_CONNECTIONS,
        ..*app.connections.limits()
    };
    let on_loopback = tcp.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let connections = Connections::new(limits, app.metrics.http_closed.clone());
    let router = http::watchers_router(app.clone(), on_loopback);
    listener(app, tcp, None, router, connections, Vec::new())
}

fn listener(
    app: &App,
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    connections: Arc<Connections>,
    trusted_proxies: Vec<IpNet>,
) -> Listener {
    let accept_errors: IntCounter = app.metrics.accept_errors.clone();
    Listener {
        tcp,
        tls,
        tls_handshake_timeout: app.config.tls_handshake_timeout,
        router,
        connections,
        trusted_proxies,
        accept_errors,
    }
}

/// No address may have more than half of what there is.
fn connection_limits(config: &Config) -> ConnectionLimits {
    let websockets = config.max_websockets as usize;
    ConnectionLimits {
        total: config.max_connections,
        per_address: config
            .max_connections_per_address
            .min(config.max_connections.div_ceil(2)),
        waiting_per_address: config.max_waiting_websockets_per_address.min(websockets.div_ceil(2)),
        header: config.header_timeout,
        idle: config.idle_timeout,
        request: config.request_timeout,
        waiting: config.join_timeout + JOIN_GRACE,
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}"))
}

/// Two servers on one machine are usual where neither was told a port for this.
async fn bind_metrics(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = config.metrics_listen else {
        return Ok(None);
    };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if config.metrics_listen == Config::default().metrics_listen => {
            let listener = bind(SocketAddr::new(address.ip(), 0)).await?;
            tracing::warn!(
                %error, wanted = %address, taken = ?listener.local_addr().ok(),
                "the port of the metrics is taken, they are on another one; set metrics-listen"
            );
            Ok(Some(listener))
        }
        Err(error) => Err(anyhow::Error::from(error).context(format!("metrics-listen: cannot listen on {address}"))),
    }
}

/// The URL of a listening socket; an unspecified address is replaced by one that can be typed.
fn reachable(scheme: &str, listening: std::io::Result<SocketAddr>, config: &Config) -> String {
    let mut address = listening.unwrap_or(config.listen);
    if address.ip().is_unspecified() {
        match config.media_addr.first() {
            Some(ip) => address.set_ip(*ip),
            None => return format!("{scheme}://localhost:{}", address.port()),
        }
    }
    format!("{scheme}://{address}")
}
