use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tianqiao_bus::{BusError, MAX_WAITING_CALLS, NodeEvent};
use tianqiao_protocol::control::{AdoptedSession, OpenSession, SfuError, SfuReply, SfuRequest};
use tianqiao_protocol::error::ErrorCode;

use super::{Ends, close, connected, owner, report, until, within};

impl Ends {
    pub async fn a_request_reaches_its_node_with_its_owner_and_comes_back(self) {
        let mut calls = self.serve("n1").await;
        let (reply, ()) = tokio::join!(self.ask("n1", close("s")), async {
            let call = calls.recv().await.expect("a call");
            assert_eq!((call.owner, call.request), (owner(), close("s")));
            call.reply
                .send(Ok(SfuReply::IceRestarted { sdpfrag: "f".into() }))
                .expect("the caller waits");
        });
        assert_eq!(
            reply.expect("an answer"),
            SfuReply::IceRestarted { sdpfrag: "f".into() }
        );
    }

    pub async fn errors_of_the_node_come_back(self) {
        let mut calls = self.serve("n1").await;
        let error = SfuError {
            code: ErrorCode::NotOwner,
            message: "another has it".into(),
        };
        let (reply, ()) = tokio::join!(self.ask("n1", close("s")), async {
            let call = calls.recv().await.expect("a call");
            call.reply.send(Err(error.clone())).expect("the caller waits");
        });
        assert!(matches!(reply, Err(BusError::Refused(got)) if got == error));
    }

    pub async fn a_node_that_is_not_there_is_an_error_at_once(self) {
        let asked = Instant::now();
        let reply = self.signaling.request(&"n1".into(), &owner(), close("s")).await;
        assert!(matches!(reply, Err(BusError::NoNode(node)) if node == "n1"));
        assert!(asked.elapsed() < Duration::from_secs(5));
    }

    pub async fn a_request_that_is_dropped_is_gone(self) {
        let mut calls = self.serve("n1").await;
        let (reply, ()) = tokio::join!(self.ask("n1", close("s")), async {
            drop(calls.recv().await.expect("a call"));
        });
        assert!(matches!(reply, Err(BusError::Gone)));
    }

    pub async fn a_node_that_goes_away_is_not_there(self) {
        drop(self.serve("n1").await);
        until("the node is gone", async || {
            let reply = self.signaling.request(&"n1".into(), &owner(), close("s")).await;
            assert!(matches!(reply, Err(BusError::Gone | BusError::NoNode(_))), "{reply:?}");
            // In one process only the node's own end is asked.
            matches!(reply, Err(BusError::NoNode(_))) || self.node.nodes().is_empty()
        })
        .await;
        let mut calls = self.serve("n1").await;
        let answer = async {
            let call = calls.recv().await.expect("a call");
            call.reply.send(Ok(SfuReply::Done)).expect("the caller waits");
        };
        let (reply, ()) = tokio::join!(self.ask("n1", close("s")), answer);
        assert!(reply.is_ok(), "it has come back: {reply:?}");
    }

    pub async fn requests_overtake_each_other(self) {
        let mut calls = self.serve("n1").await;
        let ask = async |session: &'static str| {
            let reply = self.signaling.request(&"n1".into(), &owner(), close(session)).await;
            reply.expect("an answer")
        };
        let (a, b, ()) = tokio::join!(ask("a"), ask("b"), async {
            let mut waiting = BTreeMap::new();
            for _ in 0..2 {
                let call = calls.recv().await.expect("a call");
                let SfuRequest::Close { session } = call.request else {
                    panic!("a close")
                };
                waiting.insert(session, call.reply);
            }
            for (session, reply) in waiting.into_iter().rev() {
                let answer = SfuReply::IceRestarted { sdpfrag: session };
                reply.send(Ok(answer)).expect("the caller waits");
            }
        });
        assert_eq!(a, SfuReply::IceRestarted { sdpfrag: "a".into() });
        assert_eq!(b, SfuReply::IceRestarted { sdpfrag: "b".into() });
    }

    pub async fn a_full_node_is_overloaded(self) {
        let _calls = self.serve("n1").await;
        let node = "n1".into();
        let owner = owner();
        let mut waiting = futures_util::stream::FuturesUnordered::new();
        for _ in 0..MAX_WAITING_CALLS + 1 {
            waiting.push(self.signaling.request(&node, &owner, close("s")));
        }
        use futures_util::StreamExt;
        let first = within("one is refused", waiting.next()).await.expect("an answer");
        assert!(matches!(first, Err(BusError::Overloaded)), "{first:?}");
    }

    pub async fn names_may_hold_any_sign(self) {
        let name = "sfu 1.eu > *";
        let mut calls = self.serve(name).await;
        let other = self
            .signaling
            .request(&"sfu 1.eu > +".into(), &owner(), close("s"))
            .await;
        assert!(matches!(other, Err(BusError::NoNode(_))));
        let (reply, ()) = tokio::join!(self.ask(name, close("s")), async {
            let call = calls.recv().await.expect("a call");
            call.reply.send(Ok(SfuReply::Done)).expect("the caller waits");
        });
        assert_eq!(reply.expect("an answer"), SfuReply::Done);
    }

    pub async fn large_messages_pass(self) {
        let mut calls = self.serve("n1").await;
        let sdp = "a=candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host\r\n".repeat(1000);
        let open = SfuRequest::Open(OpenSession {
            room: "r".into(),
            session: "s".into(),
            origin: 1,
            sdp: sdp.clone(),
            tracks: Vec::new(),
            slots: Vec::new(),
            audio: Default::default(),
            identity: "p".into(),
            memo: "m".into(),
        });
        // Of a room with a thousand sessions on one node.
        let session = |number: usize| AdoptedSession {
            session: format!("session-{number}"),
            memo: format!("{number} has a long name and a secret that signaling wants back {number:0>1500}"),
            connected: true,
            tracks: Vec::new(),
            slots: Vec::new(),
            paused: Vec::new(),
            unsupported: Vec::new(),
            wanted: Vec::new(),
            quality: Default::default(),
        };
        let adopted = SfuReply::Adopted {
            sessions: (0..1000).map(session).collect(),
        };
        let (reply, ()) = tokio::join!(self.ask("n1", open), async {
            let call = calls.recv().await.expect("a call");
            assert!(matches!(call.request, SfuRequest::Open(open) if open.sdp == sdp));
            call.reply.send(Ok(adopted.clone())).expect("the caller waits");
        });
        assert!(reply.expect("an answer") == adopted);
    }

    pub async fn events_come_in_order_and_only_to_their_instance(self) {
        let mut events = self.signaling.events(&"i1".into());
        let mut others = self.signaling.events(&"i2".into());
        self.settle().await;
        for number in 0..1000 {
            let to = match number % 10 {
                9 => "i2",
                _ => "i1",
            };
            let event = NodeEvent {
                node: "n1".into(),
                event: connected(&number.to_string()),
            };
            self.node.publish(&to.into(), event);
        }
        // To nobody.
        let event = connected("x");
        let node = "n1".into();
        self.node.publish(&"i3".into(), NodeEvent { node, event });
        for number in 0..1000 {
            let events = match number % 10 {
                9 => &mut others,
                _ => &mut events,
            };
            let NodeEvent { node, event } = within("an event", events.recv()).await.expect("the bus lives");
            assert_eq!((node.as_str(), event), ("n1", connected(&number.to_string())));
        }
        assert!(events.try_recv().is_err() && others.try_recv().is_err());
        assert!(
            self.signaling.missed(&"i1".into()).try_recv().is_err(),
            "nothing is lost"
        );
    }

    pub async fn reports_begin_with_the_latest(self) {
        let mut early = self.signaling.reports();
        self.settle().await;
        for sessions in 1..=3 {
            self.node.report(report("n1", sessions));
        }
        self.node.report(report("n2", 7));
        for sessions in 1..=3 {
            assert_eq!(within("a report", early.recv()).await, Some(report("n1", sessions)));
        }
        assert_eq!(within("a report", early.recv()).await, Some(report("n2", 7)));
        // All are read before they are handed on; both have been, but not for long.
        until("a late reader has both", async || {
            let mut late = self.signaling.reports();
            let mut have = Vec::new();
            while let Ok(report) = late.try_recv() {
                have.push(report);
            }
            have == [report("n1", 3), report("n2", 7)]
        })
        .await;
        drop(early);
        self.node.report(report("n1", 4));
    }

    pub async fn nodes_are_those_that_serve_and_report(self) {
        assert!(self.signaling.nodes().is_empty());
        let calls = self.serve("n1").await;
        until("the node is found", async || {
            self.node.report(report("n1", 0));
            self.signaling.nodes() == ["n1"]
        })
        .await;
        drop(calls);
        until("the node is gone", async || self.signaling.nodes().is_empty()).await;
    }

    async fn ask(&self, node: &str, request: SfuRequest) -> Result<SfuReply, BusError> {
        self.signaling.request(&node.into(), &owner(), request).await
    }

    /// Serves a node, from when requests reach it.
    async fn serve(&self, node: &str) -> tokio::sync::mpsc::Receiver<tianqiao_bus::Call> {
        let mut calls = self.node.serve(node.into());
        let node = node.into();
        let owner = owner();
        let ask = async {
            until("the node is there", async || {
                let reply = self.signaling.request(&node, &owner, SfuRequest::Ping).await;
                reply.is_ok()
            })
            .await;
        };
        let answer = async {
            let call = calls.recv().await.expect("a call");
            call.reply.send(Ok(SfuReply::Done)).expect("the caller waits");
        };
        tokio::join!(ask, answer);
        calls
    }

    /// After it the bus knows what signaling has asked for before.
    async fn settle(&self) {
        drop(self.serve("settle").await);
    }
}
