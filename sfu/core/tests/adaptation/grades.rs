//! What is said of a participant's link.

use std::time::Duration;

use tianqiao_sfu_core::allocator::uplink::UplinkPlan;
use tianqiao_sfu_core::quality::{Cause, Grade, Quality};
use tianqiao_sfu_core::units::TrackId;
use tianqiao_sfu_core::worker_api::{WorkerCommand, WorkerEvent};
use tianqiao_testnet::profile::Profile;

use crate::world::{World, audio_slot, good, limited, profile, secs, video_slot};

fn told(world: &World, peer: usize) -> Vec<(Duration, Quality)> {
    let own = world.peers[peer].connection;
    let told = world.events.iter().filter_map(|(at, event)| match event {
        WorkerEvent::Quality { connection, quality } if *connection == own => Some((*at, *quality)),
        _ => None,
    });
    told.collect()
}

fn graded(grade: Grade, cause: Cause) -> Quality {
    let cause = Some(cause);
    Quality { grade, cause }
}

/// Somebody looks at a camera of 720 lines over the link, and hears its voice.
fn viewer(world: &mut World, link: &Profile) -> usize {
    let viewer = world.join(link, vec![video_slot("v", 50), audio_slot("a", 60)], &[]);
    world.show(viewer, "v", 71, 720);
    world.show(viewer, "a", 72, 0);
    viewer
}

#[test]
fn a_link_that_carries_all_is_never_called_anything_else() {
    let mut world = World::new();
    let publisher = world.publisher(71, &good());
    let viewer = viewer(&mut world, &limited(5_000));
    world.run(secs(30.0));
    assert_eq!(told(&world, viewer), []);
    assert_eq!(told(&world, publisher), []);
}

#[test]
fn a_link_that_is_too_small_is_poor_for_its_downlink_and_good_again_when_it_has_grown() {
    let mut world = World::new();
    world.publisher(71, &good());
    let viewer = viewer(&mut world, &limited(300));
    world.run(secs(20.0));
    let first = told(&world, viewer);
    assert_eq!(
        first.last().map(|told| told.1),
        Some(graded(Grade::Poor, Cause::Downlink))
    );
    assert_eq!(world.worker.counters().poor_connections[Cause::Downlink as usize], 1);
    world.set_link(viewer, &limited(5_000));
    world.run(secs(40.0));
    let told = told(&world, viewer);
    assert_eq!(told.last().map(|told| told.1), Some(Quality::default()), "{told:?}");
    assert!(told.len() < 6, "it does not flap: {told:?}");
    assert_eq!(world.worker.counters().poor_connections, [0; 4]);
}

#[test]
fn losses_are_named_on_either_way() {
    let lossy = profile("[down]\nrate = '5Mbps'\nqueue = '1s'\ndelay = '25ms'\nloss = '8%'\n[up]\ndelay = '25ms'");
    let lossy_up = profile("[down]\ndelay = '25ms'\n[up]\ndelay = '25ms'\nloss = '6%'");
    let mut world = World::new();
    world.publisher(71, &good());
    // Of a voice alone: what is lost of pictures is sent again under the same numbers by this client.
    let talker = world.publisher(81, &lossy_up);
    world.peers[talker].cameras.clear();
    let viewer = viewer(&mut world, &lossy);
    world.run(secs(25.0));
    let last = |peer| told(&world, peer).last().map(|told| told.1);
    let (grade, cause) = last(viewer).map_or_else(Default::default, |quality| (quality.grade, quality.cause));
    println!("{:?} {} kbit/s", told(&world, viewer), world.kbit(viewer));
    assert!(
        grade >= Grade::Fair && cause == Some(Cause::Loss),
        "{grade:?} {cause:?}"
    );
    assert_eq!(last(talker), Some(graded(Grade::Fair, Cause::Loss)));
}

#[test]
fn a_long_way_is_named() {
    let satellite = profile("[down]\nrate = '5Mbps'\nqueue = '1s'\ndelay = '250ms'\n[up]\ndelay = '250ms'");
    let mut world = World::new();
    world.publisher(71, &good());
    let viewer = viewer(&mut world, &satellite);
    world.run(secs(25.0));
    let last = told(&world, viewer).last().map(|told| told.1);
    assert_eq!(
        last,
        Some(graded(Grade::Fair, Cause::Delay)),
        "{:?}",
        told(&world, viewer)
    );
}

#[test]
fn a_camera_that_stops_although_it_is_on_says_that_the_uplink_is_too_small() {
    let mut world = World::new();
    let publisher = world.publisher(71, &good());
    viewer(&mut world, &limited(5_000));
    world.run(secs(10.0));
    let camera = world.peers[publisher].cameras.pop().expect("it has one");
    world.run(secs(10.0));
    let told_last = |world: &World| told(world, publisher).last().map(|told| told.1);
    assert_eq!(told_last(&world), Some(graded(Grade::Poor, Cause::Uplink)));
    world.peers[publisher].cameras.push(camera);
    world.run(secs(12.0));
    assert_eq!(told_last(&world), Some(Quality::default()));
}

#[test]
fn a_camera_that_was_told_to_stop_is_not_blamed_on_the_uplink() {
    let mut world = World::new();
    let publisher = world.publisher(71, &good());
    viewer(&mut world, &limited(5_000));
    world.run(secs(10.0));
    let plan = WorkerCommand::SetPlan {
        track: TrackId(71),
        plan: UplinkPlan::default(),
    };
    world.worker.handle_command(world.now, plan);
    world.peers[publisher].cameras.clear();
    world.run(secs(10.0));
    assert_eq!(told(&world, publisher), []);
}
