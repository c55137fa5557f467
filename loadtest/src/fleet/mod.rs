//! A fleet on one machine's loopback: NATS, signaling instances, media nodes and a proxy before them, each a process
//! that can be killed and started again.

mod command;
mod process;
mod proxy;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;

use anyhow::{Context, Result};
use futures_util::future::{join_all, select_all};

pub use command::FleetCommand;
pub use process::{Announcement, FleetProcess, Kind};
pub use proxy::Proxy;

use crate::server_process::{TempFolder, default_binary};

/// How many of what, and how they are started.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// Default: `tianqiao` beside this tool's own executable.
    pub binary: Option<PathBuf>,
    pub signaling: usize,
    pub nodes: usize,
    /// Further arguments of each signaling instance.
    pub signaling_args: Vec<String>,
    /// Further arguments of each node.
    pub node_args: Vec<String>,
    /// Where the proxy listens; 0: a free port.
    pub port: u16,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            binary: None,
            signaling: 2,
            nodes: 3,
            signaling_args: Vec::new(),
            node_args: Vec::new(),
            port: 0,
        }
    }
}

/// A running fleet; its processes are killed and its folder removed when this is dropped.
pub struct Fleet {
    pub nats: FleetProcess,
    pub signaling: Vec<FleetProcess>,
    pub nodes: Vec<FleetProcess>,
    pub proxy: Proxy,
    // Last: whoever writes into it is gone by then.
    _folder: TempFolder,
}

impl Fleet {
    /// Starts all and waits until each is ready.
    pub async fn start(options: &FleetOptions) -> Result<Self> {
        let folder = TempFolder::create()?;
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => default_binary()?,
        };
        let nats = FleetProcess::start(Kind::Nats, "nats", "nats-server".into(), Vec::new(), &folder.0).await?;
        let bus = ["--bus".to_owned(), nats.url().to_owned()];
        let launch = |kind, name: String, more: &[String]| {
            let args = bus.iter().chain(more).cloned().collect();
            let (binary, folder) = (binary.clone(), folder.0.clone());
            async move { FleetProcess::start(kind, &name, binary, args, &folder).await }
        };
        let instances = (1..=options.signaling)
            .map(|number| launch(Kind::Signaling, format!("signaling-{number}"), &options.signaling_args));
        let nodes = (1..=options.nodes).map(|number| launch(Kind::Node, format!("node-{number}"), &options.node_args));
        let (instances, nodes) = tokio::join!(join_all(instances), join_all(nodes));
        let signaling = instances.into_iter().collect::<Result<Vec<_>>>()?;
        let nodes = nodes.into_iter().collect::<Result<Vec<_>>>()?;
        let backends = signaling.iter().map(FleetProcess::address).collect::<Result<_>>()?;
        let proxy = Proxy::start(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), options.port), backends).await?;
        Ok(Self {
            nats,
            signaling,
            nodes,
            proxy,
            _folder: folder,
        })
    }

    /// What browsers and clients are to open.
    pub fn url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    /// Starts a signaling instance anew, after an end as by a crash where it runs, and has the proxy know its port.
    pub async fn restart_signaling(&mut self, index: usize) -> Result<()> {
        let instance = self.signaling.get_mut(index).context("no such instance")?;
        instance.restart().await?;
        self.proxy.set(index, instance.address()?);
        Ok(())
    }

    fn processes(&self) -> impl Iterator<Item = &FleetProcess> {
        std::iter::once(&self.nats).chain(&self.signaling).chain(&self.nodes)
    }

    /// The end of what the process with that name has written.
    pub fn log_tail(&self, name: &str) -> String {
        let process = self.processes().find(|process| process.name() == name);
        process.map(FleetProcess::log_tail).unwrap_or_default()
    }

    /// The first process that ends, by its name.
    pub async fn ended(&mut self) -> Result<(String, ExitStatus)> {
        let all = std::iter::once(&mut self.nats)
            .chain(&mut self.signaling)
            .chain(&mut self.nodes);
        let ends = all.map(|process| {
            Box::pin(async move {
                let status = process.wait().await?;
                Ok((process.name().to_owned(), status))
            })
        });
        select_all(ends).await.0
    }

    /// Ends all at once: instances and nodes before the bus that they say goodbye over.
    pub async fn stop(mut self) {
        join_all(self.signaling.iter_mut().chain(&mut self.nodes).map(FleetProcess::end)).await;
        self.nats.end().await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Says what the server says when it is ready, and waits for its end.
    const SERVER: &str = "#!/bin/sh
case $1 in
signaling) echo ready: http://127.0.0.1:81 ;;
sfu) echo ready: node $3 ;;
esac
echo metrics: http://127.0.0.1:82
exec sleep 60
";

    #[tokio::test]
    async fn a_fleet_starts_says_who_died_and_ends() {
        let folder = TempFolder::create().unwrap();
        let binary = folder.0.join("tianqiao");
        std::fs::write(&binary, SERVER).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        let options = FleetOptions {
            binary: Some(binary),
            ..FleetOptions::default()
        };
        let mut fleet = Fleet::start(&options).await.unwrap();
        assert_eq!(fleet.signaling.len(), 2);
        let names: Vec<_> = fleet.nodes.iter().map(FleetProcess::url).collect();
        assert_eq!(names, ["node node-1", "node node-2", "node node-3"]);

        let bus = fleet.nats.url().to_owned();
        fleet.nats.restart().await.unwrap();
        assert_eq!(fleet.nats.url(), bus, "the others look for it where it was");

        fleet.nodes[1].signal(rustix::process::Signal::KILL).unwrap();
        assert_eq!(fleet.ended().await.unwrap().0, "node-2");
        let pid = fleet.nats.pid().unwrap();
        fleet.stop().await;
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
