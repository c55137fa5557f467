//! The control side's hold on a worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tianqiao_sfu_core::units::WorkerIndex;
use tianqiao_sfu_core::worker_api::WorkerCommand;

use crate::mailbox::Commands;
use crate::metrics::WorkerStats;

/// Dropping it stops the worker as [`Self::stop`] does.
pub struct WorkerHandle {
    index: WorkerIndex,
    local: SocketAddr,
    commands: Arc<Commands>,
    stats: Arc<WorkerStats>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    pub(super) fn new(
        index: WorkerIndex,
        local: SocketAddr,
        commands: Arc<Commands>,
        stats: Arc<WorkerStats>,
        thread: JoinHandle<()>,
    ) -> Self {
        Self {
            index,
            local,
            commands,
            stats,
            thread: Some(thread),
        }
    }

    pub fn index(&self) -> WorkerIndex {
        self.index
    }

    /// Address of both the UDP socket and the TCP listener.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub fn port(&self) -> u16 {
        self.local.port()
    }

    /// For [`crate::metrics::WorkerCollector`].
    pub fn stats(&self) -> Arc<WorkerStats> {
        Arc::clone(&self.stats)
    }

    /// Queues a command; never blocks. Commands are handled in order, before any packet that the
    /// worker has not fetched yet.
    pub fn send(&self, command: WorkerCommand) {
        self.commands.send(command);
    }

    /// Asks the worker to take leave of its clients and to end, after the commands sent so far.
    pub fn stop(&self) {
        self.commands.stop();
    }

    /// Stops the worker and blocks until its thread has ended, which takes a turn of its loop.
    pub fn join(mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // A panic has ended the process before it could be seen here.
            let _ = thread.join();
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.commands.stop();
    }
}
