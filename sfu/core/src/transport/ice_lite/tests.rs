use std::net::SocketAddr;

use super::*;
use crate::path::TcpStreamId;
use crate::transport::stun::BindingRequest;
use crate::transport::stun::binding_success;

const OLD: (&str, &str) = ("0000000001aaaaaa", "old-password-of-22-char");
const NEW: (&str, &str) = ("0000000001bbbbbb", "new-password-of-22-char");

fn credentials((ufrag, pwd): (&str, &str)) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.into(),
        pwd: pwd.into(),
    }
}

fn udp(port: u16) -> Path {
    Path::udp(SocketAddr::from(([192, 0, 2, 1], port)))
}

fn tcp(port: u16) -> Path {
    Path::Tcp {
        stream: TcpStreamId(port.into()),
        remote: SocketAddr::from(([192, 0, 2, 1], port)),
    }
}

fn check((ufrag, pwd): (&str, &str), role: IceRole, use_candidate: bool) -> Vec<u8> {
    let username = format!("{ufrag}:peer");
    let request = BindingRequest {
        transaction: [3; 12],
        username: &username,
        priority: 1,
        role,
        use_candidate,
    };
    request.write(&IntegrityKey::new(pwd))
}

fn remote(user: (&str, &str)) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{}-remote", user.0),
        pwd: format!("{}-remote", user.1),
    }
}

/// The agent and a client that answers its checks where it is not told to be silent.
struct Agent {
    ice: IceLite,
    now: Instant,
    answers: bool,
    /// What went out and was no answer to be given here, with where to.
    sent: Vec<(Path, Vec<u8>)>,
    received: Vec<(Path, usize)>,
}

impl Agent {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            ice: IceLite::new(credentials(OLD), remote(OLD), now),
            now,
            answers: true,
            sent: Vec::new(),
            received: Vec::new(),
        }
    }

    fn silent() -> Self {
        Self {
            answers: false,
            ..Self::new()
        }
    }

    fn handle(&mut self, path: Path, packet: &[u8]) -> Result<Received, DropReason> {
        self.received.push((path, packet.len()));
        let result = self.ice.handle_stun(self.now, path, packet);
        self.drain();
        result
    }

    fn check_with(&mut self, user: (&str, &str), path: Path, use_candidate: bool) -> Option<Path> {
        let packet = check(user, IceRole::Controlling(1), use_candidate);
        let before = self.ice.selected();
        assert_eq!(self.handle(path, &packet), Ok(Received::Check));
        self.ice.selected().filter(|&selected| Some(selected) != before)
    }

    fn check(&mut self, path: Path, use_candidate: bool) -> Option<Path> {
        self.check_with(OLD, path, use_candidate)
    }

    fn drain(&mut self) {
        while let Some((path, data)) = self.ice.poll_transmit() {
            let message = Message::parse(&data).expect("well-formed");
            if self.answers && message.class == Class::Request {
                let _ = self.ice.handle_stun(self.now, path, &answer(&data));
            }
            self.sent.push((path, data));
        }
    }

    /// Until `end`, by the agent's own timers.
    fn run_until(&mut self, end: Instant) {
        while let Some(due) = self.ice.poll_timeout().filter(|&due| due <= end) {
            assert!(
                due > self.now || self.ice.poll_timeout() != Some(self.now),
                "a timer that spins"
            );
            self.now = self.now.max(due);
            self.ice.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Our checks that went to `path`.
    fn asked(&self, path: Path) -> Vec<Vec<u8>> {
        let requests = self
            .sent
            .iter()
            .filter(|(to, data)| *to == path && Message::parse(data).expect("well-formed").class == Class::Request);
        requests.map(|(_, data)| data.clone()).collect()
    }

    fn bytes_to(&self, path: Path) -> usize {
        let sent = self.sent.iter().filter(|(to, _)| *to == path);
        sent.map(|(_, data)| data.len()).sum()
    }

    fn bytes_from(&self, path: Path) -> usize {
        let received = self.received.iter().filter(|(from, _)| *from == path);
        received.map(|(_, len)| len).sum()
    }
}

/// The client's answer to a check of ours.
fn answer(request: &[u8]) -> Vec<u8> {
    let message = Message::parse(request).expect("well-formed");
    let user = [OLD, NEW]
        .into_iter()
        .find(|user| message.username == Some(&expected_username(*user)));
    let key = IntegrityKey::new(&remote(user.expect("made with a pair of credentials")).pwd);
    assert!(message.is_authentic(&key));
    assert!(matches!(message.role, Some(IceRole::Controlled(_))) && !message.use_candidate);
    binding_success(message.transaction, udp(9).remote(), &key)
}

fn expected_username(user: (&str, &str)) -> String {
    format!("{}:{}", remote(user).ufrag, user.0)
}

#[test]
fn a_check_is_answered_with_the_address_it_came_from() {
    let mut agent = Agent::new();
    agent.check(udp(7), false);
    let response = Message::parse(&agent.sent[0].1).expect("well-formed");
    assert_eq!(agent.sent[0].0, udp(7));
    assert_eq!(response.class, Class::Success);
    assert_eq!(response.transaction, [3; 12]);
    assert_eq!(response.mapped_address, Some(udp(7).remote()));
    assert!(response.is_authentic(&IntegrityKey::new(OLD.1)));
    assert!(agent.ice.is_valid(udp(7)) && !agent.ice.is_valid(udp(8)));
}

#[test]
fn strangers_get_no_answer() {
    let mut agent = Agent::new();
    let response = binding_success([1; 12], udp(1).remote(), &IntegrityKey::new(OLD.1));
    for (packet, reason) in [
        (
            check((OLD.0, "wrong"), IceRole::Controlling(1), true),
            DropReason::StunIntegrity,
        ),
        (check(NEW, IceRole::Controlling(1), true), DropReason::StunUnknownUser),
        (response, DropReason::StunUnexpected),
        (vec![0; 30], DropReason::StunMalformed),
    ] {
        assert_eq!(agent.handle(udp(1), &packet), Err(reason));
    }
    assert!(agent.sent.is_empty());
    assert!(!agent.ice.is_checked());
    assert_eq!(agent.ice.selected(), None);
}

#[test]
fn a_controlled_peer_is_told_of_the_conflict() {
    let mut agent = Agent::new();
    for tie_breaker in [0, u64::MAX] {
        let packet = check(OLD, IceRole::Controlled(tie_breaker), false);
        assert_eq!(agent.handle(udp(1), &packet), Ok(Received::Refused));
        let (_, response) = agent.sent.pop().expect("a refusal");
        assert!(response.len() <= packet.len());
        let response = Message::parse(&response).expect("well-formed");
        assert_eq!((response.class, response.error_code), (Class::Error, Some(487)));
    }
    assert!(!agent.ice.is_valid(udp(1)));
}

#[test]
fn paths_are_selected_by_nomination() {
    // (seconds later, path, USE-CANDIDATE, selected afterwards)
    let mut agent = Agent::new();
    for (step, (later, path, use_candidate, selected)) in [
        (0, udp(1), false, udp(1)), // usable before a nomination
        (0, udp(2), false, udp(1)),
        (0, udp(2), true, udp(2)), // the nomination
        (0, udp(1), false, udp(2)),
        (1, udp(2), false, udp(2)), // plain consent checks change nothing
        (9, udp(1), false, udp(2)),
        (9, tcp(3), false, udp(2)),
        (0, udp(2), true, udp(2)),
        (0, udp(1), true, udp(1)), // moves on
        (0, udp(2), false, udp(1)),
        (0, udp(2), true, udp(2)), // and back
        (1, tcp(3), true, udp(2)), // TCP has to wait for UDP to fall silent
        (4, tcp(3), true, tcp(3)), // as it did
        (0, udp(4), true, udp(4)), // UDP is always better
        (2, udp(5), true, udp(5)), // aggressive: the first nomination of each counts,
        (0, udp(4), true, udp(5)), // repetitions do not
        (2, udp(5), true, udp(5)), // while the selected path
        (2, udp(4), true, udp(5)), // has its own
        (3, udp(4), true, udp(4)),
    ]
    .into_iter()
    .enumerate()
    {
        agent.wait(later);
        let before = agent.ice.selected();
        let told = agent.check(path, use_candidate);
        assert_eq!(agent.ice.selected(), Some(selected), "step {step}");
        assert_eq!(told, Some(selected).filter(|_| before != Some(selected)), "step {step}");
    }
}

#[test]
fn dtls_picks_the_path_until_one_is_nominated() {
    let mut agent = Agent::silent();
    let on_dtls = |agent: &mut Agent, path| agent.ice.on_dtls(agent.now, path, 200);
    on_dtls(&mut agent, udp(1));
    assert_eq!(agent.ice.selected(), None);
    agent.check(udp(1), false);
    agent.check(udp(2), false);
    for (path, selected) in [(udp(2), udp(2)), (udp(3), udp(2))] {
        on_dtls(&mut agent, path);
        assert_eq!(agent.ice.selected(), Some(selected));
    }
    agent.check(udp(1), true);
    on_dtls(&mut agent, udp(2));
    assert_eq!(agent.ice.selected(), Some(udp(1)));
}

#[test]
fn consent_is_kept_by_any_valid_check() {
    let mut agent = Agent::new();
    assert_eq!(agent.ice.deadline(), agent.now + FIRST_CHECK_TIMEOUT);
    agent.wait(10);
    agent.check(udp(1), true);
    assert_eq!(agent.ice.deadline(), agent.now + CONSENT_TIMEOUT);
    let kept = agent.ice.deadline();
    agent.wait(1);
    let forged = check((OLD.0, "wrong"), IceRole::Controlling(1), true);
    assert!(agent.handle(udp(1), &forged).is_err());
    assert_eq!(agent.ice.deadline(), kept);
    agent.check(udp(2), false);
    assert_eq!(agent.ice.deadline(), agent.now + CONSENT_TIMEOUT);
}

#[test]
fn a_restart_keeps_old_credentials_until_new_ones_are_used() {
    let mut agent = Agent::new();
    agent.check(udp(1), true);
    agent.wait(24);
    agent.ice.restart(credentials(NEW), remote(NEW), agent.now);
    assert_eq!(agent.ice.deadline(), agent.now + FIRST_CHECK_TIMEOUT);
    assert_eq!(agent.check(udp(1), true), None);
    agent.answers = false;
    assert_eq!(agent.check_with(NEW, udp(2), false), None);
    assert_eq!(agent.ice.selected(), Some(udp(1)));
    let old = check(OLD, IceRole::Controlling(1), true);
    assert_eq!(agent.handle(udp(1), &old), Err(DropReason::StunUnknownUser));
    // Even TCP: what was nominated before the restart has no say any more.
    assert_eq!(agent.check_with(NEW, tcp(2), true), Some(tcp(2)));
}

#[test]
fn after_a_restart_the_first_path_that_answers_is_used_until_one_is_nominated() {
    let mut agent = Agent::new();
    agent.check(udp(1), true);
    agent.ice.restart(credentials(NEW), remote(NEW), agent.now);
    agent.answers = false;
    assert_eq!(agent.check_with(NEW, udp(2), false), None);
    let asked = agent.asked(udp(2)).pop().expect("asked at once");
    assert_eq!(agent.handle(udp(2), &answer(&asked)), Ok(Received::Answer));
    assert_eq!(agent.ice.proven(), Some(udp(2)));
    agent.answers = true;
    assert_eq!(agent.check_with(NEW, udp(3), false), None);
    assert_eq!(agent.check_with(NEW, udp(1), true), Some(udp(1)));
}

#[test]
fn a_closed_stream_gives_way_to_the_path_checked_last() {
    let mut agent = Agent::new();
    agent.check(udp(1), false);
    agent.wait(1);
    agent.check(udp(2), false);
    agent.check(tcp(3), true);
    for (closed, selected) in [(udp(1), Some(tcp(3))), (tcp(3), Some(udp(2))), (udp(2), None)] {
        agent.ice.on_path_closed(agent.now, closed);
        assert_eq!(agent.ice.selected(), selected);
    }
    assert_eq!(agent.check(udp(2), false), Some(udp(2)));
}

#[test]
fn paths_are_bounded_and_the_selected_one_stays() {
    let mut agent = Agent::new();
    agent.check(udp(1), true);
    for port in 2..1000 {
        agent.wait(1);
        agent.check(udp(port), false);
    }
    assert_eq!(agent.ice.paths.len(), MAX_PATHS);
    assert!(agent.ice.is_valid(udp(1)) && agent.ice.is_valid(udp(999)));
    assert_eq!(agent.ice.selected(), Some(udp(1)));
}

/// What a client can do that forges the sender of its checks.
#[test]
fn a_path_moves_only_to_an_address_that_answers() {
    let mut agent = Agent::new();
    agent.check(udp(1), true);
    assert_eq!(agent.ice.proven(), Some(udp(1)));
    agent.answers = false;
    let victim = udp(2);
    for _ in 0..50 {
        let now = agent.now;
        agent.check(victim, true);
        agent.check(victim, false);
        agent.run_until(now + Duration::from_millis(700));
        assert_eq!(agent.ice.proven().or(Some(udp(1))), Some(udp(1)));
    }
    assert!(!agent.asked(victim).is_empty());
    assert!(agent.bytes_to(victim) <= 3 * agent.bytes_from(victim));

    // Answers from elsewhere, of another check or with another password are none.
    let asked = agent.asked(victim).pop().expect("asked");
    let right = answer(&asked);
    let message = Message::parse(&asked).expect("well-formed");
    let mut other = message.transaction;
    other[11] ^= 1;
    let key = IntegrityKey::new(&remote(OLD).pwd);
    for (path, packet) in [
        (udp(1), right.clone()),
        (udp(3), right.clone()),
        (victim, binding_success(other, victim.remote(), &key)),
        (
            victim,
            binding_success(message.transaction, victim.remote(), &IntegrityKey::new(OLD.1)),
        ),
    ] {
        assert!(agent.handle(path, &packet).is_err());
        assert!(!agent.ice.is_proven(victim));
    }
    agent.check(victim, true);
    assert_eq!(
        agent.handle(victim, &answer(&agent.asked(victim).pop().expect("asked"))),
        Ok(Received::Answer)
    );
    assert_eq!(agent.ice.proven(), Some(victim));
    assert!(agent.handle(victim, &right).is_err(), "only once");
}

#[test]
fn an_address_that_never_answers_gets_three_bytes_for_each_of_its_own() {
    let mut agent = Agent::silent();
    let end = agent.now + Duration::from_secs(20);
    let mut checks = 0;
    while agent.now < end {
        if checks < 3 {
            agent.check(udp(1), true);
            checks += 1;
        }
        agent.run_until(agent.now + Duration::from_millis(500));
        // As flights of a handshake would want.
        while agent.ice.take_allowance(udp(1), 10) {
            agent.sent.push((
                udp(1),
                binding_success([0; 12], udp(1).remote(), &IntegrityKey::new(""))[..0].to_vec(),
            ));
            agent.received.push((udp(0), 10));
        }
    }
    let handshake = agent.bytes_from(udp(0));
    agent.sent.retain(|(_, data)| !data.is_empty());
    let all = agent.bytes_to(udp(1)) + handshake;
    let allowed = 3 * agent.bytes_from(udp(1));
    assert!((allowed - 10..=allowed).contains(&all), "{all} of {allowed}");
    assert!(agent.asked(udp(1)).len() <= 3 * 6);
    assert_eq!(agent.ice.poll_timeout(), None, "nothing is sent without end");
    assert_eq!(agent.ice.proven(), None);
}

/// The same client behind another port, a round trip of 80 ms away: its media goes on to the old one until
/// its answer has come.
#[test]
fn a_rebound_client_is_followed_after_one_round_trip() {
    let mut agent = Agent::new();
    agent.check(udp(1), true);
    agent.wait(2);
    agent.answers = false;
    assert_eq!(agent.check(udp(2), true), None);
    assert_eq!(agent.ice.proven(), Some(udp(1)));
    let asked = agent.asked(udp(2)).pop().expect("asked at once");
    agent.run_until(agent.now + Duration::from_millis(80));
    assert_eq!(agent.ice.proven(), Some(udp(1)));
    assert_eq!(agent.handle(udp(2), &answer(&asked)), Ok(Received::Answer));
    assert_eq!(agent.ice.proven(), Some(udp(2)));
}

#[test]
fn a_lost_check_or_answer_is_repeated() {
    let mut agent = Agent::silent();
    let start = agent.now;
    agent.check(udp(1), true);
    agent.ice.on_dtls(agent.now, udp(1), 800);
    agent.run_until(start + Duration::from_secs(10));
    let asked = agent.asked(udp(1));
    assert_eq!(asked.len(), 6);
    assert!(asked.iter().all(|check| *check == asked[0]), "one transaction");
    assert_eq!(agent.handle(udp(1), &answer(&asked[0])), Ok(Received::Answer));
}

#[test]
fn a_finished_handshake_proves_the_path_of_a_client_that_answers_no_checks() {
    let mut agent = Agent::silent();
    agent.check(udp(1), true);
    agent.ice.on_handshake(agent.now, udp(1));
    assert_eq!(agent.ice.proven(), Some(udp(1)));
    for _ in 0..100 {
        agent.run_until(agent.now + Duration::from_secs(5));
        agent.check(udp(1), true);
        assert_eq!(agent.ice.proven(), Some(udp(1)));
    }
    // It stays where it is.
    agent.check(udp(2), true);
    assert_eq!(agent.ice.proven(), Some(udp(1)));
    // TCP is proven as it is.
    agent.wait(5);
    agent.check(tcp(3), true);
    assert_eq!(agent.ice.proven(), Some(tcp(3)));
}

#[test]
fn consent_ends_where_a_client_that_answers_does_so_no_longer() {
    let mut agent = Agent::new();
    agent.check(udp(1), true);
    for _ in 0..30 {
        agent.run_until(agent.now + Duration::from_secs(3));
        agent.check(udp(1), true);
        assert_eq!(agent.ice.proven(), Some(udp(1)));
    }
    let asked = agent.asked(udp(1)).len();
    assert!((14..=24).contains(&asked), "{asked} consent checks in 90 s");
    // Somebody else has its address now, and the checks come with a forged one.
    agent.answers = false;
    let last = agent.now;
    while agent.now < last + Duration::from_secs(24) {
        agent.run_until(agent.now + Duration::from_secs(3));
        agent.check(udp(1), true);
    }
    assert_eq!(agent.ice.proven(), Some(udp(1)), "some answers may be lost");
    agent.run_until(last + Duration::from_secs(31));
    assert_eq!(agent.ice.proven(), None);
    agent.check(udp(1), true);
    assert_eq!(agent.ice.proven(), None);
    agent.answers = true;
    agent.wait(1);
    agent.check(udp(1), true);
    assert_eq!(agent.ice.proven(), Some(udp(1)));
}

#[test]
fn consent_is_asked_for_without_checks_of_the_client_on_the_path() {
    let mut agent = Agent::new();
    agent.check(udp(1), true);
    agent.run_until(agent.now + Duration::from_secs(60));
    assert_eq!(agent.ice.proven(), Some(udp(1)));
    agent.answers = false;
    agent.run_until(agent.now + Duration::from_secs(31));
    assert_eq!(agent.ice.proven(), None);
}

#[test]
fn the_new_path_of_a_restart_answers_with_the_new_credentials() {
    let mut agent = Agent::new();
    agent.check(udp(1), true);
    agent.ice.restart(credentials(NEW), remote(NEW), agent.now);
    // Still with the old ones, until the client has taken the new ones.
    agent.wait(5);
    agent.check(udp(1), true);
    let username = |packet: &[u8]| Message::parse(packet).expect("well-formed").username.map(str::to_owned);
    assert_eq!(username(&agent.asked(udp(1))[1]), Some(expected_username(OLD)));
    assert_eq!(agent.check_with(NEW, udp(2), true), Some(udp(2)));
    assert_eq!(username(&agent.asked(udp(2))[0]), Some(expected_username(NEW)));
    assert_eq!(agent.ice.proven(), Some(udp(2)));
    // What is old can only be asked with credentials that are gone.
    agent.run_until(agent.now + Duration::from_secs(40));
    assert_eq!(agent.ice.proven(), Some(udp(2)));
}
