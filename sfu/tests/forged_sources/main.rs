//! Members of a meeting who send with somebody else's address as source: media goes only where somebody
//! answers, and a client that really moves is followed. Needs root; skipped elsewhere.

#[path = "../client/mod.rs"]
mod client;
mod forger;
mod network;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use prometheus::Registry;
use tianqiao_bus::in_process::InProcessBus;
use tianqiao_sfu::config::SfuConfig;
use tianqiao_sfu::node::Node;
use tianqiao_sfu_core::transport::ufrag;
use tokio::sync::oneshot;

use client::{Client, PATIENCE};
use forger::{Bystander, Forger};
use network::{Host, Network};

const SENDS: &str = "a=sendonly\r\na=ssrc:1111 cname:x\r\n";
const RECEIVES: &str = "a=recvonly\r\n";
const NODE: &str = "local";
/// Longer than between any two repetitions of the server's checks.
const QUIET: Duration = Duration::from_millis(2_500);
const PORT: u16 = 40_000;

/// A node at [`Host::Server`]; it ends when this is dropped.
struct Server {
    _stop: oneshot::Sender<()>,
}

impl Server {
    fn start(network: &Network, bus: &Arc<InProcessBus>) -> Self {
        let config = SfuConfig {
            node: NODE.to_owned(),
            workers: 1,
            media_port: 0,
            media_bind: Host::Server.addr().into(),
            ..SfuConfig::default()
        };
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::channel();
        let bus = Arc::clone(bus);
        let serve = async move {
            let node = Node::start(config, bus, &Registry::new()).await.expect("a node");
            ready.send(()).expect("the test waits");
            // Or the test has panicked.
            let _ = stopped.await;
            node.shutdown().await;
        };
        network.at(Host::Server, || {
            thread::spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                runtime.enable_all().build().expect("a runtime").block_on(serve);
            })
        });
        started.recv().expect("it starts");
        Self { _stop: stop }
    }
}

async fn open(network: &Network, bus: &InProcessBus, host: Host, name: &str, section: &str) -> Client {
    Client::open(bus, &NODE.to_owned(), name, section, network.udp(host)).await
}

fn connect(clients: &mut [&mut Client]) {
    clients.iter().for_each(|client| client.send_check());
    let begun = Instant::now();
    while clients.iter().any(|client| !client.connected) {
        assert!(begun.elapsed() < PATIENCE, "no DTLS");
        for client in &mut *clients {
            client.turn();
        }
    }
}

/// Somebody speaks, the attacker listens, and the bystander counts.
struct Scene {
    speaker: Client,
    attacker: Client,
    forger: Forger,
    victim: Bystander,
}

impl Scene {
    /// The attacker's own media goes on, and the victim gets no more than it may.
    fn go_on(&mut self, what: &str) {
        let begun = Instant::now();
        let mut heard = 0;
        while heard < 30 {
            assert!(begun.elapsed() < PATIENCE, "{what}: {heard} packets and no more");
            heard += usize::from(self.step(what).0);
        }
    }

    /// Did the attacker hear anything, and how many packets came to the victim?
    fn step(&mut self, what: &str) -> (bool, usize) {
        self.speaker.speak();
        self.speaker.turn();
        let heard = self.attacker.turn().is_some();
        let came = self.victim.receive();
        for (port, bytes) in &self.victim.bytes {
            let forged = self.forger.bytes.get(port).copied().unwrap_or(0);
            assert!(
                *bytes <= 3 * forged,
                "{what}: {bytes} bytes for {forged} to port {port}"
            );
        }
        (heard, came)
    }

    fn wait_until_it_is_quiet(&mut self) {
        let (begun, mut last) = (Instant::now(), Instant::now());
        while last.elapsed() < QUIET {
            assert!(begun.elapsed() < PATIENCE, "it does not stop");
            if self.step("afterwards").1 > 0 {
                last = Instant::now();
            }
        }
    }
}

#[tokio::test]
async fn nobody_gets_media_that_another_sends_for() {
    let Some(network) = Network::create() else { return };
    let bus = Arc::new(InProcessBus::new());
    let _server = Server::start(&network, &bus);
    let mut speaker = open(&network, &bus, Host::Honest, "speaker", SENDS).await;
    let mut attacker = open(&network, &bus, Host::Attacker, "attacker", RECEIVES).await;
    // A session that is never anywhere but at the victim's.
    let mut phantom = open(&network, &bus, Host::Attacker, "phantom", RECEIVES).await;
    connect(&mut [&mut speaker, &mut attacker]);
    let server = attacker.server;
    let mut scene = Scene {
        speaker,
        attacker,
        forger: Forger::new(&network, server),
        victim: Bystander::new(&network, server),
    };
    scene.go_on("before");

    let check = scene.attacker.check.clone();
    scene.forger.send(PORT, &check);
    scene.go_on("one check");
    assert!(
        scene.victim.bytes.contains_key(&PORT),
        "the server does not see what is forged"
    );

    for _ in 0..500 {
        scene.forger.send(PORT, &check);
    }
    scene.go_on("many checks");
    for port in 0..500 {
        scene.forger.send(PORT + port, &check);
    }
    scene.go_on("checks from many ports");

    let connection = ufrag::parse(&scene.attacker.remote_ufrag).expect("the server's").1;
    for guess in 0..500u64 {
        let mut transaction = [0; 12];
        transaction[..4].copy_from_slice(&connection.0.to_be_bytes());
        transaction[4..].copy_from_slice(&guess.to_be_bytes());
        let answer = scene.attacker.answer_to(transaction);
        scene.forger.send(PORT, &answer);
    }
    scene.go_on("guessed answers");

    let hello = phantom.client_hello();
    for port in [PORT, PORT + 499] {
        for record in [22, 23, 21, 20] {
            scene.forger.send(port, &[&[record, 254, 253][..], &[0; 61]].concat());
        }
        scene.forger.send(port, &hello);
    }
    scene.go_on("DTLS of the attacker's");

    scene.forger.send(PORT + 1_000, &phantom.check);
    scene.forger.send(PORT + 1_000, &hello);
    scene.go_on("a handshake");
    for _ in 0..100 {
        scene.forger.send(PORT + 1_000, &phantom.check);
        scene.forger.send(PORT + 1_000, &hello);
    }
    scene.go_on("many handshakes");

    scene.wait_until_it_is_quiet();
}

#[tokio::test]
async fn a_client_behind_a_new_port_of_its_nat_is_followed_with_its_answer() {
    let Some(network) = Network::create() else { return };
    let bus = Arc::new(InProcessBus::new());
    let _server = Server::start(&network, &bus);
    let mut speaker = open(&network, &bus, Host::Honest, "speaker", SENDS).await;
    let mut listener = open(&network, &bus, Host::Honest, "listener", RECEIVES).await;
    connect(&mut [&mut speaker, &mut listener]);
    let hear = |speaker: &mut Client, listener: &mut Client, wanted: usize| {
        let (begun, mut spoken, mut heard) = (Instant::now(), 0, 0);
        while heard < wanted {
            assert!(begun.elapsed() < PATIENCE, "{heard} of {wanted} packets heard");
            speaker.speak();
            speaker.turn();
            spoken += 1;
            let before = listener.answered;
            if listener.turn().is_some() {
                assert!(before > 0, "media came before the answer");
                heard += 1;
            }
        }
        spoken
    };
    hear(&mut speaker, &mut listener, 10);

    let old = listener.rebind(network.udp(Host::Honest));
    let mut buffer = [0; 2048];
    while old.recv(&mut buffer).is_ok() {}
    listener.answered = 0;
    listener.send_check();
    // Until it answers there it is sent to where it was.
    let (begun, mut heard) = (Instant::now(), 0);
    while heard < 10 {
        assert!(begun.elapsed() < PATIENCE, "nothing comes to the old port any more");
        speaker.speak();
        speaker.turn();
        heard += usize::from(old.recv(&mut buffer).is_ok());
    }
    // Long before anything that goes by a clock: the server asks for consent every four seconds.
    let spoken = hear(&mut speaker, &mut listener, 1);
    assert!(
        spoken < 200,
        "{spoken} packets were sent before one came to the new port"
    );

    old.set_nonblocking(true).expect("set");
    while old.recv(&mut buffer).is_ok() {}
    hear(&mut speaker, &mut listener, 30);
    assert!(old.recv(&mut buffer).is_err(), "the old port still gets something");
}
