//! The rates at which strangers may try things.

use std::net::IpAddr;
use std::time::Duration;

use tianqiao_protocol::ErrorCode;

use crate::config::Config;
use crate::limits::{KeyedBuckets, Rate};
use crate::meetings::{LiveMeeting, now};
use crate::network::Network;
use crate::refusal::Refusal;

/// How often buckets that are full again are forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

pub struct Gates {
    joins: KeyedBuckets<Network>,
    meetings: KeyedBuckets<Network>,
    /// Wrong passcodes by meeting and address.
    passcodes: KeyedBuckets<(String, Network)>,
    /// Wrong passcodes by meeting: guesses from many addresses.
    passcodes_all: KeyedBuckets<String>,
}

impl Gates {
    pub fn new(config: &Config) -> Self {
        let attempts = config.passcode_attempts;
        let attempts_all = config.passcode_attempts_all;
        Self {
            joins: KeyedBuckets::new(Rate::per_second(config.join_rate, config.join_burst)),
            meetings: KeyedBuckets::new(Rate::per_minute(config.meeting_rate, config.meeting_burst)),
            passcodes: KeyedBuckets::new(Rate::per_minute(attempts, attempts)),
            passcodes_all: KeyedBuckets::new(Rate::per_minute(attempts_all, attempts_all)),
        }
    }

    pub fn join(&self, ip: IpAddr) -> Result<(), Refusal> {
        let wait = self.joins.take(Network::host(ip), now());
        wait.map_err(|wait| Refusal::rate_limited("too many joins from your address", wait))
    }

    pub fn create_meeting(&self, ip: IpAddr) -> Result<(), Refusal> {
        let wait = self.meetings.take(Network::host(ip), now());
        wait.map_err(|wait| Refusal::rate_limited("too many meetings from your address", wait))
    }

    /// Checks a passcode; only wrong ones count.
    pub fn passcode(&self, live: &LiveMeeting, ip: IpAddr, given: Option<&str>) -> Result<(), Refusal> {
        let Some(passcode) = &live.passcode else {
            return Ok(());
        };
        let given = given.filter(|given| !given.is_empty());
        let given = given.ok_or_else(|| Refusal::new(ErrorCode::PasscodeRequired, "the meeting has a passcode"))?;
        let key = (live.id.clone(), Network::host(ip));
        let now = now();
        self.passcodes
            .check(key.clone(), now)
            .and_then(|()| self.passcodes_all.check(live.id.clone(), now))
            .map_err(|wait| Refusal::rate_limited("too many wrong passcodes", wait))?;
        if passcode.matches(given) {
            return Ok(());
        }
        // Both have a token, as was just checked; a race with another guess at worst costs one more.
        let _ = self.passcodes.take(key, now);
        let _ = self.passcodes_all.take(live.id.clone(), now);
        Err(Refusal::new(ErrorCode::PasscodeWrong, "the passcode is wrong"))
    }

    /// Keeps the memory of addresses small, for as long as the server runs.
    pub async fn run_sweeps(&self) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            let now = now();
            self.joins.sweep(now);
            self.meetings.sweep(now);
            self.passcodes.sweep(now);
            self.passcodes_all.sweep(now);
        }
    }
}
