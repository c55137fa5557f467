//! What a worker waits for: its UDP sockets, its TCP listener and streams, and other threads.
//! Edge-triggered: whoever is told that something is ready must use it until it would block.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use tianqiao_sfu_core::path::TcpStreamId;

const UDP: Token = Token(0);
pub const LISTENER: Token = Token(1);
const WAKER: Token = Token(2);
const FEEDBACK: Token = Token(3);
const FIRST_STREAM: usize = 4;

/// Ready descriptors told of at a time; the others are told of the next time.
const EVENTS: usize = 1024;

/// The token by which a stream is registered.
pub fn stream_token(stream: TcpStreamId) -> Token {
    Token(FIRST_STREAM + stream.0 as usize)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    Udp,
    Feedback,
    Listener,
    Stream {
        stream: TcpStreamId,
        readable: bool,
        writable: bool,
    },
}

pub struct Poller {
    poll: Poll,
    events: Events,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
        })
    }

    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Ends a running or the next [`Self::wait`] from any thread. One per poller.
    pub fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKER)
    }

    pub fn add_udp(&self, socket: RawFd) -> io::Result<()> {
        self.poll
            .registry()
            .register(&mut SourceFd(&socket), UDP, Interest::READABLE)
    }

    /// Wakes for `socket` too; what is in it already counts.
    pub fn add_feedback(&self, socket: RawFd) -> io::Result<()> {
        self.poll
            .registry()
            .register(&mut SourceFd(&socket), FEEDBACK, Interest::READABLE)
    }

    /// Undoes [`Self::add_feedback`].
    pub fn remove_feedback(&self, socket: RawFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&socket))
    }

    /// Blocks until something is ready, the waker is used or `timeout` is over; rounded up to
    /// milliseconds. A signal may end it early.
    pub fn wait(&mut self, timeout: Duration, mut on_ready: impl FnMut(Ready)) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            outcome => outcome?,
        }
        for event in &self.events {
            match event.token() {
                UDP => on_ready(Ready::Udp),
                FEEDBACK => on_ready(Ready::Feedback),
                LISTENER => on_ready(Ready::Listener),
                WAKER => {}
                Token(token) => {
                    if let Ok(id) = u32::try_from(token - FIRST_STREAM) {
                        on_ready(Ready::Stream {
                            stream: TcpStreamId(id),
                            // A read or a write finds out what the error is.
                            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                            writable: event.is_writable() || event.is_error(),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}
