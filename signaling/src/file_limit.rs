//! How many files the process may have open (RLIMIT_NOFILE), and who gets how many of them: every socket is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// For standard streams, the runtime, the listeners, files of the page and of the data folder, and connections that are
/// closed for others and still on their way out.
const RESERVED: u64 = 48;
/// UDP sockets, the TCP listener, epoll and the wake-up of one worker.
const PER_WORKER: u64 = 6;
/// Parts in a hundred of the connections that WebSockets may have; the rest is for the page and for REST, without which
/// nobody joins.
const WEBSOCKET_SHARE: usize = 75;

/// Raises the limit as far as the system lets us; the answer is how many files there are.
pub fn raise() -> std::io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(soft.max(hard))
}

/// Limits that need files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileUse {
    pub connections: usize,
    pub websockets: usize,
    /// ICE-TCP streams of one worker.
    pub streams_per_worker: usize,
}

impl FileUse {
    /// As much of this as `files` allow: HTTP and media share what there is, and what one has no use for the other gets.
    pub fn within(self, files: u64, workers: usize) -> Self {
        let workers = workers.max(1);
        let fixed = RESERVED.saturating_add(PER_WORKER.saturating_mul(workers as u64));
        let free = usize::try_from(files.saturating_sub(fixed)).unwrap_or(usize::MAX);
        let wanted_streams = self.streams_per_worker.saturating_mul(workers);
        let for_http = (free / 2).max(free.saturating_sub(wanted_streams));
        let connections = self.connections.min(for_http).max(1);
        let streams = wanted_streams.min(free.saturating_sub(connections)) / workers;
        let websockets = match connections < self.connections {
            true => self.websockets.min(connections.saturating_mul(WEBSOCKET_SHARE) / 100),
            false => self.websockets,
        };
        Self {
            connections,
            websockets: websockets.max(1),
            streams_per_worker: streams.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_shared_and_nothing_is_wasted() {
        let wanted = FileUse {
            connections: 24_000,
            websockets: 20_000,
            streams_per_worker: 4_096,
        };
        for (files, workers, expected) in [
            (1 << 20, 64, (24_000, 20_000, 4_096)),
            (u64::MAX, 2, (24_000, 20_000, 4_096)),
            (20_000, 2, (11_748, 8_811, 4_096)),
            (1_024, 2, (482, 361, 241)),
            (256, 2, (98, 73, 49)),
            (10, 2, (1, 1, 1)),
        ] {
            let given = wanted.within(files, workers);
            let given = (given.connections, given.websockets, given.streams_per_worker);
            assert_eq!(given, expected, "{files} files");
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let files = raise().expect("it is allowed");
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).expect("it is known"), (files, files));
    }
}
