//! What threads leave for a worker: commands of the control side and mail of other workers, in
//! lock-free queues, with one wake for all that was left before the worker looks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::{ArrayQueue, SegQueue};
use mio::Waker;
use tianqiao_sfu_core::units::WorkerIndex;
use tianqiao_sfu_core::worker_api::WorkerCommand;

/// Mail that may wait at one worker from all others together, before the least per sender.
const MAIL_PER_WORKER: usize = 8_192;
const MIN_MAIL_PER_SENDER: usize = 256;
const MAX_MAIL_PER_SENDER: usize = 2_048;

/// Wakes a worker, once for all that was queued before it looked.
pub struct Wake {
    waker: Waker,
    pending: AtomicBool,
}

impl Wake {
    pub fn new(waker: Waker) -> Self {
        Self {
            waker,
            pending: AtomicBool::new(false),
        }
    }

    /// Call after queueing. True: this call did wake the worker.
    pub fn wake(&self) -> bool {
        // Release: who takes the flag also sees what was queued before it.
        let first = !self.pending.swap(true, Ordering::AcqRel);
        if first && let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a worker cannot be woken");
        }
        first
    }

    /// Call before looking into the queues: what is queued later wakes again.
    pub fn acknowledge(&self) {
        if self.pending.load(Ordering::Relaxed) {
            self.pending.swap(false, Ordering::AcqRel);
        }
    }
}

/// Commands to one worker, unbounded so that the control side never waits; it sends few of them.
pub struct Commands {
    queue: SegQueue<WorkerCommand>,
    stop: AtomicBool,
    wake: Arc<Wake>,
}

impl Commands {
    pub fn new(wake: Arc<Wake>) -> Self {
        Self {
            queue: SegQueue::new(),
            stop: AtomicBool::new(false),
            wake,
        }
    }

    pub fn send(&self, command: WorkerCommand) {
        self.queue.push(command);
        self.wake.wake();
    }

    /// Asks the worker to close its connections and end, after the commands sent so far.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
    }

    pub fn poll(&self) -> Option<WorkerCommand> {
        self.queue.pop()
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

struct Mailbox<M> {
    wake: Arc<Wake>,
    /// By sender, so that one busy worker does not crowd out the others.
    mail: Box<[ArrayQueue<M>]>,
}

/// One worker's end of the mailboxes of all.
pub struct Exchange<M> {
    own: WorkerIndex,
    mailboxes: Arc<[Mailbox<M>]>,
    /// Workers that were sent mail since the last [`Self::wake_recipients`].
    recipients: Vec<WorkerIndex>,
}

impl<M> Exchange<M> {
    /// The ends of all workers, whose wakes are given in their order.
    pub fn new_all(wakes: &[Arc<Wake>]) -> Vec<Self> {
        let workers = wakes.len();
        let capacity = (MAIL_PER_WORKER / workers.max(1)).clamp(MIN_MAIL_PER_SENDER, MAX_MAIL_PER_SENDER);
        let mailboxes: Arc<[Mailbox<M>]> = wakes
            .iter()
            .map(|wake| Mailbox {
                wake: Arc::clone(wake),
                mail: (0..workers).map(|_| ArrayQueue::new(capacity)).collect(),
            })
            .collect();
        (0..workers)
            .map(|own| Self {
                own: WorkerIndex(own as u8),
                mailboxes: Arc::clone(&mailboxes),
                recipients: Vec::with_capacity(workers),
            })
            .collect()
    }

    /// Queues `mail`; it comes back where there is no room or no such worker. Follow a batch of
    /// them with [`Self::wake_recipients`].
    pub fn send(&mut self, to: WorkerIndex, mail: M) -> Result<(), M> {
        let Some(mailbox) = self.mailboxes.get(usize::from(to.0)) else {
            return Err(mail);
        };
        mailbox.mail[usize::from(self.own.0)].push(mail)?;
        if !self.recipients.contains(&to) {
            self.recipients.push(to);
        }
        Ok(())
    }

    pub fn wake_recipients(&mut self) {
        for to in self.recipients.drain(..) {
            self.mailboxes[usize::from(to.0)].wake.wake();
        }
    }

    /// Gives `handle` all mail that is waiting now, in the order in which each worker sent it. Mail
    /// that comes meanwhile has its own wake.
    pub fn receive(&self, mut handle: impl FnMut(WorkerIndex, M)) {
        let mailbox = &self.mailboxes[usize::from(self.own.0)];
        for (from, queue) in mailbox.mail.iter().enumerate() {
            for _ in 0..queue.len() {
                let Some(mail) = queue.pop() else { break };
                handle(WorkerIndex(from as u8), mail);
            }
        }
    }
}

/// A poller's wake in its shared form.
pub fn wake_of(poller: &crate::poller::Poller) -> io::Result<Arc<Wake>> {
    Ok(Arc::new(Wake::new(poller.waker()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poller::Poller;
    use std::time::{Duration, Instant};
    use tianqiao_sfu_core::units::{ConnectionId, TrackId};

    /// Far longer than a test may take: a missed wake fails it.
    const LONG: Duration = Duration::from_secs(60);

    fn workers(count: usize) -> (Vec<Poller>, Vec<Arc<Wake>>, Vec<Exchange<u64>>) {
        let pollers: Vec<_> = (0..count).map(|_| Poller::new().expect("epoll")).collect();
        let wakes: Vec<_> = pollers.iter().map(|p| wake_of(p).expect("a waker")).collect();
        let exchanges = Exchange::new_all(&wakes);
        (pollers, wakes, exchanges)
    }

    fn received(exchange: &Exchange<u64>) -> Vec<(u8, u64)> {
        let mut mail = Vec::new();
        exchange.receive(|from, m| mail.push((from.0, m)));
        mail
    }

    #[test]
    fn a_batch_wakes_once_and_arrives_in_order() {
        let (mut pollers, wakes, mut exchanges) = workers(3);
        for mail in [1, 2, 3] {
            exchanges[0].send(WorkerIndex(2), mail).expect("room");
        }
        exchanges[1].send(WorkerIndex(2), 9).expect("room");
        exchanges[0].wake_recipients();
        assert!(!wakes[2].wake(), "already woken");
        pollers[2].wait(LONG, |_| ()).expect("woken");
        wakes[2].acknowledge();
        assert_eq!(received(&exchanges[2]), [(0, 1), (0, 2), (0, 3), (1, 9)]);
        assert!(wakes[2].wake(), "acknowledged, so the next one wakes again");
        assert_eq!(received(&exchanges[1]), []);
    }

    #[test]
    fn a_full_queue_gives_the_mail_back_and_leaves_other_senders_room() {
        let (_pollers, _wakes, mut exchanges) = workers(2);
        let mut sent = 0;
        while exchanges[0].send(WorkerIndex(1), sent).is_ok() {
            sent += 1;
        }
        assert_eq!(sent, MAX_MAIL_PER_SENDER as u64);
        assert_eq!(exchanges[1].send(WorkerIndex(1), 7), Ok(()));
        assert_eq!(exchanges[0].send(WorkerIndex(5), 8), Err(8));
        assert_eq!(received(&exchanges[1]).len(), MAX_MAIL_PER_SENDER + 1);
        assert_eq!(exchanges[0].send(WorkerIndex(1), 1), Ok(()));
    }

    #[test]
    fn no_wake_is_lost_between_threads() {
        const MAIL: u64 = 200_000;
        let (mut pollers, wakes, mut exchanges) = workers(2);
        let receiver = exchanges.pop().expect("two of them");
        let mut sender = exchanges.pop().expect("two of them");
        let sending = std::thread::spawn(move || {
            for mail in 0..MAIL {
                while sender.send(WorkerIndex(1), mail).is_err() {
                    std::thread::yield_now();
                }
                sender.wake_recipients();
            }
        });
        let begun = Instant::now();
        let mut next = 0;
        while next < MAIL {
            pollers[1].wait(LONG, |_| ()).expect("polls");
            wakes[1].acknowledge();
            receiver.receive(|_, mail| {
                assert_eq!(mail, next);
                next += 1;
            });
        }
        sending.join().expect("the sender ended");
        assert!(begun.elapsed() < LONG, "waited for a wake that did not come");
    }

    #[test]
    fn commands_wake_and_keep_their_order() {
        let mut poller = Poller::new().expect("epoll");
        let wake = wake_of(&poller).expect("a waker");
        let commands = Commands::new(Arc::clone(&wake));
        for connection in [1, 2] {
            commands.send(WorkerCommand::Close {
                connection: ConnectionId(connection),
            });
        }
        commands.send(WorkerCommand::SetMuted {
            track: TrackId(1),
            muted: true,
        });
        commands.stop();
        poller.wait(LONG, |_| ()).expect("woken");
        assert!(commands.is_stopped());
        for expected in [1, 2] {
            let command = commands.poll();
            assert!(
                matches!(command, Some(WorkerCommand::Close { connection }) if connection == ConnectionId(expected))
            );
        }
        assert!(matches!(commands.poll(), Some(WorkerCommand::SetMuted { .. })));
        assert!(commands.poll().is_none());
    }
}
