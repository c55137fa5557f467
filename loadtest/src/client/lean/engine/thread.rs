//! One thread: its connections, their sockets and their timers.

use std::net::UdpSocket;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc;
use std::time::Instant;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::errno::Errno;
use slab::Slab;

use super::timers::Timers;
use super::udp::{Receiver, Sender};
use crate::client::connection::Connection;
use crate::client::session::Command;

const WAKER: Token = Token(usize::MAX);
const EVENTS: usize = 1024;

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
    poll: Poll,
    inputs: mpsc::Receiver<Input>,
    clients: Slab<Client>,
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
    pub fn new(inputs: mpsc::Receiver<Input>) -> std::io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let thread = Self {
            poll,
            inputs,
            clients: Slab::new(),
            timers: Timers::default(),
        };
        Ok((thread, waker))
    }

    pub fn run(mut self) {
        let mut buffers = Buffers {
            receiver: Receiver::new(),
            sender: Sender::new(),
        };
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let timeout = self.timers.poll_timeout();
            let timeout = timeout.map(|due| due.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "a generator thread ends");
                    return;
                }
            }
            let woken = events.iter().any(|event| event.token() == WAKER);
            let keys = events.iter().map(Event::token).filter(|token| *token != WAKER);
            for Token(key) in keys {
                self.receive(key, &mut buffers);
            }
            if woken && self.handle_inputs(&mut buffers) == ControlFlow::Break(()) {
                return;
            }
            self.handle_timeouts(&mut buffers);
        }
    }

    fn handle_inputs(&mut self, buffers: &mut Buffers) -> ControlFlow<()> {
        while let Ok(input) = self.inputs.try_recv() {
            match input {
                Input::Add { id, connection, socket } => self.add(id, connection, socket, buffers),
                Input::Command { id, command } => self.handle_command(id, command, buffers),
                Input::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn add(&mut self, id: usize, connection: Box<Connection>, socket: UdpSocket, buffers: &mut Buffers) {
        let fd = socket.as_raw_fd();
        let key = self.clients.insert(Client { id, connection, socket });
        let mut source = SourceFd(&fd);
        if let Err(error) = self
            .poll
            .registry()
            .register(&mut source, Token(key), Interest::READABLE)
        {
            tracing::error!(%error, "a client's socket cannot be polled");
            self.clients.remove(key);
            return;
        }
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
            let now = Instant::now();
            let received = buffers.receiver.receive(fd, |from, data| {
                client.connection.handle_datagram(now, from, data);
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
        if let Some(client) = self.clients.try_remove(key) {
            self.timers.remove(key);
            let _ = self.poll.registry().deregister(&mut SourceFd(&client.fd()));
        }
    }
}
