//! What operators ask of a running fleet: `tianqiao nodes`, `rooms`, `drain`, `undrain`.

use std::time::Duration;

use anyhow::Context;
use tianqiao::{Config, operator};
use tianqiao_bus::Bus;
use tianqiao_protocol::rest::{FleetNode, FleetRoom};

use super::connect;

/// For NATS to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Every node reports twice in it.
const LISTEN: Duration = Duration::from_millis(1_200);

pub enum Question {
    Nodes,
    Rooms,
    Drain { node: String, draining: bool },
}

pub async fn run(config: Config, question: Question, as_json: bool) -> anyhow::Result<()> {
    let bus = connect(&config, "tianqiao operator").await?;
    let mut reports = bus.reports();
    let mut connected = bus.connected();
    let up = tokio::time::timeout(PATIENCE, connected.wait_for(|up| *up)).await;
    up.context("no NATS server answers").map(drop)?;
    // Nodes are known by their reports.
    let listen = async { while reports.recv().await.is_some() {} };
    let _ = tokio::time::timeout(LISTEN, listen).await;
    match question {
        Question::Drain { node, draining } => operator::drain(&*bus, &node, draining).await,
        Question::Nodes => {
            let (nodes, _) = operator::survey(&*bus).await;
            print(as_json, &nodes, node_table)
        }
        Question::Rooms => {
            let (_, rooms) = operator::survey(&*bus).await;
            print(as_json, &rooms, room_table)
        }
    }
}

fn print<T: serde::Serialize>(
    as_json: bool,
    rows: &[T],
    table: impl Fn(&[T]) -> Vec<Vec<String>>,
) -> anyhow::Result<()> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    let table = table(rows);
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &table {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
    Ok(())
}

fn node_table(nodes: &[FleetNode]) -> Vec<Vec<String>> {
    let header = [
        "NODE",
        "STATE",
        "REGION",
        "SESSIONS",
        "ROOMS",
        "LINKS",
        "OUT Mbit/s",
        "BUSY %",
        "VERSION",
    ];
    let mut table = vec![header.map(str::to_owned).to_vec()];
    for node in nodes {
        let Some(report) = &node.report else {
            let mut row = vec![node.node.clone(), "silent".to_owned()];
            row.resize(header.len(), "-".to_owned());
            table.push(row);
            continue;
        };
        let load = &report.load;
        table.push(vec![
            node.node.clone(),
            if report.draining { "draining" } else { "serving" }.to_owned(),
            report.region.clone(),
            format!("{}/{}", load.sessions, report.capacity.sessions),
            load.rooms.to_string(),
            load.links.to_string(),
            format!("{:.1}", load.egress as f64 / 1e6),
            format!("{:.1}", f64::from(load.busy) / 10.0),
            report.version.clone(),
        ]);
    }
    table
}

fn room_table(rooms: &[FleetRoom]) -> Vec<Vec<String>> {
    let mut table = vec![["ROOM", "NODE", "SESSIONS", "OWNER"].map(str::to_owned).to_vec()];
    for room in rooms {
        table.push(vec![
            room.load.room.clone(),
            room.node.clone(),
            room.load.sessions.to_string(),
            room.load.owner.clone(),
        ]);
    }
    table
}
