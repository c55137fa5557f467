//! Runs many connections on a few threads of its own, each with one poller over all of its sockets.

mod thread;
mod timers;
mod udp;

use std::fmt;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};

use self::thread::{Input, Thread};
use crate::client::connection::Connection;
use crate::client::peer::{MediaSink, Peer};
use crate::client::session::MediaSession;

/// A handle of the threads, which end with the last one. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Threads>);

struct Threads {
    inboxes: Vec<Inbox>,
    handles: Vec<JoinHandle<()>>,
    /// Counts the connections: each goes to the next thread.
    next: AtomicUsize,
}

#[derive(Clone)]
struct Inbox {
    inputs: mpsc::Sender<Input>,
    waker: Arc<mio::Waker>,
}

impl Engine {
    /// # Errors
    /// Where the system has no more threads or pollers.
    pub fn start(threads: usize) -> Result<Self> {
        if threads == 0 {
            bail!("there must be at least one generator thread");
        }
        let (mut inboxes, mut handles) = (Vec::new(), Vec::new());
        for index in 0..threads {
            let (inputs, receiver) = mpsc::channel();
            let (thread, waker) = Thread::new(receiver).context("no poller for a generator thread")?;
            let name = format!("generator-{index}");
            handles.push(std::thread::Builder::new().name(name).spawn(move || thread.run())?);
            inboxes.push(Inbox {
                inputs,
                waker: Arc::new(waker),
            });
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
        inbox.send(Input::Add {
            id,
            connection: Box::new(connection),
            socket,
        });
        // The threads live as long as anything that they run is held.
        let engine = self.clone();
        MediaSession::new(
            move |command| {
                let _ = &engine;
                inbox.send(Input::Command { id, command });
            },
            state,
        )
    }
}

impl Inbox {
    fn send(&self, input: Input) {
        // A thread that has ended has said why.
        if self.inputs.send(input).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for inbox in &self.inboxes {
            inbox.send(Input::Stop);
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
