//! The thread that carries real packets through a link, in time with the clock.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use serde::Serialize;

use crate::duplex::{Duplex, LinkCounters, Way};
use crate::profile::Profile;

/// Packets that are read from one socket before those that have arrived are handed on.
pub const READS_AT_ONCE: usize = 32;
/// Of the record by second: more than any run takes.
const MAX_SECONDS: usize = 24 * 60 * 60;

/// What a link is between.
pub trait Ends: Send + 'static {
    type Packet: Send;

    /// Those that may have something to read.
    fn readable(&self) -> Vec<BorrowedFd<'_>>;

    /// Reads without waiting, at most [`READS_AT_ONCE`] packets of each; `bytes` include IP headers.
    fn receive(&mut self, sink: &mut dyn FnMut(Way, usize, Self::Packet));

    /// Hands on what has come through; its bytes, IP headers included.
    fn deliver(&mut self, way: Way, packet: Self::Packet) -> usize;
}

/// What a link has done so far.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub seconds: f64,
    #[serde(flatten)]
    pub counters: LinkCounters,
    #[serde(flatten)]
    pub by_second: BySecond,
}

/// Bytes of each second that is over, IP headers included.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BySecond {
    /// What came out of the link; a lost packet has used it and is not here.
    pub down_bytes: Vec<u64>,
    pub up_bytes: Vec<u64>,
    /// What it could have moved, outages left aside; `None` without a limit.
    pub down_capacity: Vec<Option<u64>>,
    pub up_capacity: Vec<Option<u64>>,
}

/// A running link. It ends when this is dropped. What is told to it has been done when the call returns.
pub struct Pump<E: Ends> {
    commands: Sender<Order<E>>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

enum Command<E> {
    Cut(Duration),
    Mend,
    SetProfile(Box<Profile>),
    Ends(Box<dyn FnOnce(&mut E) + Send>),
    Report,
    Stop,
}

/// A command, and who waits for it to be carried out.
type Order<E> = (Command<E>, Sender<Report>);

impl<E: Ends> Pump<E> {
    pub fn start(ends: E, profile: &Profile, seed: u64) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (commands, received) = mpsc::channel();
        let turning = Turning {
            ends,
            link: Duplex::new(profile, seed),
            began: Instant::now(),
            commands: received,
            woken,
            by_second: BySecond::default(),
            bytes: [0; 2],
            capacity: [Some(0); 2],
            counted_until: Duration::ZERO,
        };
        let thread = std::thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || turning.run())?;
        Ok(Self {
            commands,
            wake,
            thread: Some(thread),
        })
    }

    pub fn cut(&self, length: Duration) {
        self.tell(Command::Cut(length));
    }

    pub fn mend(&self) {
        self.tell(Command::Mend);
    }

    pub fn set_profile(&self, profile: Profile) {
        self.tell(Command::SetProfile(Box::new(profile)));
    }

    pub fn change_ends(&self, change: impl FnOnce(&mut E) + Send + 'static) {
        self.tell(Command::Ends(Box::new(change)));
    }

    pub fn report(&self) -> Report {
        self.tell(Command::Report).expect("the thread lives as long as this")
    }

    /// What has been done by then; `None` when the thread has ended, by a panic that has been told of.
    fn tell(&self, command: Command<E>) -> Option<Report> {
        let (done, report) = mpsc::channel();
        self.commands.send((command, done)).ok()?;
        // Where it is full the thread has been woken already.
        let _ = (&self.wake).write(&[0]);
        report.recv().ok()
    }
}

impl<E: Ends> Drop for Pump<E> {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Turning<E: Ends> {
    ends: E,
    link: Duplex<E::Packet>,
    began: Instant,
    commands: Receiver<Order<E>>,
    woken: UnixStream,
    by_second: BySecond,
    /// Of the second under way, down and up.
    bytes: [u64; 2],
    capacity: [Option<u64>; 2],
    /// Until when `capacity` is summed up.
    counted_until: Duration,
}

impl<E: Ends> Turning<E> {
    fn run(mut self) {
        loop {
            self.deliver();
            self.wait();
            if self.obey().is_none() {
                return;
            }
            let Self { ends, link, began, .. } = &mut self;
            ends.receive(&mut |way, bytes, packet| {
                link.push(way, began.elapsed(), bytes, packet);
            });
        }
    }

    fn deliver(&mut self) {
        let now = self.began.elapsed();
        self.count_until(Duration::from_secs(now.as_secs()));
        while let Some((way, packet)) = self.link.poll(now) {
            let bytes = self.ends.deliver(way, packet);
            self.bytes[way as usize] += bytes as u64;
        }
    }

    /// Mostly by whole seconds, as every piece is rounded to bytes.
    fn count_until(&mut self, now: Duration) {
        while self.counted_until < now {
            let second = self.counted_until.as_secs();
            let end = Duration::from_secs(second + 1).min(now);
            for way in [Way::Down, Way::Up] {
                let more = self.link.way(way).link().capacity(self.counted_until, end);
                let sum = &mut self.capacity[way as usize];
                *sum = sum.zip(more).map(|(sum, more)| sum + more);
            }
            self.counted_until = end;
            if end.as_secs() > second && self.by_second.down_bytes.len() < MAX_SECONDS {
                let [down_bytes, up_bytes] = std::mem::take(&mut self.bytes);
                let [down_capacity, up_capacity] = std::mem::replace(&mut self.capacity, [Some(0); 2]);
                self.by_second.down_bytes.push(down_bytes);
                self.by_second.up_bytes.push(up_bytes);
                self.by_second.down_capacity.push(down_capacity);
                self.by_second.up_capacity.push(up_capacity);
            }
        }
    }

    /// Until there is something to read or to deliver.
    fn wait(&self) {
        let due = self.link.next_arrival();
        // To the microsecond: a poll by milliseconds would be late by half of one on average.
        let timeout = due.map(|at| TimeSpec::from_duration(at.saturating_sub(self.began.elapsed())));
        let mut fds = self.ends.readable();
        fds.push(self.woken.as_fd());
        let mut fds: Vec<_> = fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match ppoll(&mut fds, timeout, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => panic!("poll of the process's own sockets: {error}"),
        }
    }

    /// `None` when it is to stop.
    fn obey(&mut self) -> Option<()> {
        while self.woken.read(&mut [0; 64]).is_ok_and(|len| len > 0) {}
        while let Ok((command, done)) = self.commands.try_recv() {
            let now = self.began.elapsed();
            match command {
                Command::Cut(length) => self.link.cut(now, now.saturating_add(length)),
                Command::Mend => self.link.mend(),
                Command::SetProfile(profile) => {
                    self.count_until(now);
                    self.link.set_profile(now, &profile);
                }
                Command::Ends(change) => change(&mut self.ends),
                Command::Report => {}
                Command::Stop => return None,
            }
            let _ = done.send(Report {
                seconds: now.as_secs_f64(),
                counters: self.link.counters(),
                by_second: self.by_second.clone(),
            });
        }
        Some(())
    }
}
