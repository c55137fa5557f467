//! How to reach NATS.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use thiserror::Error;

use super::backoff;

/// A server that says nothing for two of these is given up.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// For TCP, TLS and the first words.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// `nats://host:4222`, or `tls://` where only TLS will do. User and password may stand in the first.
    pub servers: Vec<String>,
    pub credentials: Option<Credentials>,
    /// Certificates, in PEM, of those who may vouch for the servers; none: the system's.
    pub ca: Option<PathBuf>,
    /// Before all names of subjects and buckets, so that fleets may share servers.
    pub prefix: String,
    /// Shown in the server's list of connections.
    pub name: String,
    /// Of each bucket that is made here.
    pub replicas: usize,
    /// How long a node may take to answer.
    pub request_timeout: Duration,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".into()],
            credentials: None,
            ca: None,
            prefix: "tianqiao".into(),
            name: "tianqiao".into(),
            replicas: 1,
            request_timeout: Duration::from_secs(10),
        }
    }
}

#[derive(Clone)]
pub enum Credentials {
    /// A file with a JWT and its key, as `nsc` writes it.
    File(PathBuf),
    /// The seed of an nkey.
    Nkey(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Nkey(_) => write!(f, "Nkey"),
        }
    }
}

#[derive(Debug, Error)]
pub enum NatsError {
    #[error("not the address of a NATS server: {0}")]
    Address(String),
    #[error("no NATS server is named")]
    NoServers,
    #[error("a prefix is of letters, digits, - and _: {0}")]
    Prefix(String),
    #[error("cannot use the credentials in {path}: {error}")]
    Credentials { path: PathBuf, error: std::io::Error },
    #[error("cannot set NATS up: {0}")]
    Setup(#[from] async_nats::ConnectError),
}

impl NatsConfig {
    pub(super) fn addresses(&self) -> Result<Vec<ServerAddr>, NatsError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if self.prefix.is_empty() || !self.prefix.bytes().all(is_name) {
            return Err(NatsError::Prefix(self.prefix.clone()));
        }
        if self.servers.is_empty() {
            return Err(NatsError::NoServers);
        }
        let parse = |server: &String| {
            let address: ServerAddr = server
                .parse()
                .map_err(|_| NatsError::Address(without_password(server)))?;
            match address.is_websocket() {
                true => Err(NatsError::Address(without_password(server))),
                false => Ok(address),
            }
        };
        self.servers.iter().map(parse).collect()
    }

    pub(super) async fn options(&self, addresses: &[ServerAddr]) -> Result<ConnectOptions, NatsError> {
        let is_first = AtomicBool::new(true);
        let mut options = ConnectOptions::new()
            .name(&self.name)
            .custom_inbox_prefix(format!("{}.inbox", self.prefix))
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(move |attempt| match is_first.swap(false, Ordering::Relaxed) {
                true => Duration::ZERO,
                false => backoff::delay(attempt, &mut rand::rng()),
            });
        let with_user = addresses.iter().find(|address| address.has_user_pass());
        if let Some(address) = with_user {
            let part = |text: Option<&str>| percent_decoded(text.unwrap_or_default());
            options = options.user_and_password(part(address.username()), part(address.password()));
        }
        if let Some(path) = &self.ca {
            options = options.add_root_certificates(path.clone());
        }
        match &self.credentials {
            None => Ok(options),
            Some(Credentials::Nkey(seed)) => Ok(options.nkey(seed.trim().to_owned())),
            Some(Credentials::File(path)) => {
                let path = path.clone();
                options
                    .credentials_file(&path)
                    .await
                    .map_err(|error| NatsError::Credentials { path, error })
            }
        }
    }
}

/// For messages.
fn without_password(server: &str) -> String {
    match server.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => server.to_owned(),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |byte: &u8| char::from(*byte).to_digit(16);
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(high).zip(hex(low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_hold_any_sign() {
        assert_eq!(percent_decoded("p%40ss%3aw%2"), "p@ss:w%2");
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_telling_the_password() {
        let config = |servers: &[&str], prefix: &str| NatsConfig {
            servers: servers.iter().map(|server| (*server).to_owned()).collect(),
            prefix: prefix.into(),
            ..NatsConfig::default()
        };
        assert!(config(&["nats://a:1", "tls://b:2"], "t").addresses().is_ok());
        assert!(matches!(
            config(&["nats://a:1"], "a.b").addresses(),
            Err(NatsError::Prefix(_))
        ));
        assert!(matches!(config(&[], "t").addresses(), Err(NatsError::NoServers)));
        let error = config(&["ws://me:secret@a:1"], "t")
            .addresses()
            .expect_err("no WebSocket");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
