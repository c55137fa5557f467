//! What every bus must do, whichever carries it.

mod kv;
mod messages;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tianqiao_bus::{Bus, NodeReport};
use tianqiao_protocol::control::{Owner, SfuEvent, SfuRequest};

/// Processes on one bus.
pub trait Fleet {
    /// The bus as one more process has it, connected.
    fn join(&self) -> impl Future<Output = Arc<dyn Bus>> + Send;
}

pub fn owner() -> Owner {
    Owner {
        instance: "i".into(),
        epoch: 3,
    }
}

pub fn close(session: &str) -> SfuRequest {
    SfuRequest::Close {
        session: session.into(),
    }
}

pub fn connected(session: &str) -> SfuEvent {
    SfuEvent::Connected {
        session: session.into(),
    }
}

pub fn report(node: &str, sessions: u32) -> NodeReport {
    let mut report = NodeReport {
        node: node.into(),
        ..NodeReport::default()
    };
    report.load.sessions = sessions;
    report
}

/// For what other tasks and the bus do in their time.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(20), future).await;
    done.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// Asks again and again until it is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

macro_rules! tests {
    ($fleet:expr; $($file:ident::$name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let fleet = $fleet;
                crate::suite::$file(&fleet).await.$name().await;
            }
        )*
    };
}
pub(crate) use tests;

/// One function a behaviour, for the two ends that most of them have.
pub struct Ends {
    signaling: Arc<dyn Bus>,
    node: Arc<dyn Bus>,
}

pub async fn messages(fleet: &impl Fleet) -> Ends {
    Ends {
        signaling: fleet.join().await,
        node: fleet.join().await,
    }
}

pub async fn kv(fleet: &impl Fleet) -> kv::Ends {
    kv::Ends {
        a: fleet.join().await,
        b: fleet.join().await,
    }
}

/// All of it, on a fleet that an expression makes.
macro_rules! all {
    ($fleet:expr) => {
        crate::suite::tests!($fleet;
            messages::a_request_reaches_its_node_with_its_owner_and_comes_back,
            messages::errors_of_the_node_come_back,
            messages::a_node_that_is_not_there_is_an_error_at_once,
            messages::a_request_that_is_dropped_is_gone,
            messages::a_node_that_goes_away_is_not_there,
            messages::requests_overtake_each_other,
            messages::a_full_node_is_overloaded,
            messages::names_may_hold_any_sign,
            messages::large_messages_pass,
            messages::events_come_in_order_and_only_to_their_instance,
            messages::reports_begin_with_the_latest,
            messages::nodes_are_those_that_serve_and_report,
            kv::entries_have_revisions_that_grow,
            kv::create_makes_only_what_is_not_there,
            kv::update_changes_only_the_revision_that_it_names,
            kv::delete_deletes_only_the_revision_that_it_names,
            kv::a_deleted_entry_can_be_made_anew_with_a_later_revision,
            kv::one_of_two_racing_updaters_wins,
            kv::one_of_many_racing_creators_wins,
            kv::keys_are_of_one_bucket_and_not_the_deleted,
            kv::values_are_kept_whole_up_to_their_limit,
            kv::bad_keys_are_refused,
            kv::many_keys_come_and_go,
        );
    };
}
pub(crate) use all;
