//! The operator's view of the fleet: what nodes and rooms there are, asked over the bus.

use std::time::Duration;

use futures_util::future::join_all;
use tianqiao_bus::{Bus, NodeId};
use tianqiao_protocol::control::{Owner, SfuReply, SfuRequest};
use tianqiao_protocol::rest::{FleetNode, FleetRoom};

/// A node that takes longer is listed as one that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// In whose name nodes are asked; no room has such an owner.
fn operator() -> Owner {
    Owner {
        instance: "operator".to_owned(),
        epoch: 0,
    }
}

/// All nodes on the bus and the rooms that they have a part of, by name.
pub async fn survey(bus: &dyn Bus) -> (Vec<FleetNode>, Vec<FleetRoom>) {
    let mut nodes = bus.nodes();
    nodes.sort();
    let answers = join_all(nodes.iter().map(|node| describe(bus, node))).await;
    let mut found = Vec::new();
    let mut rooms: Vec<FleetRoom> = Vec::new();
    for (node, answer) in nodes.into_iter().zip(answers) {
        let Some(SfuReply::Described { report, rooms: own }) = answer else {
            found.push(FleetNode {
                node,
                answers: false,
                report: None,
            });
            continue;
        };
        for load in own {
            rooms.push(FleetRoom {
                node: node.clone(),
                load,
            });
        }
        found.push(FleetNode {
            node,
            answers: true,
            report: Some(report),
        });
    }
    rooms.sort_by(|one, other| (&one.load.room, &one.node).cmp(&(&other.load.room, &other.node)));
    (found, rooms)
}

async fn describe(bus: &dyn Bus, node: &NodeId) -> Option<SfuReply> {
    let owner = operator();
    let asked = bus.request(node, &owner, SfuRequest::Describe);
    tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()
}

/// Tells a node to drain, or to serve again.
pub async fn drain(bus: &dyn Bus, node: &NodeId, draining: bool) -> anyhow::Result<()> {
    let owner = operator();
    let asked = bus.request(node, &owner, SfuRequest::Drain { draining });
    tokio::time::timeout(PATIENCE, asked).await??;
    Ok(())
}
