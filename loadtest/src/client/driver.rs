//! Runs one connection on a UDP socket as a tokio task.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep_until};

use super::connection::Connection;
use super::peer::{MediaSink, Peer};
use super::session::{Command, MediaSession};

/// Datagrams read before what they caused is sent: several frames' packets.
const RECEIVE_BATCH: usize = 64;
const MAX_DATAGRAM: usize = 2048;
/// Where a peer has no timer running.
const IDLE: Duration = Duration::from_secs(3600);

/// `peer` has its remote description and the address of `socket`.
pub(super) fn spawn(peer: Box<dyn Peer>, socket: UdpSocket, sink: Box<dyn MediaSink>) -> MediaSession {
    let (sender, commands) = mpsc::unbounded_channel();
    let (connection, state) = Connection::new(peer, sink);
    let driver = Driver {
        connection,
        socket,
        buffer: vec![0; MAX_DATAGRAM],
        unsent: Vec::new(),
    };
    tokio::spawn(driver.run(commands));
    MediaSession::new(move |command| drop(sender.send(command)), state)
}

struct Driver {
    connection: Connection,
    socket: UdpSocket,
    buffer: Vec<u8>,
    /// What the socket had no room for.
    unsent: Vec<(SocketAddr, Vec<u8>)>,
}

impl Driver {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut timer = std::pin::pin!(sleep_until(Instant::now().into()));
        loop {
            self.send_all().await;
            if self.connection.is_closed() {
                return;
            }
            self.set_timer(timer.as_mut());
            tokio::select! {
                command = commands.recv() => {
                    let Some(command) = command else { return };
                    if self.connection.handle_command(command) == ControlFlow::Break(()) {
                        return self.send_all().await;
                    }
                }
                readable = self.socket.readable() => match readable {
                    Ok(()) => self.receive(),
                    Err(error) => {
                        tracing::warn!(%error, "media socket");
                        return;
                    }
                },
                () = timer.as_mut() => self.connection.handle_timeout(Instant::now()),
            }
        }
    }

    fn set_timer(&mut self, timer: std::pin::Pin<&mut Sleep>) {
        let next = self.connection.poll_timeout();
        let next = next.unwrap_or_else(|| Instant::now() + IDLE).into();
        if timer.deadline() != next || timer.is_elapsed() {
            timer.reset(next);
        }
    }

    fn receive(&mut self) {
        for _ in 0..RECEIVE_BATCH {
            let Ok((len, from)) = self.socket.try_recv_from(&mut self.buffer) else {
                break;
            };
            self.connection
                .handle_datagram(Instant::now(), from, &mut self.buffer[..len]);
        }
    }

    async fn send_all(&mut self) {
        let Self {
            connection,
            socket,
            unsent,
            ..
        } = self;
        connection.drain_transmits(|transmit| {
            let sent = match unsent.is_empty() {
                true => socket.try_send_to(transmit.data, transmit.to),
                false => Err(std::io::ErrorKind::WouldBlock.into()),
            };
            match sent {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    unsent.push((transmit.to, transmit.data.to_vec()));
                }
                Err(error) => tracing::debug!(%error, to = %transmit.to, "a datagram was not sent"),
            }
        });
        for (to, data) in unsent.drain(..) {
            if let Err(error) = socket.send_to(&data, to).await {
                tracing::debug!(%error, %to, "a datagram was not sent");
            }
        }
    }
}
