//! One thread: its connections, their sockets and their timers.

use std::net::UdpSocket;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use slab::Slab;

use super::timers::Timers;
use super::udp::{Receiver, Sender, enable_timestamps};
use super::{TICK, TICK_BY_SOCKET};
use crate::client::connection::Connection;
use crate::client::session::Command;

/// What other threads say to this one.
pub(super) enum Input {
    Add {
        id: usize,
        connection: Box<Connection>,
        socket: UdpSocket,
    },
    Command {
        id: usize,
        command: Command,
    },
    Stop,
}

pub(super) struct Thread {
    inputs: mpsc::Receiver<Input>,
    clients: Slab<Client>,
    /// Only used while sockets are looked into.
    ready: Vec<usize>,
    timers: Timers,
}

struct Client {
    id: usize,
    connection: Box<Connection>,
    socket: UdpSocket,
}

impl Client {
    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Made on the thread itself, as they are not to leave it.
struct Buffers {
    receiver: Receiver,
    sender: Sender,
}

impl Thread {
    pub fn new(inputs: mpsc::Receiver<Input>) -> Self {
        Self {
            inputs,
            clients: Slab::new(),
            ready: Vec::new(),
            timers: Timers::default(),
        }
    }

    pub fn run(mut self) {
        let mut buffers = Buffers {
            receiver: Receiver::new(),
            sender: Sender::new(),
        };
        let mut next_look = Instant::now();
        while self.handle_inputs(next_look, &mut buffers) == ControlFlow::Continue(()) {
            if next_look <= Instant::now() {
                self.look(&mut buffers);
                next_look = Instant::now() + TICK.max(TICK_BY_SOCKET * self.clients.len() as u32);
            }
            self.handle_timeouts(&mut buffers);
        }
    }

    /// Reads from the sockets in which something waits.
    fn look(&mut self, buffers: &mut Buffers) {
        let mut ready = std::mem::take(&mut self.ready);
        let sockets = self.clients.iter().map(|(_, client)| client.socket.as_fd());
        let mut fds: Vec<_> = sockets.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(_) => {
                let keys = self.clients.iter().map(|(key, _)| key).zip(&fds);
                ready.extend(keys.filter(|(_, fd)| fd.any() != Some(false)).map(|(key, _)| key));
            }
            Err(error) => tracing::debug!(%error, "sockets cannot be polled"),
        }
        ready.drain(..).for_each(|key| self.receive(key, buffers));
        self.ready = ready;
    }

    /// Sleeps until `next_look` or the next timer, and for as long as nobody says anything where there are
    /// no connections.
    fn handle_inputs(&mut self, next_look: Instant, buffers: &mut Buffers) -> ControlFlow<()> {
        let mut next = match self.timers.poll_timeout() {
            _ if self.clients.is_empty() => self.inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            due => {
                let until = due.map_or(next_look, |due| due.min(next_look));
                self.inputs
                    .recv_timeout(until.saturating_duration_since(Instant::now()))
            }
        };
        loop {
            match next {
                Ok(Input::Add { id, connection, socket }) => self.add(id, connection, socket, buffers),
                Ok(Input::Command { id, command }) => self.handle_command(id, command, buffers),
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
                Err(RecvTimeoutError::Timeout) => return ControlFlow::Continue(()),
            }
            next = self.inputs.recv_timeout(Duration::ZERO);
        }
    }

    fn add(&mut self, id: usize, connection: Box<Connection>, socket: UdpSocket, buffers: &mut Buffers) {
        if let Err(error) = enable_timestamps(&socket) {
            tracing::debug!(%error, "no timestamps: packets count as received when they are read");
        }
        let key = self.clients.insert(Client { id, connection, socket });
        self.after_input(key, buffers);
    }

    fn handle_command(&mut self, id: usize, command: Command, buffers: &mut Buffers) {
        // Commands are rare, so no index by id is kept.
        let Some((key, client)) = self.clients.iter_mut().find(|(_, client)| client.id == id) else {
            return;
        };
        let ends = client.connection.handle_command(command) == ControlFlow::Break(());
        self.after_input(key, buffers);
        if ends {
            self.remove(key);
        }
    }

    fn receive(&mut self, key: usize, buffers: &mut Buffers) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let fd = client.fd();
        loop {
            let received = buffers.receiver.receive(fd, |at, from, data| {
                client.connection.handle_datagram(at, from, data);
            });
            match received {
                Ok(true) => {}
                Ok(false) | Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::debug!(%error, "media socket");
                    break;
                }
            }
        }
        self.after_input(key, buffers);
    }

    fn handle_timeouts(&mut self, buffers: &mut Buffers) {
        let now = Instant::now();
        while let Some(key) = self.timers.pop(now) {
            if let Some(client) = self.clients.get_mut(key) {
                client.connection.handle_timeout(now);
                self.after_input(key, buffers);
            }
        }
    }

    /// Sends what came of an input, and sets the timer.
    fn after_input(&mut self, key: usize, buffers: &mut Buffers) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let fd = client.fd();
        client
            .connection
            .drain_transmits(|transmit| buffers.sender.push(fd, transmit.to, transmit.data));
        buffers.sender.flush(fd);
        if client.connection.is_closed() {
            self.remove(key);
        } else if let Some(due) = client.connection.poll_timeout() {
            self.timers.schedule(key, due);
        }
    }

    fn remove(&mut self, key: usize) {
        if self.clients.try_remove(key).is_some() {
            self.timers.remove(key);
        }
    }
}
