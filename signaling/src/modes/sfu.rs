//! `tianqiao sfu`: a media server of a fleet.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus::Registry;
use tianqiao::Config;
use tianqiao::node_http::{self, NodeHttp};
use tianqiao::operator_token::OperatorToken;
use tianqiao_bus::Bus;
use tianqiao_sfu::config::SfuConfig;
use tianqiao_sfu::node::Node;
use tokio::sync::watch;

use super::{Signals, announce, connect};

/// Of what nodes there are, for operators: nothing is decided by it.
const REGISTRY: &str = "nodes";

pub async fn run(config: Config, mut sfu: SfuConfig) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    sfu.node = node_name(&config);
    let name = sfu.node.clone();
    let bus = connect(&config, &format!("tianqiao sfu {name}")).await?;
    let token = config
        .operator_token_file
        .as_deref()
        .map(OperatorToken::load)
        .transpose()?;
    let listener = match config.metrics_listen {
        Some(address) => Some(node_http::listen(address).await?),
        None => None,
    };
    let http = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    sfu.http = http.map_or(String::new(), |address| address.to_string());
    let registry = Registry::new();
    let node = Node::start(sfu, bus.clone(), &registry)
        .await
        .context("the media server does not start")?;
    let node = Arc::new(node);
    let status = node.status();
    if let Some(listener) = listener {
        let of_node = Arc::downgrade(&node);
        node_http::serve(
            listener,
            NodeHttp {
                registry,
                status: status.clone(),
                connected: bus.connected(),
                set_draining: Box::new(move |draining| {
                    if let Some(node) = of_node.upgrade() {
                        node.set_draining(draining);
                    }
                }),
                token,
                is_local: http.is_some_and(|address| address.ip().is_loopback()),
            },
        );
    }
    let entry = tokio::spawn(keep_entry(bus.clone(), name.clone(), bus.connected()));
    let metrics = http.map(|address| format!("http://{address}"));
    announce(&format!("node {name}"), metrics.as_deref());

    if signals.is_orderly().await {
        drain(&node, status, config.drain_grace, &mut signals).await;
    }
    tracing::info!("stopping");
    entry.abort();
    let key = key(&name);
    let gone = bus.kv().delete(REGISTRY, &key, None);
    if tokio::time::timeout(Duration::from_secs(1), gone).await.is_err() {
        tracing::info!("the registry keeps the node's entry, as the bus is away");
    }
    if let Some(node) = Arc::into_inner(node) {
        node.shutdown().await;
    }
    Ok(())
}

/// Until nobody is left, or the time is over, or somebody is in a hurry.
async fn drain(
    node: &Node,
    mut status: watch::Receiver<tianqiao_sfu::node::NodeStatus>,
    grace: Duration,
    signals: &mut Signals,
) {
    node.set_draining(true);
    let emptied = status.wait_for(|status| status.draining.is_some() && status.sessions == 0);
    tokio::select! {
        _ = emptied => tracing::info!("nobody is left"),
        () = tokio::time::sleep(grace) => tracing::warn!(sessions = node.status().borrow().sessions, "those who are left are ended"),
        () = signals.any() => tracing::warn!("told to end at once"),
    }
}

/// Enters the node whenever the bus has come up.
async fn keep_entry(bus: Arc<dyn Bus>, name: String, mut connected: watch::Receiver<bool>) {
    let value = serde_json::json!({ "node": name, "version": env!("CARGO_PKG_VERSION") }).to_string();
    loop {
        if connected.wait_for(|up| *up).await.is_err() {
            return;
        }
        if let Err(error) = bus.kv().put(REGISTRY, &key(&name), value.clone().into()).await {
            tracing::debug!(%error, "the registry cannot be written");
            tokio::time::sleep(Duration::from_secs(5)).await;
            continue;
        }
        if connected.wait_for(|up| !*up).await.is_err() {
            return;
        }
    }
}

/// A node's name as a key of the store.
fn key(name: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "-_".contains(c) {
            c
        } else {
            '_'
        }
    };
    name.chars().map(allowed).collect()
}

fn node_name(config: &Config) -> String {
    if !config.node.is_empty() {
        return config.node.clone();
    }
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "node" } else { host };
    format!("{host}-{:08x}", rand::random::<u32>())
}
