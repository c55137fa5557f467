//! What a slot shows can change without a gap and without an offer.

use tianqiao_loadtest::client::PeerConfig;
use tianqiao_loadtest::media::is_keyframe_start;
use tianqiao_protocol::ws::ServerMessage;
use tianqiao_protocol::{SlotTarget, TrackSource};

use crate::support::{LIMIT, Meeting, viewer};

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_switches_sources_without_a_gap() {
    let meeting = Meeting::open().await;
    let publishers = [
        meeting.join_publisher("Anna", 0).await,
        meeting.join_publisher("Bo", 2).await,
    ];
    let cameras = publishers
        .each_ref()
        .map(|publisher| publisher.own_track(TrackSource::Camera));
    let mut viewer = meeting.join("Viewer", viewer(0, 1), vec![publishers[0].camera()]).await;
    let (mut last, _) = viewer.rtp(|_, stamp| stamp.track == 0).await;

    for shown in [1, 0, 1] {
        viewer.participant.set_viewport(&[publishers[shown].camera()], 720);
        let stamp = 2 * shown as u16;
        // Up to the switch and fifty packets past it there is one stream of the slot's own.
        let mut past = 0;
        while past < 50 {
            let (packet, found) = viewer.rtp(|_, _| true).await;
            assert_eq!(packet.ssrc, last.ssrc);
            assert_eq!(packet.sequence_number, last.sequence_number.wrapping_add(1));
            assert!(
                packet.timestamp.wrapping_sub(last.timestamp) < 90_000,
                "time goes on by less than a second"
            );
            assert_eq!(packet.csrc, Some(cameras[usize::from(found.track / 2)]));
            if found.track == stamp {
                assert!(
                    past > 0 || is_keyframe_start(&packet.payload),
                    "a switch begins with a key frame"
                );
                past += 1;
            } else {
                assert_eq!(past, 0, "no packet of the old source after the switch");
            }
            last = packet;
        }
        let shows = |message: &ServerMessage| match message {
            ServerMessage::Slots { slots } => slots.iter().find_map(|slot| slot.track),
            _ => None,
        };
        assert_eq!(viewer.message(LIMIT, shows).await, cameras[shown]);
    }
    meeting.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_slot_starts_again() {
    let meeting = Meeting::open().await;
    let anna = meeting.join_publisher("Anna", 0).await;
    let mut viewer = meeting.join("Viewer", viewer(0, 1), vec![anna.camera()]).await;
    let (first, _) = viewer.rtp(|_, _| true).await;
    viewer.participant.set_viewport(&[anna.camera()], 0);
    viewer.participant.set_viewport(&[anna.camera()], 720);
    let mut next = first.sequence_number.wrapping_add(1);
    for _ in 0..100 {
        let (packet, _) = viewer.rtp(|_, _| true).await;
        assert_eq!(packet.sequence_number, next);
        next = next.wrapping_add(1);
    }
    meeting.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn further_slots_come_with_a_further_offer() {
    let meeting = Meeting::open().await;
    let anna = meeting.join_publisher("Anna", 0).await;
    let bo = meeting.join_publisher("Bo", 2).await;
    let mut viewer = meeting.join("Viewer", viewer(0, 1), vec![anna.camera()]).await;
    let (first, _) = viewer.rtp(|_, stamp| stamp.track == 0).await;
    viewer.participant.renegotiate(1, false).await.unwrap();
    viewer.participant.set_viewport(&[anna.camera(), bo.camera()], 720);
    let (other, _) = viewer.rtp(|_, stamp| stamp.track == 2).await;
    assert_ne!(other.ssrc, first.ssrc);
    let (same, _) = viewer.rtp(|_, stamp| stamp.track == 0).await;
    assert_eq!(same.ssrc, first.ssrc, "a slot keeps its stream over a new offer");
    meeting.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_active_speaker_is_the_loud_one_and_never_oneself() {
    let meeting = Meeting::open().await;
    let peer = PeerConfig {
        microphone: true,
        camera: true,
        audio_slots: 1,
        video_slots: 1,
        ..Default::default()
    };
    let mut anna = meeting.join("Anna", peer, vec![SlotTarget::ActiveSpeaker]).await;
    anna.publish(0);
    let mut viewer = meeting
        .join("Viewer", viewer(1, 1), vec![SlotTarget::ActiveSpeaker])
        .await;
    viewer.rtp(|_, stamp| stamp.track == 0).await;
    let anna_id = anna.id();
    let dominant = |message: &ServerMessage| match message {
        ServerMessage::Speakers(speakers) => speakers.dominant.clone(),
        _ => None,
    };
    assert_eq!(viewer.message(LIMIT, dominant).await, anna_id);
    let bo = meeting.join_publisher("Bo", 2).await;
    // Anna is the loudest, but her own slot shows Bo.
    let (packet, _) = anna.rtp(|_, stamp| stamp.track.is_multiple_of(2)).await;
    assert_eq!(packet.csrc, Some(bo.own_track(TrackSource::Camera)));
    meeting.close().await;
}
