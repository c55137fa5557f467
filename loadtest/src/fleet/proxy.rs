//! A TCP proxy before signaling instances: a connection goes to the instance with the fewest, past those that are dead.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// A backend that takes no connection within this time is passed over.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Connections at a time; more wait in the listener's queue.
const CONNECTIONS: usize = 4096;
/// After a failed accept, which is for want of files as a rule.
const PAUSE: Duration = Duration::from_millis(50);

struct Backend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// Ends with all its connections when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    backends: Arc<Mutex<Vec<Backend>>>,
    task: AbortHandle,
}

impl Proxy {
    pub async fn start(listen: SocketAddr, backends: Vec<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("{listen} cannot be listened at"))?;
        let address = listener.local_addr()?;
        let backends = backends.into_iter().map(backend).collect();
        let backends = Arc::new(Mutex::new(backends));
        let task = tokio::spawn(accept(listener, backends.clone())).abort_handle();
        Ok(Self {
            address,
            backends,
            task,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Another address of the backend with that index, which was started anew.
    pub fn set(&self, index: usize, address: SocketAddr) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = backends.get_mut(index) {
            *place = backend(address);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn backend(address: SocketAddr) -> Backend {
    Backend {
        address,
        connections: Arc::default(),
    }
}

async fn accept(listener: TcpListener, backends: Arc<Mutex<Vec<Backend>>>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut turn = 0_usize;
    while let Ok(permit) = permits.clone().acquire_owned().await {
        while connections.try_join_next().is_some() {}
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be taken");
                sleep(PAUSE).await;
                continue;
            }
        };
        turn = turn.wrapping_add(1);
        let order = by_load(&backends.lock().unwrap_or_else(PoisonError::into_inner), turn);
        connections.spawn(async move {
            let _permit = permit;
            carry(client, order).await;
        });
    }
}

/// Fewest connections first; among equals each is first in its turn.
fn by_load(backends: &[Backend], turn: usize) -> Vec<(SocketAddr, Arc<AtomicUsize>)> {
    let mut order: Vec<_> = backends
        .iter()
        .map(|backend| (backend.address, backend.connections.clone()))
        .collect();
    if !order.is_empty() {
        let first = turn % order.len();
        order.rotate_left(first);
    }
    order.sort_by_cached_key(|(_, connections)| connections.load(Ordering::Relaxed));
    order
}

async fn carry(mut client: TcpStream, order: Vec<(SocketAddr, Arc<AtomicUsize>)>) {
    for (address, connections) in order {
        // Counted before it is there, so that a burst spreads too.
        let _counted = Counted::new(connections);
        let Ok(Ok(mut server)) = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await else {
            continue;
        };
        // What they say is small and awaited.
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        // An end by either side is the other's end too.
        let _ = copy_bidirectional(&mut client, &mut server).await;
        return;
    }
    tracing::warn!("no signaling instance takes a connection");
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(connections: Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ANY: &str = "127.0.0.1:0";

    /// Says its letter to everybody and keeps the connection until the client closes it.
    async fn server(letter: u8) -> SocketAddr {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = stream.write_all(&[letter]).await;
                    let _ = stream.read(&mut [0]).await;
                });
            }
        });
        address
    }

    async fn dead() -> SocketAddr {
        TcpListener::bind(ANY).await.unwrap().local_addr().unwrap()
    }

    async fn letter(proxy: &Proxy) -> (u8, TcpStream) {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let letter = client.read_u8().await.unwrap();
        (letter, client)
    }

    #[tokio::test]
    async fn connections_spread_evenly() {
        let backends = vec![server(b'a').await, server(b'b').await];
        let proxy = Proxy::start(ANY.parse().unwrap(), backends).await.unwrap();
        let mut open = Vec::new();
        for _ in 0..10 {
            open.push(letter(&proxy).await);
        }
        assert_eq!(open.iter().filter(|(letter, _)| *letter == b'a').count(), 5);
    }

    #[tokio::test]
    async fn the_dead_are_passed_over_until_they_are_elsewhere() {
        let backends = vec![dead().await, server(b'b').await];
        let proxy = Proxy::start(ANY.parse().unwrap(), backends).await.unwrap();
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(letter(&proxy).await);
        }
        assert!(open.iter().all(|(letter, _)| *letter == b'b'));
        proxy.set(0, server(b'a').await);
        assert_eq!(letter(&proxy).await.0, b'a');
    }

    #[tokio::test]
    async fn a_client_is_let_go_where_all_are_dead() {
        let proxy = Proxy::start(ANY.parse().unwrap(), vec![dead().await]).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
    }
}
