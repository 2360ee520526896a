//! The backplane: delivers messages to the hubs of all nodes, and keeps the history from which clients resume.

mod memory;
#[cfg(feature = "redis")]
mod redis;

pub use memory::Memory;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use redis::{Redis, RedisConfig};

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use comms_core::{Error, async_trait, bytes::Bytes, shutdown::ShutdownSignal};
use serde::Serialize;

/// The place of a message in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The identity of a row of offsets. A topic whose history was lost begins a new epoch, so that an offset of an older
    /// one cannot be mistaken for one of the new.
    pub epoch: u64,
    /// The number of the message in its epoch. The first message has 1; 0 is the place before it.
    pub offset: u64,
}

impl Position {
    /// Returns whether `next` is the position after this one.
    pub(crate) fn is_before(self, next: Self) -> bool {
        self.epoch == next.epoch && self.offset.checked_add(1) == Some(next.offset)
    }
}

/// How much of a topic is kept for clients that resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The maximum number of messages.
    pub messages: usize,
    /// The maximum age of a message.
    pub age: Duration,
}

/// A message on its way to the nodes.
#[derive(Debug, Clone)]
pub struct Publication<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The identity of the message in its topic. A second message of the same topic with this identity is a duplicate.
    pub id: &'a str,
    /// The content, which the backplane does not read.
    pub body: Bytes,
    /// The history of the topic. `None`: the topic has no history and no offsets.
    pub retention: Option<Retention>,
}

/// The result of [`Backplane::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The message is new. A message of a topic without history has no position.
    New(Option<Position>),
    /// A message with this identity was published before, at this position.
    Duplicate(Position),
}

/// Whether messages of other nodes arrive, from [`Backplane::status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// The backplane has a connection, or needs none.
    Connected,
    /// The backplane has no connection, and tries to connect.
    Interrupted,
    /// [`Backplane::run`] was not called, or has ended.
    NotRunning,
}

/// A part of the history of a topic, from [`Backplane::history`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The position of the last message of the topic when the history was read.
    pub top: Position,
    /// The messages after the requested position, in the order of their offsets and without a gap: offset and content. `None`:
    /// at least one of these messages is not kept any more, or the position belongs to another epoch or lies after
    /// [`top`](Self::top).
    pub messages: Option<Vec<(u64, Bytes)>>,
}

/// Receives the messages of the backplane. The hub implements it.
pub trait Receiver: Send + Sync + 'static {
    /// Takes a message of a topic that is subscribed. Never blocks.
    ///
    /// Messages of a topic arrive in the order of their offsets where possible. The receiver discards duplicates, and reads
    /// [`Backplane::history`] where an offset is missing. A message without a position belongs to a topic without
    /// history.
    fn deliver(&self, topic: &str, position: Option<Position>, body: Bytes);

    /// Reports that messages may have been lost: the connection of the backplane was interrupted and is up again, with
    /// all subscriptions. The receiver reads the history of its topics, and notifies the clients of topics without
    /// history.
    fn interrupted(&self);

    /// Reports that messages of `topic` alone may have been lost. The receiver does for this topic what it does for all after
    /// [`interrupted`](Self::interrupted), which this method calls by default.
    fn behind(&self, topic: &str) {
        let _ = topic;
        self.interrupted();
    }
}

/// Delivers messages to the hubs of all nodes, and keeps the history of topics.
///
/// Topics with history: the backplane gives each message a position and stores it before [`publish`](Self::publish)
/// returns, whether or not a hub is subscribed. Topics without history: messages reach the hubs that are subscribed and
/// connected; they reach the hub of the publisher also while the backplane's server is away.
///
/// The hub gives a call of [`subscribe`](Self::subscribe) or [`history`](Self::history) up after 5 seconds, by dropping its
/// future, and calls again.
#[async_trait]
pub trait Backplane: Send + Sync + 'static {
    /// Sets the receiver of a hub. Called once by each hub, before any other method; a backplane of several hubs in
    /// one process (see [`Memory`]) delivers to each of them.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the backplane serves one hub and has one.
    fn attach(&self, receiver: Weak<dyn Receiver>) -> Result<(), Error>;

    /// Returns whether hubs of other processes have the same history, so that all hubs need the same keys of cursors.
    /// Default `false`.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns whether messages of other nodes arrive. Default [`Status::Connected`], of a backplane without a connection.
    fn status(&self) -> Status {
        Status::Connected
    }

    /// Publishes a message. A repetition with the same identity is a duplicate: it has no effect and returns the position of
    /// the first.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotExecuted`](comms_core::ErrorKind::NotExecuted) if the topic has history and the message
    /// was not stored, and `Indeterminate` if it may have been stored. The caller
    /// publishes it again with the same identity.
    async fn publish(&self, publication: Publication<'_>) -> Result<Published, Error>;

    /// Starts the delivery of `topic`, and returns its position after the start: every later message is delivered. A topic
    /// without history has no position.
    ///
    /// # Errors
    /// Returns `NotExecuted` or `Indeterminate` if the topic has history and the backplane's server does not answer. The caller tries
    /// again. For a topic without history the subscription is kept, and takes effect when the server is back.
    async fn subscribe(&self, topic: &str, retention: Option<Retention>) -> Result<Option<Position>, Error>;

    /// Ends the delivery of `topic`.
    fn unsubscribe(&self, topic: &str);

    /// Reads the messages of `topic` after `since`, at most `max_bytes` of them, but at least one if there is one.
    ///
    /// # Errors
    /// Returns `NotExecuted` or `Indeterminate` if the history cannot be read now.
    async fn history(
        &self,
        topic: &str,
        retention: Retention,
        since: Position,
        max_bytes: usize,
    ) -> Result<History, Error>;

    /// Returns `true` to the first caller with this `key` on any node within `lifetime`, and `false` to later ones.
    ///
    /// # Errors
    /// Returns `NotExecuted` or `Indeterminate` if the backplane's server does not answer. The key may be taken then.
    async fn claim(&self, key: &str, lifetime: Duration) -> Result<bool, Error>;

    /// Lists `principals` as present in `topic` on `node` for `lifetime` from now, by the clock of the backplane's server.
    /// A `lifetime` of zero removes them. The hub repeats the call before the lifetime ends, so that a node that died is
    /// not listed for longer.
    ///
    /// # Errors
    /// Returns `NotExecuted` or `Indeterminate` if the backplane's server does not answer. The hub calls again.
    async fn set_present(
        &self,
        topic: &str,
        node: u64,
        principals: &[Arc<str>],
        lifetime: Duration,
    ) -> Result<(), Error>;

    /// Returns the principals that are present in `topic` on any node, each once and in any order, at most `max`.
    ///
    /// # Errors
    /// Returns `NotExecuted` or `Indeterminate` if the backplane's server does not answer.
    async fn present(&self, topic: &str, max: usize) -> Result<Vec<String>, Error>;

    /// Keeps the backplane running until `shutdown`. Called once. A backplane without a task returns at once.
    async fn run(&self, shutdown: ShutdownSignal);
}
