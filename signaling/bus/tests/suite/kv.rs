use std::sync::Arc;

use bytes::Bytes;
use tianqiao_bus::kv::{Bucket, MAX_VALUE};
use tianqiao_bus::{Bus, Kv, KvError};

const BUCKET: Bucket = "meetings";
const OTHER: Bucket = "codes";

/// Two processes.
pub struct Ends {
    pub a: Arc<dyn Bus>,
    pub b: Arc<dyn Bus>,
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

impl Ends {
    fn kv(&self) -> (&dyn Kv, &dyn Kv) {
        (self.a.kv(), self.b.kv())
    }

    pub async fn entries_have_revisions_that_grow(self) {
        let (a, b) = self.kv();
        assert_eq!(a.get(BUCKET, "k").await, Ok(None));
        let mut last = 0;
        for value in ["1", "2", ""] {
            let revision = a.put(BUCKET, "k", bytes(value)).await.expect("put");
            assert!(revision > last);
            last = revision;
            let entry = b.get(BUCKET, "k").await.expect("got").expect("an entry");
            assert_eq!((entry.value, entry.revision), (bytes(value), revision));
        }
        b.put(BUCKET, "other", bytes("x")).await.expect("put");
        assert_eq!(a.get(BUCKET, "k").await.expect("got").expect("an entry").revision, last);
        assert_eq!(a.get(OTHER, "k").await, Ok(None));
    }

    pub async fn create_makes_only_what_is_not_there(self) {
        let (a, b) = self.kv();
        let revision = a.create(BUCKET, "k", bytes("a")).await.expect("created");
        assert_eq!(b.create(BUCKET, "k", bytes("b")).await, Err(KvError::Conflict));
        let entry = b.get(BUCKET, "k").await.expect("got").expect("an entry");
        assert_eq!((entry.value, entry.revision), (bytes("a"), revision));
    }

    pub async fn update_changes_only_the_revision_that_it_names(self) {
        let (a, b) = self.kv();
        assert_eq!(a.update(BUCKET, "k", bytes("x"), 0).await, Err(KvError::Conflict));
        assert_eq!(a.update(BUCKET, "k", bytes("x"), 5).await, Err(KvError::Conflict));
        let first = a.create(BUCKET, "k", bytes("1")).await.expect("created");
        let second = b.update(BUCKET, "k", bytes("2"), first).await.expect("updated");
        assert!(second > first);
        assert_eq!(a.update(BUCKET, "k", bytes("3"), first).await, Err(KvError::Conflict));
        assert_eq!(
            a.update(BUCKET, "k", bytes("3"), second + 1).await,
            Err(KvError::Conflict)
        );
        assert_eq!(
            a.get(BUCKET, "k").await.expect("got").expect("an entry").value,
            bytes("2")
        );
    }

    pub async fn delete_deletes_only_the_revision_that_it_names(self) {
        let (a, b) = self.kv();
        assert_eq!(a.delete(BUCKET, "k", None).await, Ok(()));
        assert_eq!(a.delete(BUCKET, "k", Some(4)).await, Ok(()));
        let first = a.put(BUCKET, "k", bytes("1")).await.expect("put");
        let other = a.put(BUCKET, "other", bytes("1")).await.expect("put");
        let second = a.put(BUCKET, "k", bytes("2")).await.expect("put");
        for revision in [first, other, second + 1] {
            assert_eq!(b.delete(BUCKET, "k", Some(revision)).await, Err(KvError::Conflict));
        }
        assert_eq!(b.delete(BUCKET, "k", Some(second)).await, Ok(()));
        assert_eq!(a.get(BUCKET, "k").await, Ok(None));
        assert!(a.get(BUCKET, "other").await.expect("got").is_some());
        assert_eq!(a.delete(BUCKET, "other", None).await, Ok(()));
        assert_eq!(b.get(BUCKET, "other").await, Ok(None));
    }

    pub async fn a_deleted_entry_can_be_made_anew_with_a_later_revision(self) {
        let (a, b) = self.kv();
        let mut last = 0;
        for named in [true, false, true] {
            let revision = a.create(BUCKET, "k", bytes("1")).await.expect("created");
            assert!(revision > last);
            last = revision;
            b.delete(BUCKET, "k", named.then_some(revision)).await.expect("deleted");
            assert_eq!(
                a.update(BUCKET, "k", bytes("2"), revision).await,
                Err(KvError::Conflict)
            );
        }
        assert!(b.put(BUCKET, "k", bytes("1")).await.expect("put") > last);
    }

    pub async fn one_of_two_racing_updaters_wins(self) {
        let (a, b) = self.kv();
        let mut revision = a.create(BUCKET, "k", bytes("0")).await.expect("created");
        for _ in 0..50 {
            let (by_a, by_b) = tokio::join!(
                a.update(BUCKET, "k", bytes("a"), revision),
                b.update(BUCKET, "k", bytes("b"), revision)
            );
            let (winner, won) = match (by_a, by_b) {
                (Ok(won), Err(KvError::Conflict)) => ("a", won),
                (Err(KvError::Conflict), Ok(won)) => ("b", won),
                other => panic!("{other:?}"),
            };
            let entry = a.get(BUCKET, "k").await.expect("got").expect("an entry");
            assert_eq!((entry.value, entry.revision), (bytes(winner), won));
            revision = won;
        }
    }

    /// Also of the bucket.
    pub async fn one_of_many_racing_creators_wins(self) {
        let create = |number: usize| {
            let bus = match number % 2 {
                0 => self.a.clone(),
                _ => self.b.clone(),
            };
            async move { bus.kv().create(BUCKET, "k", bytes(&number.to_string())).await }
        };
        let created = futures_util::future::join_all((0..20).map(create)).await;
        let won = created.iter().filter(|created| created.is_ok()).count();
        let lost = created
            .iter()
            .filter(|created| **created == Err(KvError::Conflict))
            .count();
        assert_eq!((won, lost), (1, 19), "{created:?}");
    }

    pub async fn keys_are_of_one_bucket_and_not_the_deleted(self) {
        let (a, b) = self.kv();
        assert_eq!(a.keys(BUCKET).await, Ok(Vec::new()));
        for key in ["x", "a.b.c", "A-1_2=/z", "gone"] {
            a.put(BUCKET, key, bytes("1")).await.expect("put");
            a.put(BUCKET, key, bytes("2")).await.expect("put");
        }
        a.put(OTHER, "not here", bytes("1")).await.expect_err("no key");
        a.put(OTHER, "elsewhere", bytes("1")).await.expect("put");
        b.delete(BUCKET, "gone", None).await.expect("deleted");
        let mut keys = b.keys(BUCKET).await.expect("keys");
        keys.sort();
        assert_eq!(keys, ["A-1_2=/z", "a.b.c", "x"]);
    }

    pub async fn values_are_kept_whole_up_to_their_limit(self) {
        let (a, b) = self.kv();
        let value: Bytes = (0..MAX_VALUE).map(|at| (at * 7) as u8).collect();
        a.put(BUCKET, "k", value.clone()).await.expect("put");
        let entry = b.get(BUCKET, "k").await.expect("got").expect("an entry");
        assert!(entry.value == value);
        let larger = vec![0; MAX_VALUE + 1].into();
        assert_eq!(a.put(BUCKET, "k", larger).await, Err(KvError::TooLarge(MAX_VALUE + 1)));
        assert_eq!(
            a.get(BUCKET, "k").await.expect("got").expect("an entry").revision,
            entry.revision
        );
    }

    pub async fn bad_keys_are_refused(self) {
        let (a, _) = self.kv();
        for key in ["", ".a", "a.", "a..b", "a b", "*", ">", "a.>", "ä", &"k".repeat(201)] {
            let refused =
                |result: Result<(), KvError>| assert!(matches!(result, Err(KvError::BadKey(_))), "{key}: {result:?}");
            refused(a.get(BUCKET, key).await.map(drop));
            refused(a.create(BUCKET, key, bytes("1")).await.map(drop));
            refused(a.put(BUCKET, key, bytes("1")).await.map(drop));
            refused(a.update(BUCKET, key, bytes("1"), 1).await.map(drop));
            refused(a.delete(BUCKET, key, None).await);
        }
        assert_eq!(a.keys(BUCKET).await, Ok(Vec::new()));
    }

    pub async fn many_keys_come_and_go(self) {
        let (a, b) = self.kv();
        let put = |number: usize| a.put(BUCKET, KEYS[number % KEYS.len()], bytes("v"));
        for round in 0..20 {
            for revision in futures_util::future::join_all((0..KEYS.len()).map(put)).await {
                revision.expect("put");
            }
            assert_eq!(b.keys(BUCKET).await.expect("keys").len(), KEYS.len(), "round {round}");
            let delete = |key: &&'static str| b.delete(BUCKET, key, None);
            for deleted in futures_util::future::join_all(KEYS.iter().map(delete)).await {
                deleted.expect("deleted");
            }
            assert_eq!(a.keys(BUCKET).await, Ok(Vec::new()), "round {round}");
        }
    }
}

const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
