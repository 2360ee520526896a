//! The trait of a transport to which messages are published.

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use std::collections::VecDeque;

use crate::{Error, Message};

/// The position at which a transport stored a message, for logs. A transport without partitions leaves both fields
/// `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The partition of the log.
    pub partition: Option<i32>,
    /// The offset in the partition.
    pub offset: Option<i64>,
}

impl Receipt {
    /// Makes the receipt of a message at `offset` in `partition` of a log.
    #[must_use]
    pub const fn at(partition: i32, offset: i64) -> Self {
        Self { partition: Some(partition), offset: Some(offset) }
    }
}

/// The acknowledgements of [`Publisher::enqueue`]: a future with one result for each message taken, in the order in
/// which the messages were taken.
///
/// An error is final: the publisher has already retried everything that can be retried without a change of the order.
/// The kind of an error shows its scope. [`Invalid`](crate::ErrorKind::Invalid) concerns one message,
/// [`Misconfigured`](crate::ErrorKind::Misconfigured) its topic (missing, or without permission), and any other kind
/// the publisher or its transport.
pub type Acks = BoxFuture<'static, Vec<Result<Receipt, Error>>>;

/// A transport that takes messages in order and acknowledges them later: a Kafka producer, or a subscriber in the
/// process.
///
/// [`enqueue`](Self::enqueue) is synchronous. The messages of an `async fn publish` would get their place in the order
/// only when the future is polled, so that pipelined batches could invert the messages of a key. Messages that were
/// taken are sent whether or not their acknowledgements are polled.
///
/// Run `comms_core::testing::publisher::all` (feature `testing`) against an implementation.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Takes messages from the front of `batch`, in order, up to the limit of the publisher. The other messages stay in
    /// `batch`.
    ///
    /// The order is settled when this method returns. The method must be called within a tokio runtime.
    ///
    /// Dropping the acknowledgements abandons the messages: a relay that lost its lease drops them, so that it does not
    /// publish at the same time as its successor. The publisher then drops the messages that are not sent yet, if it
    /// can do so without dropping another caller's messages. An abandoned message may still arrive, so that the caller
    /// treats each of them as [`Indeterminate`](crate::ErrorKind::Indeterminate).
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks;

    /// Resolves when the publisher can take at least one message.
    ///
    /// # Errors
    /// Returns [`Fatal`](crate::ErrorKind::Fatal) if the publisher can never take another message.
    async fn ready(&self) -> Result<(), Error>;

    /// Resolves when every message that was taken has been acknowledged, refused or dropped.
    ///
    /// # Errors
    /// Returns [`Indeterminate`](crate::ErrorKind::Indeterminate) if messages are still in flight after the time limit
    /// of the publisher.
    async fn flush(&self) -> Result<(), Error>;
}
