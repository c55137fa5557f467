//! Runs many connections on a few threads of its own.
//!
//! The threads look into all of their sockets once a [`TICK`] and never wait on one. So it is a timer that
//! wakes the generator, as it is an interrupt of a network card between machines, and not the system
//! call of a server on the same one, which would pay for it. The kernel's receive timestamps tell when a
//! packet came in all the same.

mod thread;
mod timers;
mod udp;

use std::fmt;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail};

use self::thread::{Input, Thread};
use crate::client::connection::Connection;
use crate::client::peer::{MediaSink, Peer};
use crate::client::session::MediaSession;

/// Long enough that a server's frame for some dozens of subscribers is out before its first packets are fetched:
/// on one machine, who frees the memory of packets while the server still allocates more makes the server's sending
/// dearer. Receive buffers hold what comes meanwhile, with much to spare.
const TICK: Duration = Duration::from_millis(3);
/// A look into a socket costs a fraction of this, so that looking never takes a thread's time up.
const TICK_BY_SOCKET: Duration = Duration::from_micros(2);

/// A handle of the threads, which end with the last one. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Threads>);

struct Threads {
    inboxes: Vec<mpsc::Sender<Input>>,
    handles: Vec<JoinHandle<()>>,
    /// Counts the connections: each goes to the next thread.
    next: AtomicUsize,
}

impl Engine {
    /// # Errors
    /// Where the system has no more threads.
    pub fn start(threads: usize) -> Result<Self> {
        if threads == 0 {
            bail!("there must be at least one generator thread");
        }
        let (mut inboxes, mut handles) = (Vec::new(), Vec::new());
        for index in 0..threads {
            let (inbox, inputs) = mpsc::channel();
            let thread = Thread::new(inputs);
            let name = format!("generator-{index}");
            handles.push(std::thread::Builder::new().name(name).spawn(move || thread.run())?);
            inboxes.push(inbox);
        }
        Ok(Self(Arc::new(Threads {
            inboxes,
            handles,
            next: AtomicUsize::new(0),
        })))
    }

    /// `peer` has its remote description and the address of `socket`, which does not block.
    pub fn spawn(&self, peer: Box<dyn Peer>, socket: UdpSocket, sink: Box<dyn MediaSink>) -> MediaSession {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let inbox = self.0.inboxes[id % self.0.inboxes.len()].clone();
        let (connection, state) = Connection::new(peer, sink);
        let connection = Box::new(connection);
        // A thread that has ended has said why; the session is closed then.
        let _ = inbox.send(Input::Add { id, connection, socket });
        // The threads live as long as anything that they run is held.
        let engine = self.clone();
        MediaSession::new(
            move |command| {
                let _ = &engine;
                let _ = inbox.send(Input::Command { id, command });
            },
            state,
        )
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for inbox in &self.inboxes {
            let _ = inbox.send(Input::Stop);
        }
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("threads", &self.0.handles.len())
            .finish_non_exhaustive()
    }
}
