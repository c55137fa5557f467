//! What a datagram costs over loopback, sent alone and in segmented runs:
//! `cargo run --release -p tianqiao-sfu --example udp_offload [rounds]`.
//!
//! Runs alternate between the ways of sending within each round, so that what else the machine does
//! falls on all alike; read the ratios. The receiver has no GRO, so segmentation is paid for as it is
//! towards a network, except in the last column.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tianqiao_sfu::udp::{UdpSettings, UdpSocket};
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::send_batch::SendBatch;

const SIZE: usize = 1_100;
/// Datagrams of one batch, well below what the receive buffer holds.
const DATAGRAMS: usize = 480;
const RUNS: [usize; 5] = [1, 2, 4, 8, 16];

#[derive(Clone, Copy, Default)]
struct Cost {
    send: Duration,
    receive: Duration,
    datagrams: u32,
}

fn main() -> io::Result<()> {
    let rounds: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200);
    let (mut plain, mut offload) = (socket(false)?, socket(true)?);
    let (mut receiver, mut gro) = (socket(false)?, socket(true)?);
    if !offload.is_offloading() {
        println!("this kernel has no UDP_SEGMENT: both columns are plain");
    }
    println!("ns per datagram of {SIZE} bytes, and how many times cheaper sending is with offload");
    println!("run   send plain   send GSO  ratio   receive  receive GRO");
    for run in RUNS {
        let (mut without, mut with, mut joined) = (Cost::default(), Cost::default(), Cost::default());
        for _ in 0..rounds {
            exchange(&mut plain, &mut receiver, run, &mut without)?;
            exchange(&mut offload, &mut receiver, run, &mut with)?;
            exchange(&mut offload, &mut gro, run, &mut joined)?;
        }
        let (plain_ns, gso_ns) = (ns(without.send, without), ns(with.send, with));
        println!(
            "{run:>3} {plain_ns:>12.0} {gso_ns:>10.0} {:>6.2} {:>9.0} {:>12.0}",
            plain_ns / gso_ns,
            ns(without.receive, without),
            ns(joined.receive, joined),
        );
    }
    Ok(())
}

fn socket(offload: bool) -> io::Result<UdpSocket> {
    let settings = UdpSettings {
        offload,
        ..Default::default()
    };
    UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0)), settings)
}

/// Sends one batch in runs of `run` datagrams and fetches all of it.
fn exchange(from: &mut UdpSocket, to: &mut UdpSocket, run: usize, cost: &mut Cost) -> io::Result<()> {
    let mut batch = SendBatch::with_capacity(DATAGRAMS * SIZE);
    for index in 0..DATAGRAMS {
        // Another destination begins another run.
        let host = 1 + (index / run % 2) as u8;
        batch.push(
            Path::udp(([127, 0, 0, host], to.local_addr().port()).into()),
            &[0; SIZE],
        );
    }
    let begun = Instant::now();
    let report = from.send_batch(&batch);
    cost.send += begun.elapsed();
    cost.datagrams += report.datagrams as u32;

    let begun = Instant::now();
    let mut received = 0;
    while received < report.datagrams {
        match to.recv_batch(|_, _| ()) {
            Ok(report) => received += report.datagrams + report.overflowed as usize,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    cost.receive += begun.elapsed();
    Ok(())
}

fn ns(time: Duration, cost: Cost) -> f64 {
    time.as_nanos() as f64 / f64::from(cost.datagrams)
}
