//! What a person at the other end asks for, on a link that would carry all.

use std::time::Duration;

use tianqiao_sfu_core::allocator::Mode;
use tianqiao_sfu_core::units::Bitrate;
use tianqiao_sfu_core::worker_api::{SlotRank, WorkerCommand};

use crate::world::{World, audio_slot, good, limited, secs, video_slot};

fn ask(world: &mut World, peer: usize, mode: Mode) {
    let connection = world.peers[peer].connection;
    world
        .worker
        .handle_command(world.now, WorkerCommand::SetMode { connection, mode });
}

/// Pictures in the slots of two cameras, and the voice, between then and now.
fn got(world: &World, viewer: usize, since: Duration) -> ([usize; 2], f64) {
    let pictures = [50, 52].map(|ssrc| world.viewer(viewer, ssrc).since(since).count());
    let heard = world
        .listener(viewer, 60)
        .heard(since, world.time() - secs(0.5), secs(1.0));
    (pictures, heard.lost)
}

#[test]
fn audio_only_sends_no_picture_and_they_come_again() {
    let mut world = World::new();
    world.publisher(71, &good());
    world.publisher(81, &good());
    let slots = vec![video_slot("v", 50), video_slot("w", 52), audio_slot("a", 60)];
    let viewer = world.join(&limited(4_000), slots, &[]);
    let speaker = SlotRank {
        is_speaker: true,
        ..SlotRank::default()
    };
    world.show_ranked(viewer, "v", 71, 720, speaker);
    world.show(viewer, "w", 81, 360);
    world.show(viewer, "a", 72, 0);
    world.run(secs(8.0));

    let told = world.pauses(viewer).len();
    ask(&mut world, viewer, Mode::AudioOnly);
    world.run(secs(1.0));
    let since = world.time();
    world.run(secs(5.0));
    let (pictures, lost) = got(&world, viewer, since);
    assert_eq!(pictures, [0, 0]);
    assert!(lost < 0.01, "{lost}");
    assert_eq!(world.pauses(viewer).len(), told, "nobody is told of a weak network");

    ask(
        &mut world,
        viewer,
        Mode::SaveData {
            cap: Bitrate::kbps(180),
        },
    );
    world.run(secs(4.0));
    let since = world.time();
    world.run(secs(5.0));
    let (pictures, lost) = got(&world, viewer, since);
    println!("saving data: {pictures:?} pictures, {lost} lost");
    assert!(pictures[0] >= 25, "{pictures:?}");
    assert_eq!(pictures[1], 0, "one picture: that of who speaks");
    assert_eq!(world.viewer(viewer, 50).height_at(world.time()), 180);
    assert!(lost < 0.01, "{lost}");

    ask(&mut world, viewer, Mode::Normal);
    world.run(secs(10.0));
    let since = world.time();
    world.run(secs(5.0));
    assert!(got(&world, viewer, since).0.iter().all(|&pictures| pictures > 100));
    assert_eq!(world.viewer(viewer, 50).height_at(world.time()), 720);
}
