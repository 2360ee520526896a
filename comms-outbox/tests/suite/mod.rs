//! The test suite for both backends: the trait that a database implements, and shared helpers.
#![allow(dead_code)]

pub mod bounds;
pub mod branches;
pub mod claims;
#[cfg(feature = "event-store")]
pub mod commands;
pub mod conformance;
pub mod crash;
pub mod damage;
pub mod delivery;
#[cfg(feature = "event-store")]
pub mod events;
pub mod gate;
pub mod holds;
pub mod lease;
pub mod local;
pub mod local_batches;
pub mod local_ends;
pub mod migrations;
pub mod once;
pub mod parking;
pub mod peers;
#[cfg(feature = "event-store")]
pub mod projection;
#[cfg(feature = "event-store")]
pub mod projection_parks;
#[cfg(feature = "event-store")]
pub mod projection_reads;
pub mod reconfigure;
pub mod recorder;
pub mod released;
pub mod rolling;
#[cfg(feature = "saga")]
pub mod saga;
#[cfg(feature = "saga")]
pub mod saga_faults;
#[cfg(feature = "saga")]
pub mod saga_messages;
#[cfg(feature = "saga")]
pub mod saga_operators;
#[cfg(feature = "saga")]
pub mod saga_timers;
pub mod sessions;
pub mod starts;
pub mod visibility;

use std::{
    future::Future,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant},
};

use comms_core::{Error, ErrorKind, Inbox, Message, MessageParts, Outbox, Publisher, idempotency::Replies};
use comms_outbox::{Branch, LocalConsumerBuilder, Parked, RelayBuilder};

/// A new database with the outbox tables and a table `effects (text)`.
pub trait Backend: Clone + Send + Sync + 'static {
    type Unit: Inbox + Outbox + Replies;

    fn start() -> impl Future<Output = Self> + Send;
    fn unit(&self) -> Self::Unit;
    /// Returns a relay named `test` with the unit's commit signal and a lease of 1 s.
    fn relay(&self, publisher: Arc<dyn Publisher>) -> RelayBuilder;
    /// Returns a consumer in `group` with the unit's commit signal and a lease of 1 s.
    fn local(&self, group: &str) -> LocalConsumerBuilder;
    fn migrate(&self) -> impl Future<Output = Result<(), Error>> + Send;
    /// Reverts all migrations.
    fn drop_tables(&self) -> impl Future<Output = ()> + Send;
    fn parked(&self) -> impl Future<Output = Vec<Parked>> + Send;
    fn release(&self, key: Option<&'static str>) -> impl Future<Output = u64> + Send;
    fn branches(&self) -> impl Future<Output = Vec<Branch>> + Send;
    fn cover_only(&self, topics: &'static [&'static str]) -> impl Future<Output = ()> + Send;
    /// Executes statements of an operator. `{s}.` is the schema.
    fn sql(&self, text: &str) -> impl Future<Output = ()> + Send;
    /// Writes an effect, as an application does.
    fn add_effect(&self, tx: &mut Tx<Self>, text: &str) -> impl Future<Output = ()> + Send;
    fn effects(&self) -> impl Future<Output = Vec<String>> + Send;
    /// Executes any statement, with `{s}.` before the name of each table.
    fn statement(&self, tx: &mut Tx<Self>, text: &'static str) -> impl Future<Output = ()> + Send;
    /// Takes the lock that writers of `key` take, until the transaction ends.
    fn lock_key(&self, tx: &mut Tx<Self>, key: &str) -> impl Future<Output = ()> + Send;
    /// Returns owner and token of the relay `test`, and whether its lease is valid.
    fn lease(&self) -> impl Future<Output = (String, String, bool)> + Send;
}

pub type Tx<B> = <<B as Backend>::Unit as comms_core::UnitOfWork>::Tx;

static IDS: AtomicU64 = AtomicU64::new(0);

pub fn unique() -> String {
    format!("{}_{}", std::process::id(), IDS.fetch_add(1, Ordering::SeqCst))
}

/// Returns a message to `topic` with a unique id.
pub fn message_to(topic: &str, key: &str, payload: &str) -> Message {
    Message::new(MessageParts {
        source: "test",
        id: &unique(),
        topic,
        key: (!key.is_empty()).then_some(key.as_bytes()),
        payload: Some(payload.as_bytes()),
        ..MessageParts::default()
    })
}

pub fn message(key: &str, payload: &str) -> Message {
    message_to("t", key, payload)
}

/// Commits `messages` in one transaction. Like an application, it repeats a transaction that a serializable database
/// has rolled back because of a conflict.
pub async fn send<B: Backend>(backend: &B, messages: &[Message]) {
    let unit = backend.unit();
    let mut sent = Ok(());
    for _ in 0..100 {
        sent = comms_core::in_transaction(&unit, |mut tx| {
            let unit = unit.clone();
            async move { unit.enqueue(&mut tx, messages).await }
        })
        .await;
        if !matches!(&sent, Err(error) if error.kind == ErrorKind::Conflict) {
            break;
        }
    }
    sent.unwrap();
}

/// Waits until `condition` is true, at most 30 s.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < limit, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A relay, consumer or projection that runs in the background until it is stopped or dropped.
pub struct Running {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

pub fn run(relay: RelayBuilder) -> Running {
    let relay = relay.build().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(relay.run(async move {
        let _ = stopped.await;
    }));
    Running { stop: Some(stop), task }
}

/// Runs a consumer in the background until it is stopped or dropped.
pub fn consume(consumer: LocalConsumerBuilder) -> Running {
    let consumer = consumer.build().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(consumer.run(async move {
        let _ = stopped.await;
    }));
    Running { stop: Some(stop), task }
}

impl Running {
    /// Shuts the relay down.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.end().await.unwrap();
    }

    /// Waits until the relay ends without a shutdown.
    pub async fn end(&mut self) -> Result<(), Error> {
        (&mut self.task).await.unwrap()
    }

    /// Crashes the relay: its future is dropped without a shutdown.
    pub async fn crash(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
