//! Connections that receive on all of their slots.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tianqiao_protocol::MediaKind;

use super::{
    AUDIO_SLOTS, HEAR_LIMIT, MemoryOptions, Sent, VIDEO_SLOTS, bytes_each, join_all, leave_all, resident_bytes,
};
use crate::client::{NoSink, PeerConfig};
use crate::media::{AudioSource, MediaSource, SIMULCAST_720P, TrackWindow, VideoFormat, VideoSource};
use crate::meter::{Meters, Subscription};
use crate::report::SubscriberMemory;
use crate::target::tianqiao::MeetingMember;
use crate::target::{MemberConfig, Target};

/// As many publishers as there are audio slots speak, so that it is known whom the server forwards, −dBov.
const SPEECH: u8 = 30;
const MURMUR: u8 = 90;

pub async fn run(target: &Target, options: &MemoryOptions) -> Result<SubscriberMemory> {
    let meeting = target.meeting().await?;
    let (video, audio) = (0..VIDEO_SLOTS, VIDEO_SLOTS..2 * VIDEO_SLOTS);
    let mut windows = windows(MediaKind::Video, video);
    windows.extend(self::windows(MediaKind::Audio, audio));
    let meters = Meters::new(windows.clone());

    let sending = MemberConfig {
        clients: options.clients.clone(),
        peer: PeerConfig {
            camera: true,
            microphone: true,
            repair: true,
            ..Default::default()
        },
        ..Default::default()
    };
    let [thumbnail, ..] = SIMULCAST_720P;
    let format = VideoFormat {
        kbps: options.camera_kbps,
        ..thumbnail.format
    };
    let publishers = join_all(|_| &meeting, "Publisher", 0..VIDEO_SLOTS, &sending, || Box::new(NoSink)).await?;
    let sent = publish(&publishers, &windows, format);

    let receiving = MemberConfig {
        clients: options.clients.clone(),
        peer: PeerConfig {
            audio_slots: AUDIO_SLOTS,
            video_slots: VIDEO_SLOTS,
            ..Default::default()
        },
        watch: publishers.iter().map(|publisher| publisher.feed.clone()).collect(),
        height: format.height,
        ..Default::default()
    };
    let subscription = Subscription {
        expected: (0..(VIDEO_SLOTS + AUDIO_SLOTS) as u16).collect(),
        unjudged: vec![],
    };
    let half = options.subscribers / 2;
    let mut subscribers = Vec::new();
    let mut residents = Vec::new();
    for count in [half, options.subscribers] {
        let indices = subscribers.len()..count;
        let sink = || meters.sink(&subscription);
        subscribers.extend(join_all(|_| &meeting, "Subscriber", indices, &receiving, sink).await?);
        meters.all_hear(HEAR_LIMIT).await?;
        sent.settled(options.settle_packets).await?;
        residents.push(resident_bytes(target)?);
    }
    leave_all(publishers.into_iter().chain(subscribers)).await;
    Ok(SubscriberMemory {
        subscribers: options.subscribers,
        publishers: VIDEO_SLOTS,
        kbps: options.camera_kbps,
        settle_packets: options.settle_packets,
        server_rss_half_bytes: residents[0],
        server_rss_bytes: residents[1],
        bytes_per_subscriber: bytes_each(residents[0], residents[1], options.subscribers - half),
    })
}

fn windows(kind: MediaKind, indices: Range<usize>) -> Vec<Arc<TrackWindow>> {
    indices.map(|index| TrackWindow::new(index as u16, kind)).collect()
}

/// Starts camera and microphone of each, their frames spread over a frame's time.
fn publish(publishers: &[MeetingMember], windows: &[Arc<TrackWindow>], format: VideoFormat) -> Sent {
    let mut sent = Sent::default();
    let (video, audio) = windows.split_at(publishers.len());
    let step = Duration::from_secs(1) / format.frames_per_second / publishers.len() as u32;
    let begin = Instant::now();
    for (index, publisher) in publishers.iter().enumerate() {
        let start = begin + step * index as u32;
        let level = if index < AUDIO_SLOTS { SPEECH } else { MURMUR };
        let camera = sent.counted(VideoSource::new(format, video[index].clone(), start));
        let microphone: Box<dyn MediaSource> = Box::new(AudioSource::new(level, audio[index].clone(), start));
        publisher.participant.media.publish(vec![microphone, camera]);
    }
    sent
}
