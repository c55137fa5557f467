use std::net::SocketAddr;

use super::*;
use crate::path::TcpStreamId;
use crate::transport::stun::BindingRequest;

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

struct Agent {
    ice: IceLite,
    now: Instant,
}

impl Agent {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            ice: IceLite::new(credentials(OLD), now),
            now,
        }
    }

    fn check_with(&mut self, user: (&str, &str), path: Path, use_candidate: bool) -> Option<Path> {
        let packet = check(user, IceRole::Controlling(1), use_candidate);
        let answer = self.ice.handle_stun(self.now, path, &packet).expect("valid");
        assert!(answer.response.len() <= packet.len());
        answer.selected
    }

    fn check(&mut self, path: Path, use_candidate: bool) -> Option<Path> {
        self.check_with(OLD, path, use_candidate)
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn a_check_is_answered_with_the_address_it_came_from() {
    let mut agent = Agent::new();
    let packet = check(OLD, IceRole::Controlling(1), false);
    let answer = agent.ice.handle_stun(agent.now, udp(7), &packet).expect("valid");
    let response = Message::parse(&answer.response).expect("well-formed");
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
        assert_eq!(agent.ice.handle_stun(agent.now, udp(1), &packet), Err(reason));
    }
    assert!(!agent.ice.is_checked());
    assert_eq!(agent.ice.selected(), None);
}

#[test]
fn a_controlled_peer_is_told_of_the_conflict() {
    let mut agent = Agent::new();
    for tie_breaker in [0, u64::MAX] {
        let packet = check(OLD, IceRole::Controlled(tie_breaker), false);
        let answer = agent.ice.handle_stun(agent.now, udp(1), &packet).expect("authentic");
        assert!(!answer.is_valid);
        let response = Message::parse(&answer.response).expect("well-formed");
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
    let mut agent = Agent::new();
    assert_eq!(agent.ice.on_dtls(udp(1)), None);
    agent.check(udp(1), false);
    agent.check(udp(2), false);
    assert_eq!(agent.ice.on_dtls(udp(2)), Some(udp(2)));
    assert_eq!(agent.ice.on_dtls(udp(2)), None);
    assert_eq!(agent.ice.on_dtls(udp(3)), None);
    agent.check(udp(1), true);
    assert_eq!(agent.ice.on_dtls(udp(2)), None);
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
    assert!(agent.ice.handle_stun(agent.now, udp(1), &forged).is_err());
    assert_eq!(agent.ice.deadline(), kept);
    agent.check(udp(2), false);
    assert_eq!(agent.ice.deadline(), agent.now + CONSENT_TIMEOUT);
}

#[test]
fn a_restart_keeps_old_credentials_until_new_ones_are_used() {
    let mut agent = Agent::new();
    agent.check(udp(1), true);
    agent.wait(24);
    agent.ice.restart(credentials(NEW), agent.now);
    assert_eq!(agent.ice.deadline(), agent.now + FIRST_CHECK_TIMEOUT);
    assert_eq!(agent.check(udp(1), true), None);
    assert_eq!(agent.check_with(NEW, udp(2), false), None);
    assert_eq!(agent.ice.selected(), Some(udp(1)));
    let old = check(OLD, IceRole::Controlling(1), true);
    assert_eq!(
        agent.ice.handle_stun(agent.now, udp(1), &old),
        Err(DropReason::StunUnknownUser)
    );
    // Even TCP: what was nominated before the restart has no say any more.
    assert_eq!(agent.check_with(NEW, tcp(2), true), Some(tcp(2)));
}

#[test]
fn a_closed_stream_gives_way_to_the_path_checked_last() {
    let mut agent = Agent::new();
    agent.check(udp(1), false);
    agent.wait(1);
    agent.check(udp(2), false);
    agent.check(tcp(3), true);
    assert_eq!(agent.ice.on_path_closed(udp(1)), None);
    assert_eq!(agent.ice.on_path_closed(tcp(3)), Some(udp(2)));
    assert_eq!(agent.ice.on_path_closed(udp(2)), None);
    assert_eq!(agent.ice.selected(), None);
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
