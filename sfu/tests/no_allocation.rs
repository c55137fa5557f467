//! A whole node forwards from worker to worker, over real sockets, without allocating per packet.

mod client;

use std::alloc::System;
use std::sync::Arc;
use std::time::Instant;

use prometheus::Registry;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tianqiao_bus::in_process::InProcessBus;

use client::{Client, PATIENCE, two_workers};

/// Counts what all threads of the process allocate.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PACKETS: usize = 4_000;
/// What is done by the clock (ten times a second: audio levels to the control side) may allocate.
const MAX_ALLOCATIONS: usize = PACKETS / 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_node_allocates_nothing_per_packet() {
    let bus = Arc::new(InProcessBus::new());
    let (node, mut alice, mut bob) = two_workers(&bus, &Registry::new()).await;
    // Until alice is chosen as a speaker, and rings, pools and queues have grown to what they need.
    exchange(&mut alice, &mut bob, PACKETS / 4);
    let region = Region::new(ALLOCATOR);
    exchange(&mut alice, &mut bob, PACKETS);
    let change = region.change();
    let allocations = change.allocations + change.reallocations;
    assert!(allocations <= MAX_ALLOCATIONS, "{change:?} for {PACKETS} packets");
    node.shutdown().await;
}

/// Alice speaks, one packet after the other, until bob has heard `packets` of them.
fn exchange(alice: &mut Client, bob: &mut Client, packets: usize) {
    let mut buffer = [0; 2048];
    let (begun, mut heard) = (Instant::now(), 0);
    while heard < packets {
        assert!(begun.elapsed() < PATIENCE, "{heard} packets were forwarded");
        alice.speak();
        if bob.receive(&mut buffer).is_some() {
            assert_eq!(buffer[12..16], alice.tracks[0].id.to_be_bytes(), "the track as CSRC");
            heard += 1;
        }
    }
}
