//! In virtual time: who is closed, when, and for whom.

use super::*;
use prometheus::Opts;

const LIMITS: ConnectionLimits = ConnectionLimits {
    total: 6,
    per_address: 3,
    waiting_per_address: 2,
    header: Duration::from_secs(10),
    idle: Duration::from_secs(60),
    request: Duration::from_secs(120),
    waiting: Duration::from_secs(25),
};

struct World {
    all: Arc<Connections>,
    closed: IntCounterVec,
    start: Instant,
}

fn world() -> World {
    let closed = IntCounterVec::new(Opts::new("closed", "closed"), &["reason"]).expect("a valid name");
    World {
        all: Connections::new(LIMITS, closed.clone()),
        closed,
        start: Instant::now(),
    }
}

impl World {
    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn open(&self, address: &str, seconds: u64) -> Arc<Connection> {
        let opened = self.all.open(Some(network(address)), self.at(seconds));
        opened.connection.expect("there is room")
    }

    /// With one request behind it.
    fn idle(&self, address: &str, seconds: u64) -> Arc<Connection> {
        let connection = self.open(address, seconds);
        let request = connection.on_request(true, self.at(seconds));
        connection.on_answered(request, self.at(seconds));
        connection
    }

    /// A connection with its WebSocket, which has joined.
    fn joined(&self, address: &str) -> (Arc<Connection>, Carried) {
        let connection = self.open(address, 0);
        let mut carried = upgraded(&connection, address, self.at(0));
        carried.on_joined(self.at(0));
        (connection, carried)
    }

    fn closed(&self, reason: Closed) -> u64 {
        self.closed.with_label_values(&[reason.label()]).get()
    }
}

fn network(address: &str) -> Network {
    Network::site(address.parse().expect("an address"))
}

fn upgraded(connection: &Arc<Connection>, address: &str, now: Instant) -> Carried {
    let carried = connection.on_upgraded(network(address), now);
    carried.expect("it carries few")
}

fn is_open(connection: &Connection) -> bool {
    !connection.link.is_closed()
}

#[test]
fn each_phase_has_its_time() {
    let world = world();
    let silent = world.open("10.0.0.1", 0);
    let (joined, _carried) = world.joined("10.0.0.2");
    let waiting = world.open("10.0.0.3", 0);
    let _waits = upgraded(&waiting, "10.0.0.3", world.at(0));
    let busy = world.open("10.0.0.4", 0);
    busy.on_request(false, world.at(5));
    let second = busy.on_request(false, world.at(100));
    busy.on_answered(second, world.at(101));
    for (seconds, open) in [
        (9, [true, true, true, true]),
        (10, [false, true, true, true]),
        (24, [false, true, true, true]),
        (25, [false, true, false, true]),
        (124, [false, true, false, true]),
        (125, [false, true, false, false]),
        (1_000_000, [false, true, false, false]),
    ] {
        world.all.handle_timeout(world.at(seconds));
        assert_eq!(
            [&silent, &joined, &waiting, &busy].map(|one| is_open(one)),
            open,
            "{seconds}"
        );
    }
    assert_eq!(world.closed(Closed::Header), 1);
    assert_eq!(world.closed(Closed::Waiting), 1);
    assert_eq!(world.closed(Closed::Request), 1);
}

#[test]
fn an_idle_connection_is_asked_to_end_and_then_made_to() {
    let world = world();
    let idle = world.idle("10.0.0.1", 0);
    world.all.handle_timeout(world.at(60));
    assert!(is_open(&idle));
    assert_eq!(world.closed(Closed::Idle), 1);
    world.all.handle_timeout(world.at(65));
    assert!(!is_open(&idle));
}

#[test]
fn a_second_header_that_drips_is_not_idle_time() {
    let world = world();
    let http1 = world.idle("10.0.0.1", 0);
    http1.on_bytes(world.at(30));
    http1.on_bytes(world.at(39));
    world.all.handle_timeout(world.at(40));
    assert!(!is_open(&http1));

    // A ping of HTTP/2 is no header, and keeps nothing open either.
    let http2 = world.open("10.0.0.2", 0);
    let request = http2.on_request(false, world.at(0));
    http2.on_answered(request, world.at(0));
    http2.on_bytes(world.at(30));
    world.all.handle_timeout(world.at(59));
    assert_eq!(world.closed(Closed::Idle), 0);
    world.all.handle_timeout(world.at(60));
    assert_eq!(world.closed(Closed::Idle), 1);
}

#[test]
fn an_address_makes_room_for_itself_idle_ones_first() {
    let world = world();
    let other = world.idle("10.0.0.2", 0);
    let opening = world.open("10.0.0.1", 0);
    let idle = world.idle("10.0.0.1", 1);
    let busy = world.open("10.0.0.1", 0);
    busy.on_request(true, world.at(0));
    let (joined, _carried) = world.joined("10.0.0.3");
    let fourth = world.open("10.0.0.1", 2);
    assert!(!is_open(&idle));
    for open in [&other, &opening, &busy, &joined, &fourth] {
        assert!(is_open(open));
    }
    assert_eq!(world.closed(Closed::AddressFull), 1);
}

#[test]
fn a_crowd_that_has_joined_counts_for_nobody_and_stays() {
    let world = world();
    let crowd: Vec<_> = (0..5).map(|_| world.joined("10.0.0.1")).collect();
    let page = world.idle("10.0.0.1", 1);
    // All are taken: the idle one makes room, the joined ones never.
    let newcomer = world.all.open(Some(network("10.0.0.9")), world.at(2));
    assert!(newcomer.full && !is_open(&page));
    let last = newcomer.connection.expect("the page made room");
    let mut carried = upgraded(&last, "10.0.0.9", world.at(2));
    carried.on_joined(world.at(2));
    let refused = world.all.open(Some(network("10.0.0.9")), world.at(2));
    assert!(refused.connection.is_none());
    assert!(!world.all.evict() && !world.all.evict_waiting());
    assert_eq!(world.closed(Closed::Refused), 1);
    assert!(crowd.iter().all(|(one, _)| is_open(one)));
}

#[test]
fn websockets_before_join_are_counted_by_the_client_that_a_proxy_names() {
    let world = world();
    let waiting: Vec<_> = ["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.1"]
        .iter()
        .map(|client| {
            let connection = world.all.open(None, world.at(0)).connection.expect("there is room");
            let carried = upgraded(&connection, client, world.at(0));
            (connection, carried)
        })
        .collect();
    let open: Vec<_> = waiting.iter().map(|(one, _)| is_open(one)).collect();
    assert_eq!(open, [false, true, true, true]);
    assert!(world.all.evict_waiting());
    assert!(!is_open(&waiting[1].0));
}

#[test]
fn what_is_gone_leaves_nothing_behind() {
    let world = world();
    for seconds in 0..100 {
        let connection = world.idle("2001:db8::1", seconds);
        drop(upgraded(&connection, "2001:db8:1::1", world.at(seconds)));
    }
    assert_eq!(world.all.len(), 0);
    let table = world.all.lock();
    assert!(table.by_address.is_empty());
    assert!(table.all.iter().all(BTreeMap::is_empty));
}

#[test]
fn http2_carries_a_websocket_beside_requests() {
    let world = world();
    let page = world.open("10.0.0.1", 0);
    let first = page.on_request(false, world.at(0));
    page.on_answered(first, world.at(0));
    let mut old = upgraded(&page, "10.0.0.1", world.at(1));
    old.on_joined(world.at(2));
    let new = upgraded(&page, "10.0.0.1", world.at(50));
    assert!(
        page.on_upgraded(network("10.0.0.1"), world.at(50)).is_none(),
        "two are enough"
    );
    // The second one waits on a connection that is proven.
    world.all.handle_timeout(world.at(100));
    assert!(is_open(&page));
    drop(new);
    let again = upgraded(&page, "10.0.0.1", world.at(101));
    drop(old);
    assert!(world.all.evict_waiting(), "the one that is left has not joined");
    assert!(!is_open(&page));
    drop(again);
}

#[test]
fn a_joined_websocket_shelters_no_request_without_end_and_leaves_an_idle_connection() {
    let world = world();
    let (sheltering, _carried) = world.joined("10.0.0.1");
    sheltering.on_request(false, world.at(10));
    world.all.handle_timeout(world.at(129));
    assert!(is_open(&sheltering));
    world.all.handle_timeout(world.at(130));
    assert!(!is_open(&sheltering));

    let (page, carried) = world.joined("10.0.0.2");
    assert!(!world.all.evict());
    drop(carried);
    assert!(world.all.evict() && !is_open(&page));
}

#[test]
fn a_proxys_shared_connection_does_not_suffer_for_one_client() {
    let world = world();
    let proxy = world.all.open(None, world.at(0)).connection.expect("there is room");
    proxy.on_request(false, world.at(0));
    let carried: Vec<_> = (1..10)
        .map(|n| upgraded(&proxy, &format!("10.0.0.{n}"), world.at(0)))
        .collect();
    world.all.handle_timeout(world.at(100));
    assert!(is_open(&proxy) && !world.all.evict_waiting());
    drop(carried);
}
