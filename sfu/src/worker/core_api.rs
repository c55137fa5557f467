//! What a worker's thread asks of the core that it runs; the tests run another one.

use std::time::Instant;

use tianqiao_sfu_core::counters::Counters;
use tianqiao_sfu_core::mail::Mail;
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::units::WorkerIndex;
use tianqiao_sfu_core::worker_api::{WorkerCommand, WorkerEvent};
use tianqiao_sfu_core::worker_core::WorkerCore;

pub use tianqiao_sfu_core::worker_core::PacketSink;

/// The sans-IO core of one worker. Every batch of inputs is followed by [`Self::flush`], and that by
/// polling events and mail until there are none.
pub trait Core {
    /// What cores of one node send each other.
    type Mail: Send + 'static;

    fn handle_command(&mut self, now: Instant, command: WorkerCommand);
    /// One datagram or RFC 4571 frame, decrypted in place.
    fn handle_packet(&mut self, now: Instant, path: Path, packet: &mut [u8]);
    fn handle_mail(&mut self, now: Instant, from: WorkerIndex, mail: Self::Mail);
    /// A TCP stream has ended.
    fn handle_path_closed(&mut self, now: Instant, path: Path);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_timeout(&self) -> Option<Instant>;
    /// Makes the mail of what came in ready for [`Self::poll_mail`] before [`Self::flush`], which would do it too.
    fn write_mail(&mut self);
    fn flush(&mut self, now: Instant, sink: &mut dyn PacketSink);
    fn poll_event(&mut self) -> Option<WorkerEvent>;
    fn poll_mail(&mut self) -> Option<(WorkerIndex, Self::Mail)>;
    fn on_mailbox_full(&mut self, to: WorkerIndex);
    fn counters(&self) -> &Counters;
    /// No connection uses the path: none has had a valid STUN check over it, or it is gone.
    fn is_closed_path(&self, path: Path) -> bool;
    /// Takes leave of all clients; a last [`Self::flush`] follows.
    fn close_all(&mut self, now: Instant);
}

impl Core for WorkerCore {
    type Mail = Mail;

    fn handle_command(&mut self, now: Instant, command: WorkerCommand) {
        self.handle_command(now, command);
    }

    fn handle_packet(&mut self, now: Instant, path: Path, packet: &mut [u8]) {
        self.handle_packet(now, path, packet);
    }

    fn handle_mail(&mut self, now: Instant, from: WorkerIndex, mail: Mail) {
        self.handle_mail(now, from, mail);
    }

    fn handle_path_closed(&mut self, now: Instant, path: Path) {
        self.handle_path_closed(now, path);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn write_mail(&mut self) {
        self.write_mail();
    }

    fn flush(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        self.flush(now, sink);
    }

    fn poll_event(&mut self) -> Option<WorkerEvent> {
        self.poll_event()
    }

    fn poll_mail(&mut self) -> Option<(WorkerIndex, Mail)> {
        self.poll_mail()
    }

    fn on_mailbox_full(&mut self, to: WorkerIndex) {
        self.on_mailbox_full(to);
    }

    fn counters(&self) -> &Counters {
        self.counters()
    }

    fn is_closed_path(&self, path: Path) -> bool {
        self.is_closed_path(path)
    }

    fn close_all(&mut self, now: Instant) {
        self.close_all(now);
    }
}
