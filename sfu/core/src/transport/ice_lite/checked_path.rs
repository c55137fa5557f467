//! One path of a client: what came on it, what may be sent to it, and whether somebody is there who reads it.

use std::time::{Duration, Instant};

use crate::path::Path;

/// So long an answered check lasts (RFC 7675, section 5.1).
pub(super) const PROOF_LIFETIME: Duration = Duration::from_secs(30);
/// Bytes that may go to an address for each one that came from it, before it has proven itself
/// (as RFC 9000, section 8.1).
const AMPLIFICATION: u32 = 3;
/// From a check of ours to its first repetition; doubled each time.
const FIRST_RTO: Duration = Duration::from_millis(100);
/// Checks of one round, the first included; the client's next check begins another round.
const MAX_TRIES: u8 = 6;
/// Between our checks of a path whose client has proven itself (RFC 7675, section 5.1), asked when
/// a check of the client comes anyway …
pub(super) const CONSENT_INTERVAL: Duration = Duration::from_secs(4);
/// … and of our own accord where none comes.
const CONSENT_PATIENCE: Duration = Duration::from_secs(12);

/// What shows that the peer reads what is sent to the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// TCP's handshake.
    Stream,
    /// A DTLS handshake whose flights went to no other path.
    Handshake(Instant),
    /// The answer to a check of ours.
    Answer(Instant),
}

impl Proof {
    /// When it ends unless it is renewed.
    pub fn expires(self) -> Option<Instant> {
        match self {
            Self::Stream => None,
            Self::Handshake(at) | Self::Answer(at) => Some(at + PROOF_LIFETIME),
        }
    }
}

/// A path on which a valid check came.
pub(super) struct CheckedPath {
    pub path: Path,
    pub last_check: Instant,
    /// The last check had USE-CANDIDATE.
    pub nominated: bool,
    /// Of the credentials that the last check was made with.
    pub generation: u32,
    proof: Option<Proof>,
    /// Since it was last unproven.
    received: u32,
    sent: u32,
    /// Of them in checks of ours.
    asked: u32,
    /// The unpredictable part of our check's transaction id, while no answer came.
    question: Option<u64>,
    asked_at: Option<Instant>,
    tries: u8,
    /// As the last answer showed it.
    round_trip: Option<Duration>,
    /// When we ask by ourselves.
    next: Option<Instant>,
}

impl CheckedPath {
    pub fn new(path: Path, now: Instant) -> Self {
        let proof = match path {
            Path::Tcp { .. } => Some(Proof::Stream),
            Path::Udp { .. } => None,
        };
        Self {
            path,
            last_check: now,
            nominated: false,
            generation: 0,
            proof,
            received: 0,
            sent: 0,
            asked: 0,
            question: None,
            asked_at: None,
            tries: 0,
            round_trip: None,
            next: None,
        }
    }

    pub fn is_proven(&self) -> bool {
        self.proof.is_some()
    }

    pub fn proof(&self) -> Option<Proof> {
        self.proof
    }

    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    pub fn on_received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Takes `bytes` out of what may be sent; false where that is used up.
    pub fn take_allowance(&mut self, bytes: usize) -> bool {
        if self.is_proven() {
            return true;
        }
        let sent = u32::try_from(bytes).ok().and_then(|bytes| self.sent.checked_add(bytes));
        match sent.filter(|&sent| sent <= self.received.saturating_mul(AMPLIFICATION)) {
            Some(sent) => {
                self.sent = sent;
                true
            }
            None => false,
        }
    }

    /// As [`Self::take_allowance`], for a check of ours: they leave two thirds to the handshake.
    pub fn take_allowance_to_ask(&mut self, bytes: usize) -> bool {
        if !self.is_proven() && self.asked > self.received || !self.take_allowance(bytes) {
            return false;
        }
        self.asked = self.asked.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        true
    }

    /// Is it time to ask, now that a check of the client came? `in_use`: media goes or shall go there.
    pub fn wants_check(&self, now: Instant, in_use: bool) -> bool {
        let asked = |interval| self.asked_at.is_some_and(|at| now < at + interval);
        match self.proof {
            Some(Proof::Stream) => false,
            Some(Proof::Handshake(_)) => in_use && !asked(CONSENT_INTERVAL),
            Some(Proof::Answer(at)) => in_use && now >= at + CONSENT_INTERVAL && !asked(CONSENT_INTERVAL),
            None => !asked(FIRST_RTO),
        }
    }

    /// The unpredictable part of the transaction id of a check that is sent now.
    pub fn ask(&mut self, now: Instant, random: impl FnOnce() -> u64) -> u64 {
        if self.is_proven() || self.tries >= MAX_TRIES {
            // A consent check is a transaction of its own, one that is repeated is not.
            self.question = None;
            self.tries = 0;
        }
        let question = *self.question.get_or_insert_with(random);
        self.asked_at = Some(now);
        self.tries += 1;
        self.next = match self.proof {
            Some(Proof::Answer(_)) => Some(now + CONSENT_INTERVAL),
            // It may never answer: asked only when a check of its own comes.
            Some(_) => None,
            None => (self.tries < MAX_TRIES).then(|| now + FIRST_RTO * (1 << (self.tries - 1))),
        };
        question
    }

    /// The answer to the check with this transaction came.
    pub fn is_answer(&self, question: u64) -> bool {
        self.question == Some(question)
    }

    pub fn prove(&mut self, proof: Proof) {
        if let Proof::Answer(at) = proof {
            // Which of several was answered cannot be told.
            let asked_at = self.asked_at.filter(|_| self.tries == 1);
            let measured = asked_at.map(|asked_at| at.saturating_duration_since(asked_at));
            self.round_trip = measured.or(self.round_trip);
            self.question = None;
            self.tries = 0;
            self.next = Some(at + CONSENT_PATIENCE);
        }
        self.proof = Some(proof);
    }

    /// Nobody has answered for too long: as one that is new.
    pub fn disprove(&mut self) {
        *self = Self {
            last_check: self.last_check,
            nominated: self.nominated,
            generation: self.generation,
            ..Self::new(self.path, self.last_check)
        };
    }

    /// When [`Self::ask`] is due without a check of the client. A path that is proven and not in
    /// use is left alone.
    pub fn poll_timeout(&self, in_use: bool) -> Option<Instant> {
        self.next.filter(|_| in_use || !self.is_proven())
    }

    pub fn stop_asking(&mut self) {
        self.next = None;
    }
}
