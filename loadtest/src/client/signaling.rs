//! REST and WebSocket of a Tianqiao server.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use tianqiao_protocol::rest::{CreateMeeting, CreateToken, CreatedMeeting, JoinToken, MeetingInfo};
use tianqiao_protocol::ws::{ClientMessage, ServerMessage};
use tianqiao_protocol::{ErrorBody, ErrorCode, frame, proof};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use url::Url;

use super::tls;

/// Largest message that is taken when inflated.
const MAX_MESSAGE: usize = 4 << 20;

/// A request that the server refused with a typed error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: ErrorCode,
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused ({:?}): {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

/// The price may rise while one works for it.
const PROOFS_AT_MOST: usize = 4;

/// A server by its base URL.
#[derive(Clone, Debug)]
pub struct Server {
    base: Url,
    http: reqwest::Client,
    insecure: bool,
    from: Option<IpAddr>,
}

/// An answer to WHIP or WHEP.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Server {
    /// `insecure` accepts every certificate.
    pub fn new(base: &str, insecure: bool) -> Result<Self> {
        Self::seen_from(base, insecure, None)
    }

    /// Reached from the local address `from`: requests, WebSockets and media.
    pub fn seen_from(base: &str, insecure: bool, from: Option<IpAddr>) -> Result<Self> {
        tls::install_provider();
        let base = Url::parse(base).with_context(|| format!("{base} is no URL"))?;
        let mut builder = reqwest::Client::builder().no_proxy().local_address(from);
        if insecure {
            builder = builder.danger_accept_invalid_certs(true);
        }
        Ok(Self {
            base,
            http: builder.build()?,
            insecure,
            from,
        })
    }

    /// The local address from which it is reached; `None` where the system chooses.
    pub fn from_address(&self) -> Option<IpAddr> {
        self.from
    }

    pub async fn create_meeting(&self, request: &CreateMeeting) -> Result<CreatedMeeting> {
        self.post("/api/v1/meetings", request).await
    }

    /// `meeting`: id or code.
    pub async fn meeting(&self, meeting: &str) -> Result<MeetingInfo> {
        read(
            self.http
                .get(self.url(&format!("/api/v1/meetings/{meeting}"))?)
                .send()
                .await?,
        )
        .await
    }

    /// What a participant may know of the meeting.
    pub async fn meeting_details(&self, meeting: &str, token: &str) -> Result<MeetingInfo> {
        let url = self.url(&format!("/api/v1/meetings/{meeting}"))?;
        read(self.http.get(url).bearer_auth(token).send().await?).await
    }

    /// Does the work that the server asks for where others have guessed too much.
    pub async fn join_token(&self, meeting: &str, request: &CreateToken) -> Result<String> {
        let url = self.url(&format!("/api/v1/meetings/{meeting}/tokens"))?;
        let mut solution = None;
        for _ in 0..PROOFS_AT_MOST {
            let post = self.http.post(url.clone()).json(request);
            let post = solution
                .into_iter()
                .fold(post, |post, proof: String| post.header(proof::HEADER, proof));
            let response = post.send().await?;
            if response.status() != StatusCode::TOO_MANY_REQUESTS {
                return Ok(read::<JoinToken>(response).await?.token);
            }
            let (status, body) = (response.status(), response.bytes().await?);
            let work = serde_json::from_slice::<ErrorBody>(&body)
                .ok()
                .and_then(|body| body.proof);
            let work = work.ok_or_else(|| refused(status, &body))?;
            let passcode = request.passcode.clone().unwrap_or_default();
            solution = Some(tokio::task::spawn_blocking(move || work.solve(&passcode)).await?);
        }
        anyhow::bail!("the server asks for ever more work")
    }

    pub async fn end_meeting(&self, meeting: &CreatedMeeting) -> Result<()> {
        let url = self.url(&format!("/api/v1/meetings/{}", meeting.id))?;
        let response = self.http.delete(url).bearer_auth(&meeting.host_token).send().await?;
        if !response.status().is_success() {
            return Err(refused(response.status(), &response.bytes().await?).into());
        }
        Ok(())
    }

    /// A request of WHIP or WHEP; `path` is a path or the `Location` of a session. A PATCH is for
    /// whatever ICE session there is (RFC 9725, section 4.3.2).
    pub async fn whip(
        &self,
        method: Method,
        path: &str,
        token: &str,
        content_type: &str,
        body: String,
    ) -> Result<HttpAnswer> {
        let mut request = self.http.request(method.clone(), self.url(path)?).bearer_auth(token);
        if method == Method::PATCH {
            request = request.header("if-match", "*");
        }
        if !body.is_empty() {
            request = request.header("content-type", content_type).body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(HttpAnswer {
            status,
            headers,
            body: response.text().await?,
        })
    }

    pub async fn text(&self, path: &str) -> Result<String> {
        Ok(self
            .http
            .get(self.url(path)?)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?)
    }

    async fn connect(&self) -> Result<TcpStream> {
        let host = self.base.host_str().context("the URL has no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.base.port_or_known_default().context("the URL has no port")?;
        let mut last = None;
        for to in lookup_host((host, port)).await? {
            match connect_from(self.from, to).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error).with_context(|| format!("{} cannot be reached", self.base)),
            None => bail!("{host} has no address"),
        }
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.base.join(path).with_context(|| format!("{path} is no path"))
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl serde::Serialize) -> Result<T> {
        read(self.http.post(self.url(path)?).json(body).send().await?).await
    }
}

/// A TCP connection without Nagle's delay, from the local address `from` where there is one.
pub async fn connect_from(from: Option<IpAddr>, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn read<T: DeserializeOwned>(response: reqwest::Response) -> Result<T> {
    let status = response.status();
    let body = response.bytes().await?;
    if !status.is_success() {
        return Err(refused(status, &body).into());
    }
    serde_json::from_slice(&body).context("the answer is not what the protocol says")
}

fn refused(status: StatusCode, body: &[u8]) -> Refused {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(error) => Refused {
            code: error.code,
            message: error.message,
        },
        Err(_) => Refused {
            code: ErrorCode::Internal,
            message: format!("status {status} without a typed error"),
        },
    }
}

/// Bytes of WebSocket payloads, as sent and received.
#[derive(Debug, Default)]
pub struct ByteCounts {
    pub sent: AtomicU64,
    pub received: AtomicU64,
}

/// A participant's WebSocket. Messages go out compressed.
pub struct WebSocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    bytes: Arc<ByteCounts>,
}

impl WebSocket {
    pub async fn connect(server: &Server) -> Result<Self> {
        let mut url = server.url("/api/v1/ws")?;
        let scheme = if server.base.scheme() == "https" { "wss" } else { "ws" };
        url.set_scheme(scheme)
            .map_err(|()| anyhow::anyhow!("the URL is neither http nor https"))?;
        let mut request = url.as_str().into_client_request()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static("tianqiao.v1"));
        let connector = server.insecure.then(|| Connector::Rustls(tls::unverified()));
        let stream = server.connect().await?;
        let (stream, _) = client_async_tls_with_config(request, stream, None, connector)
            .await
            .context("the WebSocket does not open")?;
        Ok(Self {
            stream,
            bytes: Arc::default(),
        })
    }

    pub fn bytes(&self) -> Arc<ByteCounts> {
        self.bytes.clone()
    }

    pub async fn send(&mut self, message: &ClientMessage) -> Result<()> {
        self.send_raw(Message::Binary(frame::deflate(&serde_json::to_string(message)?).into()))
            .await
    }

    /// Sends a frame as it is, for what no well-behaved client sends.
    pub async fn send_raw(&mut self, message: Message) -> Result<()> {
        self.bytes.sent.fetch_add(message.len() as u64, Ordering::Relaxed);
        Ok(self.stream.send(message).await?)
    }

    /// `None` once the server has closed the WebSocket.
    pub async fn recv(&mut self) -> Result<Option<ServerMessage>> {
        loop {
            let message = match self.stream.next().await {
                None | Some(Ok(Message::Close(_))) => return Ok(None),
                Some(message) => message?,
            };
            self.bytes.received.fetch_add(message.len() as u64, Ordering::Relaxed);
            let text = match message {
                Message::Text(text) => text.to_string(),
                Message::Binary(data) => frame::inflate(&data, MAX_MESSAGE)?,
                _ => continue,
            };
            let message = serde_json::from_str(&text).with_context(|| format!("unknown message {text}"))?;
            return Ok(Some(message));
        }
    }

    /// Sends the first message and waits for its answer; a refusal is a [`Refused`].
    pub async fn ask(&mut self, message: &ClientMessage) -> Result<ServerMessage> {
        self.send(message).await?;
        match self.recv().await? {
            Some(ServerMessage::Error(error)) => Err(Refused {
                code: error.code,
                message: error.message,
            }
            .into()),
            Some(answer) => Ok(answer),
            None => bail!("the server closed the WebSocket without an answer"),
        }
    }

    pub async fn close(mut self) {
        let _ = self.stream.close(None).await;
    }
}
