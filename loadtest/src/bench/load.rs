//! The loads of the benchmarks, in the order in which they are run.

use anyhow::Result;

use super::place::Place;
use crate::client::ClientKind;
use crate::scenario::forward::{ForwardOptions, Shape};

/// One row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    shape: Shape,
    rooms: usize,
    video_kbps: u32,
    audio: bool,
    clients: ClientKind,
    /// `None`: as many as the server has CPUs of its own.
    pub workers: Option<Workers>,
    seconds: u64,
    /// How often it is run; the row is the run with the median cost.
    pub runs: usize,
}

/// Media workers, and on how many CPUs.
#[derive(Clone, Copy, Debug)]
pub struct Workers {
    pub count: usize,
    pub cpus: usize,
}

/// CPUs that the generator leaves to the workers, where the machine has more than these.
pub const WORKER_CPUS: usize = 2;

/// What the tables are about; its median is of five runs.
const MAIN: Load = Load {
    shape: one_to(50),
    rooms: 1,
    video_kbps: 2_500,
    audio: false,
    clients: ClientKind::Lean,
    workers: None,
    seconds: 8,
    runs: 5,
};
const QUICK_SECONDS: u64 = 3;
const QUICK_RUNS: usize = 1;

const fn one_to(subscribers: usize) -> Shape {
    Shape::Fan {
        publishers: 1,
        subscribers,
    }
}

fn fan(subscribers: usize, video_kbps: u32) -> Load {
    Load {
        shape: one_to(subscribers),
        video_kbps,
        runs: 1,
        ..MAIN
    }
}

fn mesh(rooms: usize, participants: usize, video_kbps: u32) -> Load {
    Load {
        shape: Shape::Mesh { participants },
        rooms,
        video_kbps,
        runs: 1,
        ..MAIN
    }
}

fn with_audio() -> Load {
    Load {
        audio: true,
        runs: 1,
        ..MAIN
    }
}

/// Not measured: the first run of a process pays for what is loaded once.
pub fn warm_up() -> Load {
    Load {
        seconds: 2,
        ..fan(10, 800)
    }
}

/// Of our own server.
pub fn forward(quick: bool) -> Vec<Load> {
    if quick {
        return shortened(vec![fan(10, 800), fan(50, 2_500)]);
    }
    let mut loads = Vec::new();
    for load in [
        |kbps| fan(10, kbps),
        |kbps| fan(50, kbps),
        |kbps| fan(200, kbps),
        |kbps| mesh(1, 10, kbps),
        |kbps| mesh(25, 4, kbps),
    ] {
        for video_kbps in [150, 800, 2_500] {
            let load = load(video_kbps);
            let is_main = (load.shape, load.video_kbps) == (MAIN.shape, MAIN.video_kbps);
            loads.push(if is_main { MAIN } else { load });
        }
    }
    loads.push(with_audio());
    loads.push(Load {
        clients: ClientKind::Webrtc,
        runs: 1,
        ..MAIN
    });
    loads
}

/// Of servers side by side.
pub fn peers(quick: bool) -> Vec<Load> {
    if quick {
        return shortened(vec![fan(10, 800)]);
    }
    vec![
        fan(10, 800),
        fan(10, 2_500),
        fan(50, 150),
        fan(50, 800),
        MAIN,
        with_audio(),
        mesh(1, 10, 800),
        mesh(25, 4, 800),
    ]
}

/// A city's meeting over one worker, over two that take turns on its CPU, and over two.
pub fn scaling(quick: bool) -> Vec<Load> {
    let load = |(count, cpus)| Load {
        workers: Some(Workers { count, cpus }),
        runs: MAIN.runs,
        ..fan(400, 2_500)
    };
    let loads = [(1, 1), (2, 1), (2, WORKER_CPUS)].map(load).to_vec();
    if quick { shortened(loads) } else { loads }
}

fn shortened(mut loads: Vec<Load>) -> Vec<Load> {
    for load in &mut loads {
        load.seconds = QUICK_SECONDS;
        load.runs = load.runs.min(QUICK_RUNS);
    }
    loads
}

impl Load {
    /// To be called on the generator's side of `place`, where its threads then are.
    pub fn start(&self, place: &Place) -> Result<ForwardOptions> {
        Ok(ForwardOptions {
            feedback: false,
            clients: self.clients.start(1)?,
            generator_cpus: Some(place.generator.cpus.clone()),
            server_cpus: Some(place.server.cpus.clone()),
            shape: self.shape,
            rooms: self.rooms,
            video_kbps: self.video_kbps,
            seconds: self.seconds,
            audio: self.audio,
        })
    }

    /// `1 → 50`, `10 ↔ 10` or `25 × 4 ↔ 4`.
    pub fn shape(&self) -> String {
        match self.rooms {
            1 => self.shape.to_string(),
            rooms => format!("{rooms} × {}", self.shape),
        }
    }

    /// `2,500 kbit/s`, with what else is sent and who receives it.
    pub fn media(&self) -> String {
        let audio = if self.audio { " + audio" } else { "" };
        let clients = match self.clients {
            ClientKind::Lean => "",
            ClientKind::Webrtc => ", webrtc clients",
        };
        let workers = match self.workers {
            None => String::new(),
            Some(Workers { count: 1, .. }) => ", 1 worker".to_owned(),
            Some(Workers { count, cpus: 1 }) => format!(", {count} workers on its CPU"),
            Some(Workers { count, .. }) => format!(", {count} workers"),
        };
        format!("{} kbit/s{audio}{clients}{workers}", thousands(self.video_kbps.into()))
    }
}

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_load_is_in_both_benchmarks_and_runs_most_often() {
        for loads in [forward(false), peers(false)] {
            let main: Vec<_> = loads.iter().filter(|load| load.runs == MAIN.runs).collect();
            assert_eq!(main.len(), 1);
            assert_eq!(
                (main[0].shape().as_str(), main[0].media().as_str()),
                ("1 → 50", "2,500 kbit/s")
            );
        }
    }

    #[test]
    fn names_tell_loads_apart() {
        for loads in [forward(false), peers(false), forward(true), peers(true), scaling(false)] {
            let names: std::collections::HashSet<_> = loads.iter().map(|l| (l.shape(), l.media())).collect();
            assert_eq!(names.len(), loads.len());
        }
    }

    #[test]
    fn thousands_are_parted() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
