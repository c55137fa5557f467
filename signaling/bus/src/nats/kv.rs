//! The key-value store, in JetStream. Streams are laid out as JetStream's own buckets are, with a history of one, so
//! that NATS's tools can read them. Two things are done otherwise. A deleted key leaves no marker: its message is
//! removed, for meetings come and go for ever and markers would pile up; revisions are the stream's sequence, which
//! grows over that as well. And keys are asked for by the stream's subjects instead of a consumer: nothing is left on
//! the server, however often a fleet loses it. Reads go to the stream's leader, not to replicas, which may lag.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, StorageType, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryStreamExt};

use super::link::{Link, lock};
use crate::kv::{Bucket, Entry, Kv, KvError, check_key, check_value};

/// No caller waits longer.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct NatsKv {
    link: Arc<Link>,
    context: Context,
    replicas: usize,
    /// Buckets that are there.
    made: Mutex<HashSet<Bucket>>,
}

/// Why one attempt failed.
enum Failure {
    /// The bucket is gone: the server has lost its store.
    NoBucket,
    Final(KvError),
}

impl From<KvError> for Failure {
    fn from(error: KvError) -> Self {
        Self::Final(error)
    }
}

fn away(error: impl Display) -> Failure {
    Failure::Final(KvError::Away(error.to_string()))
}

impl NatsKv {
    pub fn new(link: Arc<Link>, replicas: usize) -> Self {
        let mut context = jetstream::new(link.client.clone());
        context.set_timeout(TIMEOUT);
        Self {
            link,
            context,
            replicas,
            made: Mutex::default(),
        }
    }

    /// Runs an operation on a bucket, which is made first where that is needed.
    async fn run<T>(
        &self,
        bucket: Bucket,
        operation: impl Fn(Stream<()>) -> BoxFuture<'static, Result<T, Failure>> + Send + Sync,
    ) -> Result<T, KvError> {
        if !self.link.is_up() {
            return Err(KvError::Away("not connected".into()));
        }
        let attempts = async {
            for _ in 0..2 {
                match operation(self.bucket(bucket).await?).await {
                    Err(Failure::NoBucket) => lock(&self.made).remove(bucket),
                    Err(Failure::Final(error)) => return Err(error),
                    Ok(done) => return Ok(done),
                };
            }
            Err(KvError::Away("the bucket comes and goes".into()))
        };
        let mut is_up = self.link.is_up.subscribe();
        tokio::select! {
            biased;
            done = tokio::time::timeout(TIMEOUT, attempts) => done.unwrap_or_else(|_| Err(KvError::Away("no answer in time".into()))),
            _ = is_up.wait_for(|is_up| !is_up), if *is_up.borrow() => Err(KvError::Away("connection lost".into())),
        }
    }

    fn bucket_name(&self, bucket: Bucket) -> String {
        format!("{}_{bucket}", self.link.prefix)
    }

    fn subject(&self, bucket: Bucket, key: &str) -> String {
        format!("$KV.{}.{key}", self.bucket_name(bucket))
    }

    async fn bucket(&self, bucket: Bucket) -> Result<Stream<()>, KvError> {
        let name = format!("KV_{}", self.bucket_name(bucket));
        let is_made = lock(&self.made).contains(bucket);
        if !is_made {
            self.make_bucket(bucket, &name).await?;
            lock(&self.made).insert(bucket);
        }
        let stream = self.context.get_stream_no_info(name).await;
        stream.map_err(|error| KvError::Away(error.to_string()))
    }

    async fn make_bucket(&self, bucket: Bucket, name: &str) -> Result<(), KvError> {
        let away = |error: &dyn Display| KvError::Away(error.to_string());
        match self.context.get_stream(name).await {
            Ok(_) => return Ok(()),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
                _ => return Err(away(&error)),
            },
        }
        let config = Config {
            name: name.to_owned(),
            subjects: vec![self.subject(bucket, ">")],
            max_messages_per_subject: 1,
            max_messages: -1,
            max_bytes: -1,
            max_message_size: -1,
            storage: StorageType::File,
            num_replicas: self.replicas,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            allow_direct: true,
            ..Config::default()
        };
        match self.context.create_stream(config).await {
            Ok(_) => {
                tracing::info!(bucket = name, "made a bucket");
                Ok(())
            }
            Err(error) => match error.kind() {
                // Somebody else was faster.
                CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => Ok(()),
                _ => Err(away(&error)),
            },
        }
    }

    /// Writes if the key's last revision is the expected one; 0: none.
    async fn write(&self, bucket: Bucket, key: &str, value: Bytes, expected: Option<u64>) -> Result<u64, KvError> {
        check_key(key)?;
        check_value(&value)?;
        let subject = self.subject(bucket, key);
        let attempt = |_| {
            let mut message = PublishMessage::build().payload(value.clone());
            if let Some(revision) = expected {
                message = message.expected_last_subject_sequence(revision);
            }
            write(self.context.clone(), subject.clone(), message, value.len()).boxed()
        };
        self.run(bucket, attempt).await
    }
}

async fn write(context: Context, subject: String, message: PublishMessage, len: usize) -> Result<u64, Failure> {
    let written = async { context.send_publish(subject, message).await?.await };
    match written.await {
        Ok(written) => Ok(written.sequence),
        Err(error) => Err(match error.kind() {
            PublishErrorKind::WrongLastSequence => KvError::Conflict.into(),
            PublishErrorKind::MaxPayloadExceeded => KvError::TooLarge(len).into(),
            PublishErrorKind::StreamNotFound => Failure::NoBucket,
            _ => away(error),
        }),
    }
}

async fn last(stream: &Stream<()>, subject: &str) -> Result<Option<Entry>, Failure> {
    match stream.get_last_raw_message_by_subject(subject).await {
        // A marker of another writer.
        Ok(message) if message.headers.get("KV-Operation").is_some() => Ok(None),
        Ok(message) => Ok(Some(Entry {
            value: message.payload,
            revision: message.sequence,
        })),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Err(Failure::NoBucket)
            }
            _ => Err(away(error)),
        },
    }
}

async fn delete(stream: Stream<()>, subject: String, revision: Option<u64>) -> Result<(), Failure> {
    loop {
        let Some(entry) = last(&stream, &subject).await? else {
            return Ok(());
        };
        if revision.is_some_and(|revision| revision != entry.revision) {
            return Err(KvError::Conflict.into());
        }
        // The message of that revision and no later one, which has another sequence.
        let error = match stream.delete_message(entry.revision).await {
            Ok(true) => return Ok(()),
            Ok(false) => "the store deletes nothing".to_owned(),
            Err(error) => error.to_string(),
        };
        // Changed or deleted in between, or it cannot be done.
        let now = last(&stream, &subject).await?;
        if now.is_some_and(|now| now.revision == entry.revision) {
            return Err(away(error));
        }
    }
}

/// Of all subjects of the bucket; `prefix` is what is not key.
async fn keys(stream: Stream<()>, prefix: String) -> Result<Vec<String>, Failure> {
    let subjects = stream.info_with_subjects(format!("{prefix}>")).await.map_err(|error| {
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<jetstream::Error>());
        match cause.map(jetstream::Error::error_code) {
            Some(ErrorCode::STREAM_NOT_FOUND) => Failure::NoBucket,
            _ => away(error),
        }
    })?;
    let subjects: Vec<(String, usize)> = subjects.try_collect().await.map_err(away)?;
    let key = |(subject, _): (String, usize)| subject.strip_prefix(&prefix).map(str::to_owned);
    Ok(subjects.into_iter().filter_map(key).collect())
}

#[async_trait]
impl Kv for NatsKv {
    async fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Entry>, KvError> {
        check_key(key)?;
        let subject = self.subject(bucket, key);
        let get = |stream| {
            let subject = subject.clone();
            async move { last(&stream, &subject).await }.boxed()
        };
        self.run(bucket, get).await
    }

    async fn create(&self, bucket: Bucket, key: &str, value: Bytes) -> Result<u64, KvError> {
        self.write(bucket, key, value, Some(0)).await
    }

    async fn update(&self, bucket: Bucket, key: &str, value: Bytes, revision: u64) -> Result<u64, KvError> {
        // 0 would make it.
        match revision {
            0 => check_key(key).and(Err(KvError::Conflict)),
            _ => self.write(bucket, key, value, Some(revision)).await,
        }
    }

    async fn put(&self, bucket: Bucket, key: &str, value: Bytes) -> Result<u64, KvError> {
        self.write(bucket, key, value, None).await
    }

    async fn delete(&self, bucket: Bucket, key: &str, revision: Option<u64>) -> Result<(), KvError> {
        check_key(key)?;
        let subject = self.subject(bucket, key);
        let delete = |stream| delete(stream, subject.clone(), revision).boxed();
        self.run(bucket, delete).await
    }

    async fn keys(&self, bucket: Bucket) -> Result<Vec<String>, KvError> {
        let prefix = self.subject(bucket, "");
        self.run(bucket, |stream| keys(stream, prefix.clone()).boxed()).await
    }
}
