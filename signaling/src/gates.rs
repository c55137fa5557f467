//! The rates at which strangers may try things, and what a try costs beyond them.
//!
//! Guesses of codes and passcodes are tested for nothing up to a rate by address, and for passcodes by meeting too. Beyond
//! it a guess is tested only with a proof of work, so that guessing is dear while who knows the code or the passcode always
//! gets in. Only wrong guesses count.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tianqiao_protocol::ErrorCode;

use crate::config::Config;
use crate::limits::{Excess, KeyedBuckets, KeyedMistakes, Rate};
use crate::meetings::{LiveMeeting, Meetings, now};
use crate::network::Network;
use crate::proof::Challenges;
use crate::refusal::Refusal;

/// An IPv6 customer has 256 times what counts as an address; all of it together may do this many times as much as one.
const SITE_FACTOR: u32 = 8;

/// Somebody names a meeting, and perhaps its passcode.
pub struct Attempt<'a> {
    pub ip: IpAddr,
    /// The meeting's id or code, as given.
    pub meeting: &'a str,
    pub passcode: Option<&'a str>,
    /// The header `tianqiao-proof`.
    pub solution: Option<&'a str>,
}

pub struct Gates {
    joins: NetworkBuckets,
    meetings: NetworkBuckets,
    /// Codes of no meeting, and wrong API keys.
    misses: NetworkMistakes<()>,
    /// Wrong passcodes by meeting and address.
    passcodes: NetworkMistakes<Arc<str>>,
    /// Wrong passcodes by meeting: guesses from many addresses.
    passcodes_all: KeyedMistakes<Arc<str>>,
    challenges: Challenges,
    min_bits: u32,
    max_bits: u32,
}

impl Gates {
    /// `proofs`: the key of challenges that several instances share.
    pub fn new(config: &Config, proofs: Option<[u8; 32]>) -> Self {
        Self {
            joins: NetworkBuckets::new(Rate::per_second(config.join_rate, config.join_burst)),
            meetings: NetworkBuckets::new(Rate::per_minute(config.meeting_rate, config.meeting_burst)),
            misses: NetworkMistakes::new(config.lookup_misses),
            passcodes: NetworkMistakes::new(config.passcode_attempts),
            passcodes_all: KeyedMistakes::new(config.passcode_attempts_all),
            challenges: match proofs {
                Some(key) => Challenges::shared(key, now()),
                None => Challenges::new(now()),
            },
            min_bits: config.proof_bits,
            max_bits: config.max_proof_bits.max(config.proof_bits),
        }
    }

    pub fn join(&self, ip: IpAddr) -> Result<(), Refusal> {
        let wait = self.joins.take(ip, now());
        wait.map_err(|wait| Refusal::rate_limited("too many joins from your address", wait))
    }

    pub fn create_meeting(&self, ip: IpAddr) -> Result<(), Refusal> {
        let wait = self.meetings.take(ip, now());
        wait.map_err(|wait| Refusal::rate_limited("too many meetings from your address", wait))
    }

    /// Finds a meeting. An address that has guessed too much pays for each further look-up of a code, found or not:
    /// otherwise the limit itself would tell which codes are good. Ids cannot be guessed and cost nothing.
    pub fn find(&self, meetings: &Meetings, attempt: &Attempt) -> Result<Arc<LiveMeeting>, Refusal> {
        if !is_code(attempt.meeting) {
            return meetings.find(attempt.meeting);
        }
        self.look_up(attempt)?;
        let found = meetings.find(attempt.meeting);
        if found.is_err() {
            self.misses.add((), attempt.ip, now());
        }
        found
    }

    /// What [`Self::find`] asks for a code before it says whether there is one.
    pub fn look_up(&self, attempt: &Attempt) -> Result<(), Refusal> {
        if !is_code(attempt.meeting) {
            return Ok(());
        }
        let now = now();
        self.pay(now, attempt, self.misses.excess(&(), attempt.ip, now))
    }

    /// Checks a passcode. A guess beyond the free ones is not looked at without its proof of work.
    pub fn passcode(&self, live: &LiveMeeting, attempt: &Attempt) -> Result<(), Refusal> {
        let Some(passcode) = &live.passcode else {
            return Ok(());
        };
        let given = attempt.passcode.filter(|given| !given.is_empty());
        let given = given.ok_or_else(|| Refusal::new(ErrorCode::PasscodeRequired, "the meeting has a passcode"))?;
        let id: Arc<str> = live.id.as_str().into();
        let now = now();
        let own = self.passcodes.excess(&id, attempt.ip, now);
        self.pay(now, attempt, Excess::worse(own, self.passcodes_all.excess(&id, now)))?;
        if passcode.matches(given) {
            return Ok(());
        }
        self.passcodes.add(id.clone(), attempt.ip, now);
        self.passcodes_all.add(id, now);
        Err(Refusal::new(ErrorCode::PasscodeWrong, "the passcode is wrong"))
    }

    /// Lets an address that has shown too many wrong API keys wait.
    pub fn api_key(&self, ip: IpAddr, is_good: impl FnOnce() -> bool) -> Result<(), Refusal> {
        let now = now();
        if let Some(excess) = self.misses.excess(&(), ip, now) {
            return Err(Refusal::rate_limited(
                "too many wrong keys from your address",
                excess.wait,
            ));
        }
        if is_good() {
            return Ok(());
        }
        self.misses.add((), ip, now);
        Err(Refusal::api_key_required())
    }

    fn pay(&self, now: Instant, attempt: &Attempt, excess: Option<Excess>) -> Result<(), Refusal> {
        let Some(excess) = excess else {
            return Ok(());
        };
        let bits = self.min_bits + excess.factor.max(1.0).log2() as u32;
        let bits = bits.min(self.max_bits);
        let subject = format!("{:?} {}", Network::host(attempt.ip), attempt.meeting);
        let solved = attempt.solution.is_some_and(|solution| {
            let passcode = attempt.passcode.unwrap_or_default();
            self.challenges.is_solved(now, &subject, bits, solution, passcode)
        });
        if solved {
            return Ok(());
        }
        let work = self.challenges.issue(now, &subject, bits);
        Err(Refusal::proof_required(work, excess.wait))
    }

    /// Forgets addresses that have nothing to make good.
    pub fn sweep(&self, now: Instant) {
        for buckets in [&self.joins, &self.meetings] {
            buckets.hosts.sweep(now);
            buckets.sites.sweep(now);
        }
        self.misses.sweep(now);
        self.passcodes.sweep(now);
        self.passcodes_all.sweep(now);
    }
}

/// What can be guessed.
fn is_code(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b == b' ' || b == b'-')
}

/// Buckets by host, and larger ones by site.
struct NetworkBuckets {
    hosts: KeyedBuckets<Network>,
    sites: KeyedBuckets<Network>,
}

impl NetworkBuckets {
    fn new(rate: Rate) -> Self {
        Self {
            hosts: KeyedBuckets::new(rate),
            sites: KeyedBuckets::new(rate.times(f64::from(SITE_FACTOR))),
        }
    }

    fn take(&self, ip: IpAddr, now: Instant) -> Result<(), Duration> {
        let (host, site) = (Network::host(ip), Network::site(ip));
        if site != host {
            self.sites.check(site, now)?;
        }
        self.hosts.take(host, now)?;
        if site != host {
            // It has a token, as was just checked; a race at worst costs one more.
            let _ = self.sites.take(site, now);
        }
        Ok(())
    }
}

/// Mistakes by host, and by site where a site has many hosts.
struct NetworkMistakes<K> {
    hosts: KeyedMistakes<(K, Network)>,
    sites: KeyedMistakes<(K, Network)>,
}

impl<K: Eq + Hash + Clone> NetworkMistakes<K> {
    fn new(free_per_minute: u32) -> Self {
        Self {
            hosts: KeyedMistakes::new(free_per_minute),
            sites: KeyedMistakes::new(free_per_minute.saturating_mul(SITE_FACTOR)),
        }
    }

    fn excess(&self, key: &K, ip: IpAddr, now: Instant) -> Option<Excess> {
        let host = self.hosts.excess(&(key.clone(), Network::host(ip)), now);
        Excess::worse(host, self.sites.excess(&(key.clone(), Network::site(ip)), now))
    }

    fn add(&self, key: K, ip: IpAddr, now: Instant) {
        let (host, site) = (Network::host(ip), Network::site(ip));
        if site != host {
            self.sites.add((key.clone(), site), now);
        }
        self.hosts.add((key, host), now);
    }

    fn sweep(&self, now: Instant) {
        self.hosts.sweep(now);
        self.sites.sweep(now);
    }
}
