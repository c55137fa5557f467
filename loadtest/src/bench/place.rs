//! Where the two sides of a run are: CPUs, addresses and network namespaces.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::cpus::CpuList;

#[derive(Clone, Debug, Serialize)]
pub struct Place {
    pub server: Side,
    pub generator: Side,
}

#[derive(Clone, Debug, Serialize)]
pub struct Side {
    pub cpus: CpuList,
    pub addr: IpAddr,
    /// Name of a network namespace (`ip netns`); `None`: the one of this process.
    pub netns: Option<String>,
}

impl Place {
    /// Loopback; the server on one CPU and the generator on the next where there are two.
    pub fn loopback() -> Result<Self> {
        let cpus = CpuList::usable()?;
        let side = |cpus| Side {
            cpus,
            addr: Ipv4Addr::LOCALHOST.into(),
            netns: None,
        };
        Ok(Self {
            server: side(cpus.first(1)),
            generator: side(cpus.after(1)),
        })
    }

    /// The same with the server on the first `server_cpus` CPUs, and the generator behind the first `room` of
    /// them, which the server may have in another run; where there are no more, it shares the last.
    pub fn spread(&self, server_cpus: usize, room: usize) -> Result<Self> {
        let cpus = CpuList::usable()?;
        let mut place = self.clone();
        place.server.cpus = cpus.first(server_cpus);
        place.generator.cpus = cpus.after(room);
        Ok(place)
    }

    /// Whether both sides have a CPU of their own.
    pub fn is_apart(&self) -> bool {
        self.server.cpus != self.generator.cpus
    }
}

impl Side {
    /// Moves this thread here, with all that it starts.
    pub fn enter(&self) -> Result<()> {
        if let Some(netns) = &self.netns {
            let path = format!("/run/netns/{netns}");
            let file = File::open(&path).with_context(|| format!("no network namespace {path}"))?;
            setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("{path} cannot be entered"))?;
        }
        self.cpus.pin_this_thread()
    }

    /// Runs `work` on a thread here, with a runtime of its own. Where this future is dropped, the work
    /// is as well, before the drop returns: what it has started is gone with it.
    pub async fn run<R: Send + 'static>(&self, work: impl AsyncFnOnce() -> Result<R> + Send + 'static) -> Result<R> {
        let side = self.clone();
        let (cancel, cancelled) = oneshot::channel::<()>();
        let (done, result) = oneshot::channel();
        let thread = std::thread::Builder::new().name("bench".to_owned()).spawn(move || {
            let run = || {
                side.enter()?;
                let runtime = tokio::runtime::Runtime::new()?;
                runtime.block_on(async {
                    tokio::select! {
                        result = work() => result,
                        _ = cancelled => anyhow::bail!("interrupted"),
                    }
                })
            };
            let _ = done.send(run());
        })?;
        let _joined = Joined {
            cancel: Some(cancel),
            thread: Some(thread),
        };
        result.await.context("the run panicked")?
    }
}

/// Ends a thread and waits for it.
struct Joined {
    cancel: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        drop(self.cancel.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_runs_on_the_cpus_of_its_side() {
        let side = Place::loopback().unwrap().generator;
        let cpus = side.run(async || Ok(CpuList::usable()?)).await.unwrap();
        assert_eq!(cpus, side.cpus);
        let failed: Result<()> = side.run(async || anyhow::bail!("no")).await;
        assert!(failed.is_err());
    }

    #[tokio::test]
    async fn dropped_work_is_over_when_the_drop_returns() {
        struct Ended(Arc<AtomicBool>);
        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let ended = Arc::new(AtomicBool::new(false));
        let held = Ended(ended.clone());
        let (begun, has_begun) = oneshot::channel();
        let side = Place::loopback().unwrap().generator;
        let work = side.run(async move || {
            let _held = held;
            let _ = begun.send(());
            std::future::pending::<Result<()>>().await
        });
        tokio::select! {
            _ = work => panic!("it never ends"),
            begun = has_begun => begun.unwrap(),
        }
        assert!(ended.load(Ordering::SeqCst));
    }

    #[test]
    fn a_namespace_that_is_not_there_is_named() {
        let mut side = Place::loopback().unwrap().server;
        side.netns = Some("no-such-namespace".to_owned());
        let error = std::thread::spawn(move || side.enter()).join().unwrap().unwrap_err();
        assert!(error.to_string().contains("no-such-namespace"), "{error}");
    }
}
