//! Workers on cores of their own. A worker that stays where it is finds its connections in that core's caches, and
//! its packets' memory in that core's lists of the kernel's allocator.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tianqiao_sfu_core::units::WorkerIndex;

/// This thread.
const SELF: Pid = Pid::from_raw(0);

/// A core for each worker; `None` where there are not exactly as many cores that this process may use: with fewer
/// workers the scheduler chooses better, because it sees what else runs.
pub fn cores(workers: usize) -> Option<Vec<usize>> {
    let usable = usable();
    (usable.len() == workers).then_some(usable)
}

fn usable() -> Vec<usize> {
    // Where the kernel does not tell, as in some sandboxes, no core is known, and nobody is pinned.
    let set = sched_getaffinity(SELF).unwrap_or_default();
    (0..CpuSet::count())
        .filter(|core| set.is_set(*core).unwrap_or_default())
        .collect()
}

/// Keeps this thread, which is `worker`'s, on `core`.
pub fn pin(worker: WorkerIndex, core: usize) {
    let mut set = CpuSet::new();
    let pinned = set.set(core).and_then(|()| sched_setaffinity(SELF, &set));
    if let Err(error) = pinned {
        tracing::debug!(worker = worker.0, core, %error, "the worker stays on all cores");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_a_core_only_where_that_is_all_of_them() {
        let usable = usable();
        assert_eq!(cores(usable.len()), Some(usable.clone()));
        assert_eq!((cores(usable.len() - 1), cores(usable.len() + 1)), (None, None));
    }

    #[test]
    fn a_pinned_thread_has_one_core() {
        let last = usable().pop().expect("this runs on one");
        let pinned = std::thread::spawn(move || {
            pin(WorkerIndex(0), last);
            self::usable()
        });
        assert_eq!(pinned.join().expect("no panic"), [last]);
    }
}
