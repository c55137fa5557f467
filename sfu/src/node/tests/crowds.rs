//! Many offers at once: whose turn it is, whose is skipped, and what a parser's panic ends.

use std::future::Future;
use std::sync::{Mutex, mpsc as std_mpsc};
use std::task::{Context, Waker};

use super::*;

/// A parser that tells of each offer by its ufrag, and then waits until it may go on.
struct Gate {
    begun: mpsc::UnboundedReceiver<String>,
    go_on: std_mpsc::Sender<()>,
}

fn gated() -> (Bench, Gate) {
    let (tell, begun) = mpsc::unbounded_channel();
    let (go_on, gate) = std_mpsc::channel();
    let gate = Mutex::new(gate);
    let parse = move |sdp: &str| {
        let ufrag = sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:"));
        let _ = tell.send(ufrag.unwrap_or_default().to_owned());
        // Without the test all go on.
        let _ = gate.lock().expect("no panic").recv();
        Offer::parse(sdp, &SdpLimits::default())
    };
    (bench_with(Arc::new(parse)), Gate { begun, go_on })
}

impl Gate {
    async fn begun(&mut self) -> String {
        self.begun.recv().await.expect("an offer")
    }

    fn go_on(&self) {
        self.go_on.send(()).expect("the parser waits");
    }
}

fn open_from(origin: u64, session: &str, ufrag: &str) -> SfuRequest {
    let SfuRequest::Open(open) = open(session, Vec::new()) else {
        unreachable!("it opens");
    };
    SfuRequest::Open(OpenSession {
        origin,
        sdp: offer(ufrag),
        ..open
    })
}

type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<SfuReply, BusError>> + Send>>;

/// A request on its way; dropped, its caller is gone.
fn begin(bench: &Bench, request: SfuRequest) -> Waiting {
    let bus = bench.bus.clone();
    let mut request: Waiting = Box::pin(async move { bus.request(&NODE.to_owned(), &owner(), request).await });
    let answered = request.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(answered.is_pending());
    request
}

fn code(answer: Result<SfuReply, BusError>) -> Option<ErrorCode> {
    match answer {
        Ok(_) => None,
        Err(BusError::Refused(error)) => Some(error.code),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn offers_of_somebody_who_hangs_up_are_not_parsed() {
    let (bench, mut gate) = gated();
    let hostile: Vec<Waiting> = (0..100)
        .map(|number| begin(&bench, open_from(1, &format!("hostile{number}"), "hostile")))
        .collect();
    assert_eq!(gate.begun().await, "hostile");
    drop(hostile);
    let honest = begin(&bench, open_from(1, "honest", "honest"));
    gate.go_on();
    gate.go_on();
    assert_eq!(code(honest.await), None);
    assert_eq!(gate.begun().await, "honest");
    assert_eq!(bench.offers.of("skipped"), 99);
    assert_eq!(bench.sessions.get(), 1);
}

#[tokio::test]
async fn another_address_waits_for_no_more_than_one_offer() {
    let (bench, mut gate) = gated();
    let hostile = |number: usize| {
        let SfuRequest::Open(mut open) = open_from(1, &format!("hostile{number}"), "hostile") else {
            unreachable!("it opens");
        };
        open.sdp += &"\r\n".repeat(64 * 1024);
        SfuRequest::Open(open)
    };
    let _hostile: Vec<Waiting> = (0..100).map(|number| begin(&bench, hostile(number))).collect();
    assert_eq!(gate.begun().await, "hostile");
    let honest = begin(&bench, open_from(2, "honest", "honest"));
    // Ping goes where the open went: it has been queued.
    assert_eq!(bench.ask(SfuRequest::Ping).await, Ok(SfuReply::Done));
    let mut before = 1;
    loop {
        gate.go_on();
        match gate.begun().await.as_str() {
            "honest" => break,
            _ => before += 1,
        }
    }
    gate.go_on();
    assert_eq!(code(honest.await), None);
    // The one that was begun, and at most the rest of a turn.
    assert!(before <= 2, "{before}");
}

#[tokio::test]
async fn what_was_closed_does_not_open_later() {
    let (mut bench, mut gate) = gated();
    let parsing = begin(&bench, open_from(1, "parsing", "parsing"));
    let waiting = begin(&bench, open_from(1, "waiting", "waiting"));
    let of_room = begin(&bench, open_from(1, "of-room", "of-room"));
    assert_eq!(gate.begun().await, "parsing");
    for session in ["parsing", "waiting"] {
        let session = session.to_owned();
        assert_eq!(bench.ask(SfuRequest::Close { session }).await, Ok(SfuReply::Done));
    }
    assert_eq!(code(waiting.await), Some(ErrorCode::SessionUnknown));
    let room = "room".to_owned();
    assert_eq!(bench.ask(SfuRequest::CloseRoom { room }).await, Ok(SfuReply::Done));
    assert_eq!(code(of_room.await), Some(ErrorCode::SessionUnknown));
    gate.go_on();
    assert_eq!(code(parsing.await), Some(ErrorCode::SessionUnknown));
    assert_eq!(bench.sessions.get(), 0);
    assert!(bench.commands.try_recv().is_err());
}

#[tokio::test]
async fn a_panic_of_the_parser_ends_only_its_request() {
    let parse = |sdp: &str| match sdp.contains("panic") {
        true => panic!("as the test wants it"),
        false => Offer::parse(sdp, &SdpLimits::default()),
    };
    let bench = bench_with(Arc::new(parse));
    let failed = begin(&bench, open_from(1, "alice", "panic"));
    assert_eq!(code(failed.await), Some(ErrorCode::Internal));
    // The same session may try again.
    assert!(bench.ask(open_from(1, "alice", "abcd")).await.is_ok());
    assert_eq!((bench.offers.of("panicked"), bench.offers.of("parsed")), (1, 1));
}

#[tokio::test]
async fn an_address_has_no_more_than_its_share_of_the_queue() {
    let (bench, mut gate) = gated();
    let first = begin(&bench, open_from(1, "first", "first"));
    assert_eq!(gate.begun().await, "first");
    let limits = super::super::QueueLimits::default();
    let SfuRequest::Open(open) = open_from(1, "", "") else {
        unreachable!("it opens");
    };
    let large = |origin, session: String| {
        SfuRequest::Open(OpenSession {
            origin,
            session,
            sdp: "x".repeat(limits.bytes_per_origin / 4),
            ..open.clone()
        })
    };
    let waiting: Vec<Waiting> = (0..4)
        .map(|number| begin(&bench, large(1, format!("{number}"))))
        .collect();
    let refused = begin(&bench, large(1, "one too many".to_owned()));
    assert_eq!(code(refused.await), Some(ErrorCode::RateLimited));
    let other = begin(&bench, open_from(2, "other", "other"));
    drop((waiting, first));
    gate.go_on();
    gate.go_on();
    assert_eq!(code(other.await), None);
    assert_eq!(bench.offers.of("turned_away"), 1);
}
