//! The description of a link: a small TOML file with a table for each direction.

mod shipped;
mod value;

use std::io;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::link::Link;

pub use shipped::{NAMES, text};
pub use value::{BitRate, Share};

/// A link of two directions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// In a few words, for reports.
    #[serde(default)]
    pub description: String,
    /// From the server to the client.
    pub down: Direction,
    /// From the client to the server.
    pub up: Direction,
}

/// One direction. What is left out does no harm: no limit, no delay, no loss.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Direction {
    /// Bits per second, IP and UDP headers included; without it there is no limit and no queue.
    pub rate: Option<BitRate>,
    /// A packet that would wait longer than this for its turn, at the rate of the moment, is dropped.
    #[serde(with = "value::duration")]
    pub queue: Duration,
    /// One way, beside the time in the queue and in transmission.
    #[serde(with = "value::duration")]
    pub delay: Duration,
    /// Standard deviation of `delay`, which stays within three of these and above zero. Packets keep their order.
    #[serde(with = "value::duration")]
    pub jitter: Duration,
    /// Share of packets lost, each by itself.
    pub loss: Share,
    /// Share of packets lost in bursts, beside `loss`.
    pub burst_loss: Share,
    /// Mean length of such a burst, packets.
    pub burst_length: f64,
    /// Share of packets that are held back, so that later ones overtake them.
    pub reorder: Share,
    /// How long they are held back.
    #[serde(with = "value::duration")]
    pub reorder_by: Duration,
    /// When nothing comes through.
    pub outages: Vec<Outage>,
    /// What changes with time, in order.
    pub trace: Vec<Step>,
    /// Trace and outages begin anew after this time; without it they happen once.
    #[serde(with = "value::optional_duration")]
    pub repeat: Option<Duration>,
}

/// A time in which the link is dead: what is sent then, or would leave the queue then, is lost.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Since the link began.
    #[serde(with = "value::duration")]
    pub at: Duration,
    #[serde(rename = "for", with = "value::duration")]
    pub length: Duration,
}

/// What is given here holds from `at` on, until a later step gives something else.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Since the link began.
    #[serde(with = "value::duration")]
    pub at: Duration,
    /// `0kbps` halts the queue, whose length in bytes then stays what it was.
    pub rate: Option<BitRate>,
    #[serde(default, with = "value::optional_duration")]
    pub delay: Option<Duration>,
    #[serde(default, with = "value::optional_duration")]
    pub jitter: Option<Duration>,
    pub loss: Option<Share>,
    pub burst_loss: Option<Share>,
}

/// Why a profile is none.
#[derive(Debug, Error)]
pub enum ProfileError {
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    #[error("{direction}: {what}")]
    Nonsense {
        direction: &'static str,
        what: &'static str,
    },
    #[error("{0}: {1}")]
    File(String, io::Error),
    #[error("there is no profile {0:?}; shipped are {names}", names = NAMES.join(", "))]
    Unknown(String),
}

impl Profile {
    /// One of [`NAMES`].
    pub fn shipped(name: &str) -> Result<Self, ProfileError> {
        text(name)
            .ok_or_else(|| ProfileError::Unknown(name.to_owned()))?
            .parse()
    }

    /// One of [`NAMES`], or a file, whose name ends in `.toml`.
    pub fn load(name: &str) -> Result<Self, ProfileError> {
        if !name.ends_with(".toml") {
            return Self::shipped(name);
        }
        let text = std::fs::read_to_string(name).map_err(|error| ProfileError::File(name.to_owned(), error))?;
        text.parse()
    }

    /// The same in both directions.
    pub fn symmetric(direction: Direction) -> Self {
        Self {
            description: String::new(),
            down: direction.clone(),
            up: direction,
        }
    }

    /// The link from the server to the client.
    pub fn down_link(&self, seed: u64) -> Link {
        Link::new(&self.down, seed)
    }

    /// The link from the client to the server, with other dice than the one down.
    pub fn up_link(&self, seed: u64) -> Link {
        Link::new(&self.up, !seed)
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let profile: Self = toml::from_str(text)?;
        for (direction, of) in [("down", &profile.down), ("up", &profile.up)] {
            of.check().map_err(|what| ProfileError::Nonsense { direction, what })?;
        }
        Ok(profile)
    }
}

impl Direction {
    pub(crate) fn assert_sense(&self) {
        if let Err(what) = self.check() {
            panic!("{what}");
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        self.check_losses()?;
        self.check_rates()?;
        self.check_times()
    }

    fn check_losses(&self) -> Result<(), &'static str> {
        let changed = self.trace.iter().filter_map(|step| step.burst_loss);
        let worst = changed.fold(self.burst_loss.0, |worst, share| worst.max(share.0));
        if worst > 0.0 && self.burst_length < 1.0 {
            return Err("burst_loss needs a burst_length of 1 or more");
        }
        // There is a packet between any two bursts.
        if worst > 0.0 && worst > self.burst_length / (self.burst_length + 1.0) {
            return Err("burst_loss needs a greater burst_length");
        }
        if self.reorder.0 > 0.0 && self.reorder_by.is_zero() {
            return Err("reorder needs reorder_by");
        }
        Ok(())
    }

    fn check_rates(&self) -> Result<(), &'static str> {
        let mut rates = self.trace.iter().filter_map(|step| Some((step.at, step.rate?)));
        if self.rate.is_none() && rates.clone().next().is_some() {
            return Err("a trace that changes the rate needs one to begin with");
        }
        if self.rate == Some(BitRate(0)) {
            return Err("a rate of zero is for the steps of a trace");
        }
        let ends_at_zero = rates.clone().next_back().is_some_and(|(_, rate)| rate.0 == 0);
        if self.repeat.is_none() && ends_at_zero {
            return Err("a rate of zero must end");
        }
        // Before the first step the first rate holds, unless that step comes at once.
        if rates.clone().next().is_some_and(|(at, _)| at.is_zero()) && rates.all(|(_, rate)| rate.0 == 0) {
            return Err("a rate of zero must end");
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), &'static str> {
        let steps = || self.trace.iter().map(|step| step.at);
        if !steps().is_sorted_by(|before, after| before < after) {
            return Err("the steps of a trace must come in the order of their times");
        }
        let Some(repeat) = self.repeat else { return Ok(()) };
        let outages_end = self.outages.iter().map(|outage| outage.at + outage.length);
        if repeat.is_zero() || steps().any(|at| at >= repeat) || outages_end.max() > Some(repeat) {
            return Err("trace and outages must end before they repeat");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
