//! The ICE-lite agent of one connection (RFC 8445, sections 2.5 and 7.3): answers checks and tells which
//! path the client nominated. A path over UDP has to answer a check of ours before media goes there: a
//! source address can be forged, so a client could send media to somebody else. Consent is RFC 7675's.

mod checked_path;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use self::checked_path::{CheckedPath, Proof};
use super::stun::{
    BindingRequest, Class, Embedded, IceRole, IntegrityKey, MAX_ACKS, Message, TransactionId, binding_error,
    binding_success_with,
};
use super::ufrag;
use crate::drop_reason::DropReason;
use crate::negotiated::IceCredentials;
use crate::path::Path;
use crate::units::ConnectionId;

/// No valid check for so long ends the session: an outage of 30 s, which ends media (RFC 7675, section 5.1) but no meeting,
/// and what a client needs to come back, be it by an ICE restart.
pub const CONSENT_TIMEOUT: Duration = Duration::from_secs(40);
/// The same for a session that never got a valid check, and from an ICE restart on: the answer may be under way over a slow
/// link for many seconds.
pub const FIRST_CHECK_TIMEOUT: Duration = Duration::from_secs(30);
/// A selected path that got no check with USE-CANDIDATE for so long gives way to a repeated
/// nomination elsewhere. Above the 2.5 s at which libwebrtc checks the pair that it uses.
const NOMINATION_LIFETIME: Duration = Duration::from_secs(4);
/// Paths that are remembered; of more, the one checked longest ago is forgotten.
pub const MAX_PATHS: usize = 16;
/// Messages of ours that wait to be polled; further ones are dropped, as the network might.
const MAX_TRANSMITS: usize = 2 * MAX_PATHS;
/// Priority of our checks: of a peer-reflexive candidate (RFC 8445, section 5.1.2.1), highest local
/// preference, component 1.
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// What a STUN packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A valid check of the client.
    Check,
    /// An authentic request that is no valid check; it is answered with an error.
    Refused,
    /// The answer to a check of ours.
    Answer,
}

/// Polled after every input: [`Self::poll_transmit`] and [`Self::take_forgotten`].
pub struct IceLite {
    current: Credentials,
    /// Those before a restart, until the first check with the current ones.
    previous: Option<Credentials>,
    generation: u32,
    tie_breaker: u64,
    /// At most [`MAX_PATHS`].
    paths: Vec<CheckedPath>,
    /// The path that the client wants.
    wanted: Option<Selected>,
    /// The path that is sent on: the wanted one, once it is proven or while none is.
    selected: Option<Path>,
    /// The client answers checks, so silence means something.
    peer_answers: bool,
    last_check: Option<Instant>,
    /// When the session or its last ICE restart began.
    started: Instant,
    transmits: VecDeque<(Path, Vec<u8>)>,
    forgotten: Option<Path>,
    unanswered: Option<Unanswered>,
    /// What our messages say of DTLS inside STUN.
    acks: Option<ArrayVec<u32, MAX_ACKS>>,
}

/// A valid check between [`IceLite::receive`] and [`IceLite::answer`].
struct Unanswered {
    path: Path,
    transaction: TransactionId,
    is_current: bool,
    wants_check: bool,
}

struct Credentials {
    ufrag: String,
    key: IntegrityKey,
    remote: IceCredentials,
}

impl Credentials {
    fn new(local: IceCredentials, remote: IceCredentials) -> Self {
        Self {
            key: IntegrityKey::new(&local.pwd),
            ufrag: local.ufrag,
            remote,
        }
    }
}

#[derive(Clone, Copy)]
struct Selected {
    path: Path,
    /// When the last check with USE-CANDIDATE came; `None` for a path that is used before any was
    /// nominated (RFC 8445, section 12.1, lets both sides send on any valid pair).
    nominated: Option<Instant>,
}

impl IceLite {
    pub fn new(local: IceCredentials, remote: IceCredentials, now: Instant) -> Self {
        Self {
            current: Credentials::new(local, remote),
            previous: None,
            generation: 0,
            tie_breaker: rand::random(),
            paths: Vec::new(),
            wanted: None,
            selected: None,
            peer_answers: false,
            last_check: None,
            started: now,
            transmits: VecDeque::new(),
            forgotten: None,
            unanswered: None,
            acks: None,
        }
    }

    /// The path to send the handshake on: the nominated one, before that any with a valid check.
    pub fn selected(&self) -> Option<Path> {
        self.selected
    }

    /// The path to send media on: the selected one, once somebody there has proven to read it.
    pub fn proven(&self) -> Option<Path> {
        self.selected.filter(|&path| self.is_proven(path))
    }

    /// Of the selected path, as far as it was measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.find(self.selected?)?.round_trip()
    }

    /// A valid check came on `path` and it was not forgotten since.
    pub fn is_valid(&self, path: Path) -> bool {
        self.paths.iter().any(|known| known.path == path)
    }

    /// The peer has shown that it reads what is sent to `path`.
    pub fn is_proven(&self, path: Path) -> bool {
        self.find(path).is_some_and(CheckedPath::is_proven)
    }

    /// Paths that [`Self::is_valid`] holds for.
    pub fn paths(&self) -> impl Iterator<Item = Path> + '_ {
        self.paths.iter().map(|known| known.path)
    }

    /// A path that made room for another since the last call.
    pub fn take_forgotten(&mut self) -> Option<Path> {
        self.forgotten.take()
    }

    /// A valid check ever came.
    pub fn is_checked(&self) -> bool {
        self.last_check.is_some()
    }

    /// When the session ends unless a valid check comes before.
    pub fn deadline(&self) -> Instant {
        let first = self.started + FIRST_CHECK_TIMEOUT;
        self.last_check.map_or(first, |last| first.max(last + CONSENT_TIMEOUT))
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let checks = self
            .paths
            .iter()
            .filter_map(|known| known.poll_timeout(self.is_in_use(known.path)));
        checks.chain(self.expiry()).min()
    }

    /// Checks of ours that are due; consent that has ended.
    pub fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.paths.len() {
            let known = &self.paths[index];
            let due = known.poll_timeout(self.is_in_use(known.path));
            if due.is_some_and(|due| due <= now) {
                self.ask(now, index);
            }
        }
        self.settle(now);
    }

    pub fn poll_transmit(&mut self) -> Option<(Path, Vec<u8>)> {
        let transmit = self.transmits.pop_front();
        if transmit.is_none() {
            self.transmits = VecDeque::new();
        }
        transmit
    }

    /// May so many bytes go to `path` now? What may is counted as sent: until an address has proven
    /// itself it gets three times what came from it at most.
    pub fn take_allowance(&mut self, path: Path, bytes: usize) -> bool {
        self.find_mut(path).is_some_and(|known| known.take_allowance(bytes))
    }

    /// New credentials (RFC 8445, section 9). The old ones and the selected path stay until checks with
    /// the new ones come.
    pub fn restart(&mut self, local: IceCredentials, remote: IceCredentials, now: Instant) {
        self.started = now;
        self.generation = self.generation.wrapping_add(1);
        let current = Credentials::new(local, remote);
        self.previous = Some(std::mem::replace(&mut self.current, current));
    }

    /// Handles a STUN packet.
    ///
    /// # Errors
    /// Why it was dropped: nothing that lacks a valid MESSAGE-INTEGRITY is answered.
    pub fn handle_stun(&mut self, now: Instant, path: Path, packet: &[u8]) -> Result<Received, DropReason> {
        let (received, _) = self.receive(now, path, packet)?;
        self.answer(now, None);
        Ok(received)
    }

    /// As [`Self::handle_stun`], but a check is not answered before [`Self::answer`], which has to follow: the answer may
    /// carry what comes of the DTLS that was inside.
    ///
    /// # Errors
    /// As of [`Self::handle_stun`].
    pub fn receive<'a>(
        &mut self,
        now: Instant,
        path: Path,
        packet: &'a [u8],
    ) -> Result<(Received, Embedded<'a>), DropReason> {
        let mut message = Message::parse(packet)?;
        let received = match message.class {
            Class::Request => self.on_request(now, path, &message, packet.len()),
            Class::Success => self.on_success(now, path, &message),
            Class::Error | Class::Indication => Err(DropReason::StunUnexpected),
        }?;
        Ok((received, std::mem::take(&mut message.embedded)))
    }

    /// Answers the check that [`Self::receive`] took, if it did, with `dtls` inside where the address may get so much;
    /// true if so.
    pub fn answer(&mut self, now: Instant, dtls: Option<&[u8]>) -> bool {
        let Some(check) = self.unanswered.take() else {
            return false;
        };
        let mut response = self.response(&check, dtls);
        let mut has_dtls = dtls.is_some();
        let mut may_go = self.take_allowance(check.path, response.len());
        if !may_go && has_dtls {
            has_dtls = false;
            response = self.response(&check, None);
            may_go = self.take_allowance(check.path, response.len());
        }
        if may_go {
            self.transmit(check.path, response);
        }
        if check.wants_check
            && let Some(index) = self.paths.iter().position(|known| known.path == check.path)
        {
            self.ask(now, index);
        }
        self.settle(now);
        may_go && has_dtls
    }

    fn response(&self, check: &Unanswered, dtls: Option<&[u8]>) -> Vec<u8> {
        let credentials = match &self.previous {
            Some(previous) if !check.is_current => previous,
            _ => &self.current,
        };
        let embedded = Embedded {
            dtls,
            acks: self.acks.clone(),
        };
        binding_success_with(check.transaction, check.path.remote(), &embedded, &credentials.key)
    }

    /// From now on our checks and answers carry these; `None`: nothing of the kind.
    pub fn set_acks(&mut self, acks: Option<ArrayVec<u32, MAX_ACKS>>) {
        self.acks = acks;
    }

    /// The client sends its DTLS handshake on `path`: before any nomination that is where it is
    /// answered.
    pub fn on_dtls(&mut self, now: Instant, path: Path, bytes: usize) {
        let Some(known) = self.find_mut(path) else { return };
        known.on_received(bytes);
        if self.wanted.is_none_or(|wanted| wanted.nominated.is_none()) {
            self.wanted = Some(Selected { path, nominated: None });
            self.settle(now);
        }
    }

    /// A handshake was finished on `path`, and no flight of it has gone anywhere else.
    pub fn on_handshake(&mut self, now: Instant, path: Path) {
        if let Some(known) = self.find_mut(path)
            && !known.is_proven()
        {
            known.prove(Proof::Handshake(now));
            self.settle(now);
        }
    }

    /// Forgets a path whose TCP stream ended. The path checked last takes its place.
    pub fn on_path_closed(&mut self, now: Instant, path: Path) {
        self.paths.retain(|known| known.path != path);
        if self.wanted.is_some_and(|wanted| wanted.path == path) {
            let latest = self.paths.iter().max_by_key(|known| known.last_check);
            self.wanted = latest.map(|latest| Selected {
                path: latest.path,
                nominated: None,
            });
        }
        if self.selected == Some(path) {
            self.selected = None;
        }
        self.settle(now);
    }

    fn on_request(
        &mut self,
        now: Instant,
        path: Path,
        message: &Message<'_>,
        bytes: usize,
    ) -> Result<Received, DropReason> {
        let ufrag = message.local_ufrag().ok_or(DropReason::StunUnknownUser)?;
        let is_current = ufrag == self.current.ufrag;
        let credentials = if is_current {
            &self.current
        } else {
            let previous = self.previous.as_ref().filter(|previous| previous.ufrag == ufrag);
            previous.ok_or(DropReason::StunUnknownUser)?
        };
        if !message.is_authentic(&credentials.key) {
            return Err(DropReason::StunIntegrity);
        }
        if let Some(response) = refusal(message, &credentials.key) {
            // Not longer than twice the shortest authentic request, so no path is needed to count it for.
            self.transmit(path, response);
            return Ok(Received::Refused);
        }
        if is_current && self.previous.take().is_some() {
            self.forget_nominations();
        }
        let generation = self.generation.wrapping_sub(u32::from(!is_current));
        self.expire(now);
        self.on_check(now, path, message.use_candidate);
        let in_use = self.is_in_use(path);
        let known = self.remember(now, path);
        known.generation = generation;
        known.on_received(bytes);
        let wants_check = known.wants_check(now, in_use);
        self.unanswered = Some(Unanswered {
            path,
            transaction: message.transaction,
            is_current,
            wants_check,
        });
        self.settle(now);
        Ok(Received::Check)
    }

    /// Only with the transaction id, which nobody knows who did not get the check, and over the path
    /// that the check went to.
    fn on_success(&mut self, now: Instant, path: Path, message: &Message<'_>) -> Result<Received, DropReason> {
        let (connection, question) = split_transaction(message.transaction);
        if connection != self.transaction_prefix() {
            return Err(DropReason::StunUnexpected);
        }
        let known = self.find(path).filter(|known| known.is_answer(question));
        let generation = known.ok_or(DropReason::StunUnexpected)?.generation;
        let remote = self.remote_of(generation).ok_or(DropReason::StunUnexpected)?;
        if !message.is_authentic(&IntegrityKey::new(&remote.pwd)) {
            return Err(DropReason::StunIntegrity);
        }
        self.peer_answers = true;
        if let Some(known) = self.find_mut(path) {
            known.prove(Proof::Answer(now));
        }
        // Who restarts ICE has mostly lost the path from before: another one that is valid need not wait for a nomination.
        let is_older = |wanted: Selected| {
            let known = self.find(wanted.path);
            wanted.nominated.is_none() && known.is_none_or(|known| known.generation != self.generation)
        };
        if generation == self.generation && self.wanted.is_some_and(is_older) {
            self.wanted = Some(Selected { path, nominated: None });
        }
        self.settle(now);
        Ok(Received::Answer)
    }

    /// Sends a check of ours: a triggered one (RFC 8445, section 7.3.1.4), or one for consent.
    fn ask(&mut self, now: Instant, index: usize) {
        let prefix = self.transaction_prefix();
        let known = &self.paths[index];
        let credentials = match self.previous.as_ref() {
            _ if known.generation == self.generation => &self.current,
            Some(previous) => previous,
            None => return self.paths[index].stop_asking(),
        };
        let username = format!("{}:{}", credentials.remote.ufrag, credentials.ufrag);
        let key = IntegrityKey::new(&credentials.remote.pwd);
        let known = &mut self.paths[index];
        let question = known.ask(now, rand::random);
        let request = BindingRequest {
            transaction: join_transaction(prefix, question),
            username: &username,
            priority: PRIORITY,
            role: IceRole::Controlled(self.tie_breaker),
            use_candidate: false,
        };
        let embedded = Embedded {
            dtls: None,
            acks: self.acks.clone(),
        };
        let (path, request) = (known.path, request.write_with(&embedded, &key));
        if known.take_allowance_to_ask(request.len()) {
            self.transmit(path, request);
        }
    }

    /// Ends proofs that are too old and sends on the wanted path, if it is proven or nothing else is.
    fn settle(&mut self, now: Instant) {
        self.expire(now);
        let Some(wanted) = self.wanted.map(|wanted| wanted.path) else {
            self.selected = None;
            return;
        };
        if self.is_proven(wanted) || self.proven().is_none() {
            self.selected = Some(wanted);
        }
    }

    fn expire(&mut self, now: Instant) {
        let (selected, peer_answers) = (self.selected, self.peer_answers);
        for known in &mut self.paths {
            let lasts = is_lasting(known, selected, peer_answers);
            if !lasts && known.proof().and_then(Proof::expires).is_some_and(|at| at <= now) {
                known.disprove();
            }
        }
    }

    /// When the consent of the selected path ends, unless it is renewed.
    fn expiry(&self) -> Option<Instant> {
        let known = self.find(self.selected?)?;
        if is_lasting(known, self.selected, self.peer_answers) {
            return None;
        }
        known.proof()?.expires()
    }

    /// Media goes or shall go there.
    fn is_in_use(&self, path: Path) -> bool {
        self.selected == Some(path) || self.wanted.is_some_and(|wanted| wanted.path == path)
    }

    fn remote_of(&self, generation: u32) -> Option<&IceCredentials> {
        if generation == self.generation {
            return Some(&self.current.remote);
        }
        self.previous.as_ref().map(|previous| &previous.remote)
    }

    /// Names the connection, by which a worker finds who asked; the rest of the id is random.
    fn transaction_prefix(&self) -> u32 {
        ufrag::parse(&self.current.ufrag).map_or(0, |(_, connection)| connection.0)
    }

    fn find(&self, path: Path) -> Option<&CheckedPath> {
        self.paths.iter().find(|known| known.path == path)
    }

    fn find_mut(&mut self, path: Path) -> Option<&mut CheckedPath> {
        self.paths.iter_mut().find(|known| known.path == path)
    }

    fn transmit(&mut self, path: Path, data: Vec<u8>) {
        if self.transmits.len() < MAX_TRANSMITS {
            self.transmits.push_back((path, data));
        }
    }

    /// Nominations of the generation before an ICE restart say nothing about this one.
    fn forget_nominations(&mut self) {
        for known in &mut self.paths {
            known.nominated = false;
        }
        if let Some(wanted) = &mut self.wanted {
            wanted.nominated = None;
        }
    }

    fn on_check(&mut self, now: Instant, path: Path, use_candidate: bool) {
        self.last_check = Some(now);
        let known = self.remember(now, path);
        if !use_candidate {
            known.nominated = false;
            self.wanted.get_or_insert(Selected { path, nominated: None });
            return;
        }
        let repeated = known.nominated;
        if self.is_displaced_by(now, path, repeated) {
            self.remember(now, path).nominated = true;
            self.wanted = Some(Selected {
                path,
                nominated: Some(now),
            });
        }
    }

    /// Does a check with USE-CANDIDATE on `path` make it the selected one? Of several nominations the
    /// latest counts. But a client that nominates aggressively (RFC 5245) repeats USE-CANDIDATE on
    /// every pair, so a repeated one does not move us while the selected path has its own, and
    /// neither does TCP in place of UDP.
    fn is_displaced_by(&self, now: Instant, path: Path, repeated: bool) -> bool {
        let Some(Selected {
            path: selected,
            nominated: Some(nominated),
        }) = self.wanted
        else {
            return true;
        };
        let is_fresh = now.saturating_duration_since(nominated) < NOMINATION_LIFETIME;
        let to_tcp = matches!((selected, path), (Path::Udp { .. }, Path::Tcp { .. }));
        selected == path || !is_fresh || !(repeated || to_tcp)
    }

    fn remember(&mut self, now: Instant, path: Path) -> &mut CheckedPath {
        let at = self.paths.iter().position(|known| known.path == path);
        let at = at.unwrap_or_else(|| {
            self.make_room();
            self.paths.push(CheckedPath::new(path, now));
            self.paths.len() - 1
        });
        self.paths[at].last_check = now;
        &mut self.paths[at]
    }

    /// Those that nobody has answered on go first.
    fn make_room(&mut self) {
        if self.paths.len() < MAX_PATHS {
            return;
        }
        let others = self.paths.iter().enumerate();
        let others = others.filter(|(_, known)| !self.is_in_use(known.path));
        if let Some((oldest, _)) = others.min_by_key(|(_, known)| (known.is_proven(), known.last_check)) {
            self.forgotten = Some(self.paths.swap_remove(oldest).path);
        }
    }
}

/// A proof that no time ends: of the path in use of a client that has never answered a check. It was there
/// for the handshake, and has to be seen by its own checks ([`CONSENT_TIMEOUT`]).
fn is_lasting(known: &CheckedPath, selected: Option<Path>, peer_answers: bool) -> bool {
    let by_handshake = matches!(known.proof(), Some(Proof::Handshake(_)));
    by_handshake && !peer_answers && selected == Some(known.path)
}

/// The connection that asked and the random part.
fn split_transaction(id: TransactionId) -> (u32, u64) {
    let (connection, question) = id.split_first_chunk().expect("12 bytes are more than four");
    let question = question.try_into().expect("eight of 12 bytes are left");
    (u32::from_be_bytes(*connection), u64::from_be_bytes(question))
}

fn join_transaction(connection: u32, question: u64) -> TransactionId {
    let mut id = [0; 12];
    id[..4].copy_from_slice(&connection.to_be_bytes());
    id[4..].copy_from_slice(&question.to_be_bytes());
    id
}

/// The connection that a response answers, as far as it is one to a check of ours.
pub fn asking_connection(transaction: TransactionId) -> ConnectionId {
    ConnectionId(split_transaction(transaction).0)
}

/// The error response to an authentic request that is no valid check.
fn refusal(message: &Message, key: &IntegrityKey) -> Option<Vec<u8>> {
    if !message.unknown.is_empty() {
        let response = binding_error(message.transaction, 420, "Unknown Attribute", &message.unknown, key);
        return Some(response);
    }
    // RFC 8445, section 7.3.1.1: a lite agent is always the controlled one, whatever the tie-breakers.
    if let Some(IceRole::Controlled(_)) = message.role {
        return Some(binding_error(message.transaction, 487, "Role Conflict", &[], key));
    }
    None
}

#[cfg(test)]
mod tests;
