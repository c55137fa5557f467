//! Simulcast publishers, whose packets the server keeps for retransmission.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use tianqiao_protocol::MediaKind;

use super::{HEAR_LIMIT, MemoryOptions, Sent, bytes_each, join_all, leave_all, resident_bytes};
use crate::client::{NoSink, PeerConfig};
use crate::media::{SIMULCAST_720P, TrackWindow, VideoSource};
use crate::meter::{Meters, Subscription};
use crate::report::PublisherMemory;
use crate::target::tianqiao::MeetingMember;
use crate::target::{Meeting, MemberConfig, Target};

const LAYERS: usize = SIMULCAST_720P.len();

pub async fn run(target: &Target, options: &MemoryOptions) -> Result<PublisherMemory> {
    let meeting = target.meeting().await?;
    // Each layer is a track of its own to those who count.
    let tracks = 0..(options.publishers * LAYERS) as u16;
    let windows: Vec<_> = tracks.map(|track| TrackWindow::new(track, MediaKind::Video)).collect();
    let config = MemberConfig {
        clients: options.clients.clone(),
        peer: PeerConfig {
            camera: true,
            repair: true,
            rids: SIMULCAST_720P.iter().map(|layer| layer.rid.to_owned()).collect(),
            ..Default::default()
        },
        ..Default::default()
    };
    let mut publishers: Vec<MeetingMember> = Vec::new();
    let mut sent = Sent::default();
    let mut residents = Vec::new();
    for count in [1, options.publishers] {
        let indices = publishers.len()..count;
        let joined = join_all(|_| &meeting, "Publisher", indices.clone(), &config, || Box::new(NoSink)).await?;
        for (publisher, windows) in joined.iter().zip(windows.chunks(LAYERS).skip(indices.start)) {
            publish(publisher, windows, &mut sent);
        }
        publishers.extend(joined);
        sent.settled(options.settle_packets).await?;
        residents.push(resident_bytes(target)?);
    }
    // Nobody watched so far: subscribers would be in the figures. That the server has had every layer shows now.
    let watchers = watch_layers(&meeting, options, &publishers, windows).await?;
    leave_all(publishers.into_iter().chain(watchers)).await;
    Ok(PublisherMemory {
        publishers: options.publishers,
        kbps: SIMULCAST_720P.map(|layer| layer.format.kbps),
        settle_packets: options.settle_packets,
        server_rss_one_bytes: residents[0],
        server_rss_bytes: residents[1],
        bytes_per_publisher: bytes_each(residents[0], residents[1], options.publishers - 1),
    })
}

/// `windows`: of the layers.
fn publish(publisher: &MeetingMember, windows: &[Arc<TrackWindow>], sent: &mut Sent) {
    let start = Instant::now();
    let layers = SIMULCAST_720P.iter().zip(windows);
    let sources = layers.map(|(layer, window)| sent.counted(VideoSource::new(layer.format, window.clone(), start)));
    publisher.participant.media.publish(sources.collect());
}

/// Joins a subscriber for each layer, and waits until it receives that layer of every publisher.
async fn watch_layers(
    meeting: &Meeting,
    options: &MemoryOptions,
    publishers: &[MeetingMember],
    windows: Vec<Arc<TrackWindow>>,
) -> Result<Vec<MeetingMember>> {
    let meters = Meters::new(windows);
    let mut watchers = Vec::new();
    for (index, layer) in SIMULCAST_720P.iter().enumerate() {
        let config = MemberConfig {
            clients: options.clients.clone(),
            peer: PeerConfig {
                video_slots: publishers.len(),
                ..Default::default()
            },
            watch: publishers.iter().map(|publisher| publisher.feed.clone()).collect(),
            height: layer.format.height,
            ..Default::default()
        };
        let tracks = (0..publishers.len()).map(|publisher| (publisher * LAYERS + index) as u16);
        let subscription = Subscription {
            expected: tracks.collect(),
            unjudged: vec![],
        };
        let sink = || meters.sink(&subscription);
        watchers.extend(join_all(|_| meeting, "Watcher", index..index + 1, &config, sink).await?);
    }
    meters.all_hear(HEAR_LIMIT).await?;
    Ok(watchers)
}
