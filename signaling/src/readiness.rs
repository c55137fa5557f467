//! Whether a media server does its work: it is asked on the way that joins go, at most once a second however many want
//! to know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_ok;
use tianqiao_bus::Bus;
use tianqiao_protocol::control::{InstanceId, Owner, SfuRequest};
use tokio::sync::Mutex;

use crate::meetings::now;

/// A node that answers later is not ready; so long, too, is an answer good.
const LIMIT: Duration = Duration::from_secs(1);

pub struct Readiness {
    instance: InstanceId,
    bus: Arc<dyn Bus>,
    /// Held while a node is asked.
    known: Arc<Mutex<Option<(Instant, bool)>>>,
}

impl Readiness {
    pub fn new(instance: &InstanceId, bus: Arc<dyn Bus>) -> Arc<Self> {
        Arc::new(Self {
            instance: instance.clone(),
            bus,
            known: Arc::default(),
        })
    }

    /// Takes [`LIMIT`] at most, behind a question that is under way twice that.
    pub async fn is_ready(&self) -> bool {
        let mut known = self.known.clone().lock_owned().await;
        if let Some((at, ready)) = *known
            && now().saturating_duration_since(at) < LIMIT
        {
            return ready;
        }
        let (instance, bus) = (self.instance.clone(), self.bus.clone());
        // It goes on when its caller hangs up: else each of many callers would ask anew.
        let asked = tokio::spawn(async move {
            let ready = any_answers(instance, &*bus).await;
            *known = Some((now(), ready));
            ready
        });
        asked.await.unwrap_or(false)
    }
}

/// One of the nodes answers in time.
async fn any_answers(instance: InstanceId, bus: &dyn Bus) -> bool {
    let nodes = bus.nodes();
    if nodes.is_empty() {
        return false;
    }
    let asker = Owner { instance, epoch: 0 };
    let questions = nodes.iter().map(|node| bus.request(node, &asker, SfuRequest::Ping));
    matches!(tokio::time::timeout(LIMIT, select_ok(questions)).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use tianqiao_bus::in_process::InProcessBus;
    use tianqiao_protocol::control::SfuReply;

    use super::*;

    #[tokio::test]
    async fn many_who_ask_cost_one_question() {
        let bus = Arc::new(InProcessBus::new());
        let readiness = Readiness::new(&"i".into(), bus.clone());
        let mut calls = bus.serve("n1".into());
        let asking: Vec<_> = (0..100)
            .map(|_| {
                let readiness = readiness.clone();
                tokio::spawn(async move { readiness.is_ready().await })
            })
            .collect();
        let call = calls.recv().await.expect("a question");
        assert_eq!(call.request, SfuRequest::Ping);
        // Who hangs up takes the question of the others with it no more than its own.
        asking[0].abort();
        call.reply.send(Ok(SfuReply::Done)).expect("it waits");
        for asked in asking.into_iter().skip(1) {
            assert!(asked.await.expect("no panic"));
        }
        assert!(calls.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_node_that_is_gone_or_silent_is_not_ready() {
        let bus = Arc::new(InProcessBus::new());
        assert!(!Readiness::new(&"i".into(), bus.clone()).is_ready().await);
        let mut calls = bus.serve("n1".into());
        let readiness = Readiness::new(&"i".into(), bus);
        let asked = tokio::spawn(async move { readiness.is_ready().await });
        let silent = calls.recv().await.expect("a question");
        assert!(!asked.await.expect("no panic"));
        assert!(silent.reply.is_closed());
    }
}
