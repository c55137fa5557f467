//! Lost packets come again, and lost pictures are asked for anew.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tianqiao_loadtest::client::{Direction, Impairment};
use tianqiao_loadtest::media::is_keyframe_start;

use crate::support::{Client, Meeting, payload_type, sequence_number, viewer};

const VP8: u8 = 96;
const RTX: u8 = 97;
/// Far more than a retransmission takes.
const PACKETS: u64 = 300;

/// Loses every 20th video packet in one direction, once; counts retransmissions in it.
fn lossy(lossy: Direction, repaired: Arc<AtomicUsize>) -> Impairment {
    let mut lost = HashSet::new();
    Box::new(move |direction, datagram| match payload_type(datagram) {
        Some(VP8) if direction == lossy => {
            let seq = sequence_number(datagram);
            seq.is_multiple_of(20) && lost.insert(seq)
        }
        Some(RTX) if direction == lossy => {
            repaired.fetch_add(1, Ordering::Relaxed);
            false
        }
        _ => false,
    })
}

/// Every video packet from the next one on arrives, in whatever order.
async fn receives_all(client: &mut Client) {
    let (_, first) = client.rtp(|_, stamp| stamp.track == 0).await;
    let mut missing: HashSet<u64> = (first.seq + 1..first.seq + PACKETS).collect();
    while !missing.is_empty() {
        let (_, stamp) = client.rtp(|_, stamp| stamp.track == 0).await;
        missing.remove(&stamp.seq);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_subscriber_loses_comes_again_over_rtx() {
    lose_at_the_subscriber(Meeting::open().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lean_subscriber_loses_comes_again_over_rtx() {
    lose_at_the_subscriber(Meeting::open_lean().await).await;
}

async fn lose_at_the_subscriber(meeting: Meeting) {
    let anna = meeting.join_publisher("Anna", 0).await;
    let mut viewer = meeting.join("Viewer", viewer(0, 1), vec![anna.camera()]).await;
    viewer.rtp(|_, _| true).await;
    let repaired = Arc::new(AtomicUsize::new(0));
    viewer
        .participant
        .media
        .impair(Some(lossy(Direction::Received, repaired.clone())));
    receives_all(&mut viewer).await;
    assert!(
        repaired.load(Ordering::Relaxed) > 0,
        "the losses were repaired over RTX"
    );
    meeting.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_loses_is_asked_for_at_the_publisher() {
    lose_at_the_server(Meeting::open().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_loses_is_asked_for_at_the_lean_publisher() {
    lose_at_the_server(Meeting::open_lean().await).await;
}

async fn lose_at_the_server(meeting: Meeting) {
    let anna = meeting.join_publisher("Anna", 0).await;
    let mut viewer = meeting.join("Viewer", viewer(0, 1), vec![anna.camera()]).await;
    viewer.rtp(|_, _| true).await;
    let repaired = Arc::new(AtomicUsize::new(0));
    anna.participant.media.impair(Some(lossy(Direction::Sent, repaired)));
    receives_all(&mut viewer).await;
    meeting.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pli_reaches_the_publisher_and_brings_a_key_frame() {
    ask_for_a_key_frame(Meeting::open().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pli_of_a_lean_client_brings_a_key_frame_of_another() {
    ask_for_a_key_frame(Meeting::open_lean().await).await;
}

async fn ask_for_a_key_frame(meeting: Meeting) {
    let mut anna = meeting.join_publisher("Anna", 0).await;
    let mut viewer = meeting.join("Viewer", viewer(0, 1), vec![anna.camera()]).await;
    let (first, _) = viewer.rtp(|_, _| true).await;
    assert!(is_keyframe_start(&first.payload), "a slot begins with a key frame");
    viewer.rtp(|_, stamp| stamp.seq > 100).await;
    viewer.forget_received();
    anna.forget_received();
    viewer.participant.media.request_keyframe(first.ssrc).await.unwrap();
    anna.keyframe_request().await;
    viewer.rtp(|packet, _| is_keyframe_start(&packet.payload)).await;
    meeting.close().await;
}
