//! A publisher that obeys what it is told sends what somebody can use, and nobody misses anything.

use std::time::Duration;

use tianqiao_sfu_core::allocator::announce::Announcement;
use tianqiao_sfu_core::allocator::uplink::UplinkPlan;
use tianqiao_sfu_core::units::TrackId;
use tianqiao_sfu_core::worker_api::{WorkerCommand, WorkerEvent};

use crate::world::{MS, World, audio_slot, good, limited, secs, video_slot};

const CAMERA: u32 = 71;
/// From the worker to the publisher.
const WAY: Duration = Duration::from_millis(30);

/// The control side, as far as one camera is concerned.
#[derive(Default)]
struct Control {
    announcement: Announcement,
    wanted: UplinkPlan,
    seen: usize,
    /// Reports of the worker.
    reports: usize,
    on_its_way: Option<(Duration, UplinkPlan)>,
    told: Vec<(Duration, [Option<usize>; 3])>,
}

fn kbit(plan: &UplinkPlan) -> [Option<usize>; 3] {
    plan.layers.map(|rate| rate.map(|rate| rate.0 as usize / 1_000))
}

impl Control {
    fn run(&mut self, world: &mut World, time: Duration) {
        let end = world.time() + time;
        while world.time() < end {
            world.run(MS * 5);
            self.step(world);
        }
    }

    fn step(&mut self, world: &mut World) {
        let (now, time) = (world.now, world.time());
        for (_, event) in &world.events[self.seen..] {
            let WorkerEvent::Wanted { tracks } = event else {
                continue;
            };
            for track in tracks.iter().filter(|track| track.track == TrackId(CAMERA)) {
                self.wanted = track.wants.plan(&track.heights);
                self.reports += 1;
            }
        }
        self.seen = world.events.len();
        if let Some(plan) = self.announcement.update(now, &self.wanted) {
            let track = TrackId(CAMERA);
            world.worker.handle_command(now, WorkerCommand::SetPlan { track, plan });
            self.on_its_way = Some((time + WAY, plan));
            self.told.push((time, kbit(&plan)));
        }
        if let Some((at, plan)) = self.on_its_way
            && at <= time
        {
            world.peers[0].cameras[0].set_ceilings(kbit(&plan));
            self.on_its_way = None;
        }
    }

    fn layers(&self) -> [bool; 3] {
        let (_, told) = self.told.last().expect("something was told");
        told.map(|kbit| kbit.is_some())
    }
}

fn world() -> (World, Control) {
    let mut world = World::new();
    world.publisher(CAMERA, &good());
    (world, Control::default())
}

#[test]
fn a_camera_that_nobody_watches_is_off_and_comes_at_once() {
    let (mut world, mut control) = world();
    control.run(&mut world, secs(7.0));
    assert_eq!(control.layers(), [false; 3]);
    let viewer = world.join(&good(), vec![video_slot("v", 50), audio_slot("a", 60)], &[]);
    control.run(&mut world, secs(3.0));
    world.show(viewer, "v", CAMERA, 180);
    let at = world.time();
    control.run(&mut world, secs(2.0));
    let first = world.viewer(viewer, 50).since(at).next().map(|picture| picture.at - at);
    assert_eq!(control.layers(), [true, false, false]);
    assert!(first.is_some_and(|first| first < MS * 250), "{first:?}");

    // A larger tile, and a smaller one again.
    world.show(viewer, "v", CAMERA, 720);
    let at = world.time();
    control.run(&mut world, secs(8.0));
    let larger = world.viewer(viewer, 50).since(at).find(|picture| picture.height == 720);
    let larger = larger.map(|picture| picture.at - at);
    assert_eq!(control.layers(), [true, false, true]);
    assert!(larger.is_some_and(|larger| larger < MS * 400), "{larger:?}");
    world.show(viewer, "v", CAMERA, 180);
    control.run(&mut world, secs(8.0));
    assert_eq!(control.layers(), [true, false, false]);
    assert!(world.viewer(viewer, 50).longest_freeze(at + secs(1.0), world.time()) < MS * 500);
}

/// Of a slot that is asked for while its owner's connection comes up.
#[test]
fn a_camera_is_woken_before_its_viewer_is_connected() {
    let (mut world, mut control) = world();
    control.run(&mut world, secs(7.0));
    let slow = crate::world::profile("[down]\ndelay = '150ms'\n[up]\ndelay = '150ms'");
    let viewer = world.open(&slow, vec![video_slot("v", 50)], &[]);
    world.show(viewer, "v", CAMERA, 360);
    let at = world.time();
    control.run(&mut world, MS * 50);
    assert!(!world.is_up(viewer));
    assert!(control.layers()[0], "{:?}", control.told);
    control.run(&mut world, secs(4.0));
    let first = world.viewer(viewer, 50).since(at).next().map(|picture| picture.at - at);
    println!("first {first:?}");
    assert!(first.is_some_and(|first| first < secs(1.6)), "{first:?}");
}

#[test]
fn a_layer_is_as_large_as_its_only_viewer_can_take_and_grows_with_the_link() {
    let (mut world, mut control) = world();
    let viewer = world.join(&limited(1_000), vec![video_slot("v", 50), audio_slot("a", 60)], &[]);
    world.show(viewer, "v", CAMERA, 720);
    world.show(viewer, "a", CAMERA + 1, 0);
    control.run(&mut world, secs(40.0));
    let (_, told) = *control.told.last().expect("told");
    println!("{:?} {} kbit/s", control.told, world.kbit(viewer));
    // The large layer at what the link carries instead of the middle one.
    assert!(told[2].is_some_and(|kbit| (600..=900).contains(&kbit)), "{told:?}");
    let from = world.time() - secs(15.0);
    let shown = world
        .viewer(viewer, 50)
        .since(from)
        .map(|picture| picture.height)
        .collect::<Vec<_>>();
    let large = shown.iter().filter(|&&height| height == 720).count();
    assert!(large * 10 > shown.len() * 8, "{large} of {}", shown.len());

    world.set_link(viewer, &limited(4_000));
    let (at, before) = (world.time(), control.told.len());
    control.run(&mut world, secs(20.0));
    let full = control
        .told
        .iter()
        .find(|(_, told)| told[2].is_some_and(|kbit| kbit >= 1_700));
    let full = full.map(|&(when, _)| when - at);
    println!(
        "full after {full:?}, {} told, {} kbit/s",
        control.told.len() - before,
        world.kbit(viewer)
    );
    assert!(full.is_some_and(|full| full < secs(12.0)), "{full:?}");
    // A link that stands still is no news.
    let (told, reports) = (control.told.len(), control.reports);
    control.run(&mut world, secs(30.0));
    println!(
        "{} told, {} reports",
        control.told.len() - told,
        control.reports - reports
    );
    assert!(control.told.len() - told <= 3, "{:?}", &control.told[told..]);
    assert!(control.reports - reports <= 32);
}

#[test]
fn a_link_that_falls_gets_the_layer_that_fits_it() {
    let (mut world, mut control) = world();
    let viewer = world.join(&limited(4_000), vec![video_slot("v", 50), audio_slot("a", 60)], &[]);
    world.show(viewer, "v", CAMERA, 720);
    control.run(&mut world, secs(20.0));
    assert_eq!(control.layers(), [true, false, true]);
    world.set_link(viewer, &limited(400));
    let drop = world.time();
    control.run(&mut world, secs(20.0));
    let smaller = world
        .viewer(viewer, 50)
        .since(drop)
        .find(|picture| picture.height < 720);
    println!(
        "smaller after {:?}, {:?}",
        smaller.map(|picture| picture.at - drop),
        control.told
    );
    assert!(smaller.is_some_and(|picture| picture.at - drop < secs(2.0)));
    let freeze = world.viewer(viewer, 50).longest_freeze(drop + secs(4.0), world.time());
    assert!(freeze < secs(0.8), "{freeze:?}");
    assert!(!control.layers()[2], "{:?}", control.told);
    world.set_link(viewer, &limited(4_000));
    let back = world.time();
    control.run(&mut world, secs(15.0));
    let larger = world
        .viewer(viewer, 50)
        .since(back)
        .find(|picture| picture.height == 720);
    println!("larger after {:?}", larger.map(|picture| picture.at - back));
    assert!(larger.is_some_and(|picture| picture.at - back < secs(10.0)));
}
