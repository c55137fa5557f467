//! The running control plane: from settings to a listening socket, and back.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum_server::Handle;
use prometheus::Registry;
use tianqiao_bus::Bus;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::auth::random_bytes;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::{http, tls};

/// Signs tokens; 32 random bytes.
const TOKEN_SECRET: &str = "token-secret";
/// WebSockets are told of the shutdown and have this long to take it in.
const WEBSOCKET_GRACE: Duration = Duration::from_secs(2);
/// For HTTP requests that still run.
const HTTP_GRACE: Duration = Duration::from_secs(1);
/// A connection that sends no request for this long is closed.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

pub struct Server {
    url: String,
    app: Arc<App>,
    handle: Handle<SocketAddr>,
    stop: watch::Sender<bool>,
    http: JoinHandle<std::io::Result<()>>,
    background: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens; nodes may come to the bus before or after.
    pub async fn start(config: Config, bus: Arc<dyn Bus>, registry: Registry) -> anyhow::Result<Self> {
        // Fails only where one is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let data_dir = DataDir::open(&config.data_dir)
            .with_context(|| format!("the data folder {} cannot be used", config.data_dir.display()))?;
        let secret = data_dir.read_or_create(TOKEN_SECRET, || Ok(random_bytes::<32>().to_vec()))?;
        let secret: [u8; 32] = secret
            .try_into()
            .map_err(|_| anyhow::anyhow!("{TOKEN_SECRET} in the data folder is not 32 bytes long; delete it"))?;
        let tls = tls::load(&config, &data_dir).await?;
        let scheme = if tls.is_some() { "https" } else { "http" };

        let listener =
            TcpListener::bind(config.listen).with_context(|| format!("cannot listen on {}", config.listen))?;
        listener.set_nonblocking(true)?;
        let url = config
            .public_url
            .clone()
            .unwrap_or_else(|| reachable(scheme, listener.local_addr(), &config));

        let events = bus.events();
        let (stop, stopping) = watch::channel(false);
        let app = App::new(config, &secret, scheme, bus, registry, stopping)?;
        let gates = app.clone();
        let background = vec![
            tokio::spawn(app.meetings.clone().run_events(events)),
            tokio::spawn(async move { gates.gates.run_sweeps().await }),
        ];

        let handle = Handle::new();
        let service = http::router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let http = match tls {
            Some(tls) => tokio::spawn(
                axum_server::from_tcp_rustls(listener, tls)?
                    .handle(handle.clone())
                    .first_request_timeout(FIRST_REQUEST_TIMEOUT)
                    .serve(service),
            ),
            None => tokio::spawn(
                axum_server::from_tcp(listener)?
                    .handle(handle.clone())
                    .first_request_timeout(FIRST_REQUEST_TIMEOUT)
                    .serve(service),
            ),
        };
        Ok(Self {
            url,
            app,
            handle,
            stop,
            http,
            background,
        })
    }

    /// Where a browser finds the page.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Tells every client, ends every session at the SFU and stops listening.
    pub async fn shutdown(self) {
        let _ = self.stop.send(true);
        self.app.meetings.shut_down();
        // Held by nobody once every WebSocket is closed.
        let all = self.app.websockets.acquire_many(self.app.config.max_websockets);
        if tokio::time::timeout(WEBSOCKET_GRACE, all).await.is_err() {
            tracing::info!("some WebSockets did not close in time");
        }
        self.handle.graceful_shutdown(Some(HTTP_GRACE));
        if let Ok(Err(error)) = self.http.await {
            tracing::error!(%error, "the HTTP server failed");
        }
        for task in self.background {
            task.abort();
        }
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
