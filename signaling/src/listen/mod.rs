//! HTTP over TCP and TLS: accepts connections and keeps them within their times and limits.

mod connections;
mod link;
mod request;
mod tcp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use ipnet::IpNet;
use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub use connections::{Carried, Closed, Connection, ConnectionLimits, Connections};
use link::LinkedStream;

use crate::meetings::now;
use crate::network::Network;

/// Head of a request, and what waits of a body or an answer, of one HTTP/1 connection.
const HTTP1_BUFFER: usize = 32 * 1024;
/// Streams of one HTTP/2 connection; the page is a dozen files.
const HTTP2_STREAMS: u32 = 64;
/// What a client may send before we have read it: the largest offer in one go, and two of them together.
const HTTP2_STREAM_WINDOW: u32 = 128 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 256 * 1024;
/// What waits of the answer of one HTTP/2 stream.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;
/// How often connections are looked over.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// After an accept that failed for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Lines of the log about the same trouble are at least this far apart.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A listening socket with what is served on it.
pub struct Listener {
    pub tcp: TcpListener,
    pub tls: Option<TlsAcceptor>,
    pub tls_handshake_timeout: Duration,
    pub router: Router,
    pub connections: Arc<Connections>,
    /// Their connections do not count for one address.
    pub trusted_proxies: Vec<IpNet>,
    pub accept_errors: IntCounter,
}

impl Listener {
    /// Accepts for ever; connections go on in tasks of their own.
    pub async fn run(self) {
        let http = Arc::new(builder());
        let connections = self.connections.clone();
        let mut checks = tokio::time::interval(CHECK_INTERVAL);
        let mut failing = LogPace::default();
        let mut full = LogPace::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                _ = checks.tick() => {
                    connections.handle_timeout(now());
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => self.welcome(stream, peer, &http, &mut full),
                Err(error) if is_of_one_peer(&error) => {}
                Err(error) => {
                    self.accept_errors.inc();
                    let made_room = connections.evict();
                    if failing.is_due(now()) {
                        tracing::error!(
                            %error, made_room, connections = connections.len(),
                            "HTTP connections cannot be accepted; see ulimit -n"
                        );
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr, http: &Arc<Builder<TokioExecutor>>, full: &mut LogPace) {
        let ip = peer.ip().to_canonical();
        let is_proxy = self.trusted_proxies.iter().any(|proxies| proxies.contains(&ip));
        let address = (!is_proxy).then(|| Network::site(ip));
        let opened = self.connections.open(address, now());
        if opened.full && full.is_due(now()) {
            tracing::warn!(
                limit = self.connections.limits().total,
                refused = opened.connection.is_none(),
                "all HTTP connections are taken, idle ones are closed for newcomers; see max-connections and ulimit -n"
            );
        }
        let Some(connection) = opened.connection else {
            return;
        };
        if let Err(error) = tcp::tune(&stream) {
            tracing::debug!(%error, "a TCP option");
        }
        let stream = LinkedStream {
            stream,
            connection: connection.clone(),
        };
        let http = http.clone();
        let router = self.router.clone();
        match self.tls.clone() {
            None => drop(tokio::spawn(serve(http, stream, connection, router, peer))),
            Some(tls) => {
                let handshake = tokio::time::timeout(self.tls_handshake_timeout, tls.accept(stream));
                tokio::spawn(async move {
                    match handshake.await {
                        Ok(Ok(stream)) => {
                            connection.on_secured(now());
                            serve(http, stream, connection, router, peer).await;
                        }
                        Ok(Err(_)) | Err(_) => connection.count(Closed::Handshake),
                    }
                });
            }
        }
    }
}

async fn serve(
    http: Arc<Builder<TokioExecutor>>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Arc<Connection>,
    router: Router,
    peer: SocketAddr,
) {
    let link = connection.link.clone();
    let service = hyper::service::service_fn(move |request| request::answer(request, &connection, &router, peer));
    let serving = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = link.left() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "an HTTP connection ended");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Times are kept by `Connections`, for both versions alike.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(HTTP1_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        // WebSockets on the page's own connection (RFC 8441).
        .enable_connect_protocol()
        .max_concurrent_streams(HTTP2_STREAMS)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_send_buf_size(HTTP2_SEND_BUFFER);
    builder
}

/// The connection failed before it was accepted; the next one need not.
fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Lets the same line through only so often.
#[derive(Default)]
struct LogPace {
    last: Option<Instant>,
}

impl LogPace {
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= LOG_INTERVAL);
        if due {
            self.last = Some(now);
        }
        due
    }
}
