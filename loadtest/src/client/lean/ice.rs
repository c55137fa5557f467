//! ICE of a client with one socket towards one candidate (RFC 8445): checks until one is answered,
//! then consent (RFC 7675).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use tianqiao_sfu_core::negotiated::IceCredentials;
use tianqiao_sfu_core::transport::stun::{
    BindingRequest, Class, IceRole, IntegrityKey, Message, TransactionId, binding_error, binding_success,
};

use super::send_queue::SendQueue;

/// Until the first answer, doubling up to [`MAX_RTO`] (RFC 8445, section 14.3, as for a known short path).
const FIRST_RTO: Duration = Duration::from_millis(100);
const MAX_RTO: Duration = Duration::from_millis(800);
/// Between consent checks, times 0.8 to 1.2 (RFC 7675, section 5.1).
const CONSENT_INTERVAL: Duration = Duration::from_secs(5);
/// Without an answer for that long nobody is there (RFC 7675, section 5.1).
const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Checks whose answers are still taken.
const OUTSTANDING: u32 = 16;
/// Type preference of a host candidate, highest local preference, component 1 (RFC 8445, section 5.1.2.1).
const PRIORITY: u32 = (126 << 24) | (65535 << 8) | 255;
const ROLE_CONFLICT: u16 = 487;
/// Round trip before one was measured.
const INITIAL_RTT: Duration = Duration::from_millis(100);
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

pub(super) struct Ice {
    local: IceCredentials,
    local_key: IntegrityKey,
    remote: Option<Remote>,
    is_controlling: bool,
    tie_breaker: u64,
    next_check: Option<Instant>,
    /// When a missing answer ends the connection.
    deadline: Option<Instant>,
    is_valid: bool,
    rto: Duration,
    /// First 8 bytes of all transaction ids since the last restart; the others count the checks.
    transactions: [u8; 8],
    checks: u32,
    last_check: Option<Instant>,
    rtt: Duration,
}

struct Remote {
    credentials: IceCredentials,
    key: IntegrityKey,
    username: String,
    addr: SocketAddr,
}

/// What came of a STUN message or of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IceEvent {
    /// The first answer to a check.
    Valid,
    /// Nobody answers.
    Failed,
}

impl Ice {
    pub fn new() -> Self {
        let local = new_credentials();
        Self {
            local_key: IntegrityKey::new(&local.pwd),
            local,
            remote: None,
            is_controlling: true,
            tie_breaker: rand::random(),
            next_check: None,
            deadline: None,
            is_valid: false,
            rto: FIRST_RTO,
            transactions: rand::random(),
            checks: 0,
            last_check: None,
            rtt: INITIAL_RTT,
        }
    }

    pub fn local(&self) -> &IceCredentials {
        &self.local
    }

    /// New credentials for the next offer.
    pub fn renew(&mut self) {
        self.local = new_credentials();
        self.local_key = IntegrityKey::new(&self.local.pwd);
    }

    /// Takes the other side's credentials and address. Begins anew where they are others than before.
    pub fn set_remote(&mut self, now: Instant, credentials: IceCredentials, addr: SocketAddr, is_controlling: bool) {
        let username = format!("{}:{}", credentials.ufrag, self.local.ufrag);
        let is_same = |remote: &Remote| remote.username == username && remote.credentials == credentials;
        if self.remote.as_ref().is_some_and(is_same) {
            return;
        }
        let was_begun = self.deadline.is_some();
        self.is_controlling = is_controlling;
        self.remote = Some(Remote {
            key: IntegrityKey::new(&credentials.pwd),
            credentials,
            username,
            addr,
        });
        self.transactions = rand::random();
        self.checks = 0;
        if was_begun {
            self.begin(now);
        }
    }

    /// Sends the first check with the next timer.
    pub fn begin(&mut self, now: Instant) {
        self.rto = FIRST_RTO;
        self.next_check = Some(now);
        self.deadline = Some(now + CONSENT_TIMEOUT);
    }

    /// Where to send to.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote.as_ref().map(|remote| remote.addr)
    }

    /// Of the last check that was answered.
    pub fn rtt(&self) -> Duration {
        self.rtt
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_check.into_iter().chain(self.deadline).min()
    }

    pub fn handle_timeout(&mut self, now: Instant, out: &mut SendQueue) -> Option<IceEvent> {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.next_check = None;
            self.deadline = None;
            return Some(IceEvent::Failed);
        }
        if self.next_check.is_some_and(|due| now >= due) {
            self.next_check = Some(now + self.rto);
            self.rto = (self.rto * 2).min(MAX_RTO);
            self.send_check(now, out);
        }
        None
    }

    /// Bytes that are no STUN, or not authentic, are dropped.
    pub fn handle_stun(
        &mut self,
        now: Instant,
        from: SocketAddr,
        packet: &[u8],
        out: &mut SendQueue,
    ) -> Option<IceEvent> {
        let message = Message::parse(packet).ok()?;
        match message.class {
            Class::Request => self.on_request(now, from, &message, out),
            Class::Success => return self.on_success(now, &message),
            Class::Error if self.is_answer(&message) && message.error_code == Some(ROLE_CONFLICT) => {
                self.is_controlling = !self.is_controlling;
                self.next_check = Some(now);
            }
            Class::Error | Class::Indication => {}
        }
        None
    }

    fn send_check(&mut self, now: Instant, out: &mut SendQueue) {
        let Some(remote) = &self.remote else { return };
        self.checks += 1;
        self.last_check = Some(now);
        let request = BindingRequest {
            transaction: self.transaction(self.checks),
            username: &remote.username,
            priority: PRIORITY,
            role: match self.is_controlling {
                true => IceRole::Controlling(self.tie_breaker),
                false => IceRole::Controlled(self.tie_breaker),
            },
            use_candidate: self.is_controlling,
        };
        out.push(remote.addr, &request.write(&remote.key));
    }

    fn transaction(&self, check: u32) -> TransactionId {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.transactions);
        id[8..].copy_from_slice(&check.to_be_bytes());
        id
    }

    fn is_answer(&self, message: &Message<'_>) -> bool {
        let first = self.checks.saturating_sub(OUTSTANDING) + 1;
        let asked = (first..=self.checks).any(|check| self.transaction(check) == message.transaction);
        asked
            && self
                .remote
                .as_ref()
                .is_some_and(|remote| message.is_authentic(&remote.key))
    }

    fn on_success(&mut self, now: Instant, message: &Message<'_>) -> Option<IceEvent> {
        if !self.is_answer(message) {
            return None;
        }
        if let Some(sent) = self.last_check
            && message.transaction == self.transaction(self.checks)
        {
            self.rtt = now.saturating_duration_since(sent);
        }
        self.rto = FIRST_RTO;
        self.deadline = Some(now + CONSENT_TIMEOUT);
        self.next_check = Some(now + CONSENT_INTERVAL.mul_f64(rand::rng().random_range(0.8..1.2)));
        (!std::mem::replace(&mut self.is_valid, true)).then_some(IceEvent::Valid)
    }

    /// A check by a full agent on the other side.
    fn on_request(&mut self, now: Instant, from: SocketAddr, message: &Message<'_>, out: &mut SendQueue) {
        let is_ours = message.local_ufrag() == Some(self.local.ufrag.as_str());
        if !is_ours || !message.is_authentic(&self.local_key) {
            return;
        }
        // RFC 8445, section 7.3.1.1: the larger tie-breaker keeps its role.
        let conflict = match message.role {
            Some(IceRole::Controlling(other)) if self.is_controlling => Some(self.tie_breaker >= other),
            Some(IceRole::Controlled(other)) if !self.is_controlling => Some(self.tie_breaker < other),
            _ => None,
        };
        match conflict {
            Some(true) => {
                let error = binding_error(
                    message.transaction,
                    ROLE_CONFLICT,
                    "Role Conflict",
                    &[],
                    &self.local_key,
                );
                return out.push(from, &error);
            }
            Some(false) => self.is_controlling = !self.is_controlling,
            None => {}
        }
        out.push(from, &binding_success(message.transaction, from, &self.local_key));
        if !self.is_valid && self.deadline.is_some() {
            self.next_check = Some(now);
        }
    }
}

/// RFC 8445, section 5.3: at least 24 and 128 random bits.
fn new_credentials() -> IceCredentials {
    let mut rng = rand::rng();
    let mut text = |len: usize| -> String {
        (0..len)
            .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
            .collect()
    };
    IceCredentials {
        ufrag: text(8),
        pwd: text(24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(now: Instant) -> [Ice; 2] {
        let mut agents = [Ice::new(), Ice::new()];
        let credentials = agents.each_ref().map(|agent| agent.local().clone());
        for (index, agent) in agents.iter_mut().enumerate() {
            agent.set_remote(now, credentials[1 - index].clone(), addr(1 - index), index == 0);
            agent.begin(now);
        }
        agents
    }

    fn addr(index: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1000 + index as u16))
    }

    /// Fires the timers of `from` and carries what it sends; what `to` and then `from` made of it.
    fn exchange(agents: &mut [Ice; 2], from: usize, now: Instant) -> Vec<Option<IceEvent>> {
        let mut queue = SendQueue::default();
        let mut events = vec![agents[from].handle_timeout(now, &mut queue)];
        for (sender, receiver) in [(from, 1 - from), (1 - from, from)] {
            let mut answers = SendQueue::default();
            while let Some(transmit) = queue.pop() {
                assert_eq!(transmit.to, addr(receiver));
                let event = agents[receiver].handle_stun(now, addr(sender), transmit.data, &mut answers);
                events.push(event);
            }
            queue = answers;
        }
        events
    }

    #[test]
    fn the_first_answer_makes_the_path_valid_and_consent_goes_on() {
        let mut now = Instant::now();
        let mut agents = pair(now);
        assert_eq!(exchange(&mut agents, 0, now), [None, None, Some(IceEvent::Valid)]);
        for _ in 0..20 {
            now = agents[0].poll_timeout().unwrap();
            assert_eq!(exchange(&mut agents, 0, now), [None, None, None]);
            let wait = agents[0].poll_timeout().unwrap() - now;
            assert!(
                (Duration::from_secs(4)..=Duration::from_secs(6)).contains(&wait),
                "{wait:?}"
            );
        }
    }

    #[test]
    fn lost_checks_are_repeated_until_nobody_is_there() {
        let start = Instant::now();
        let [mut agent, _] = pair(start);
        let mut queue = SendQueue::default();
        let mut sent = 0;
        loop {
            let now = agent.poll_timeout().unwrap();
            if let Some(event) = agent.handle_timeout(now, &mut queue) {
                assert_eq!((event, now - start), (IceEvent::Failed, CONSENT_TIMEOUT));
                break;
            }
            sent += 1;
        }
        assert!((30..60).contains(&sent), "{sent} checks");
        assert_eq!(agent.poll_timeout(), None);
    }

    #[test]
    fn a_role_conflict_ends_with_one_of_each() {
        let now = Instant::now();
        let mut agents = pair(now);
        agents[1].is_controlling = true;
        for _ in 0..3 {
            exchange(&mut agents, 0, now);
        }
        assert_ne!(agents[0].is_controlling, agents[1].is_controlling);
        assert!(agents[0].is_valid);
    }

    #[test]
    fn a_restart_checks_with_the_new_credentials() {
        let now = Instant::now();
        let mut agents = pair(now);
        exchange(&mut agents, 0, now);
        agents.iter_mut().for_each(Ice::renew);
        let credentials = agents.each_ref().map(|agent| agent.local().clone());
        for (index, agent) in agents.iter_mut().enumerate() {
            agent.set_remote(now, credentials[1 - index].clone(), addr(1 - index), index == 0);
        }
        assert_eq!(agents[0].poll_timeout(), Some(now));
        exchange(&mut agents, 0, now);
        assert!(
            agents[0].poll_timeout().unwrap() > now + Duration::from_secs(3),
            "answered"
        );
    }

    #[test]
    fn forged_answers_count_for_nothing() {
        let now = Instant::now();
        let mut agents = pair(now);
        let mut queue = SendQueue::default();
        agents[0].handle_timeout(now, &mut queue);
        let transaction = agents[0].transaction(1);
        let forged = binding_success(transaction, addr(0), &IntegrityKey::new("not the password at all"));
        assert_eq!(agents[0].handle_stun(now, addr(1), &forged, &mut queue), None);
        let right = binding_success(transaction, addr(0), &agents[1].local_key);
        assert_eq!(
            agents[0].handle_stun(now, addr(1), &right, &mut queue),
            Some(IceEvent::Valid)
        );
    }
}
