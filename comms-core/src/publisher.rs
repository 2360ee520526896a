//! The trait of a transport that messages are published to.

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use std::collections::VecDeque;

use crate::{Error, Message};

/// The position at which a transport stored a message, for logs. A transport without partitions leaves it empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The partition of the log.
    pub partition: Option<i32>,
    /// The offset in the partition.
    pub offset: Option<i64>,
}

impl Receipt {
    /// Makes the receipt of a transport with a partitioned log.
    #[must_use]
    pub const fn at(partition: i32, offset: i64) -> Self {
        Self { partition: Some(partition), offset: Some(offset) }
    }
}

/// The acknowledgements of [`Publisher::enqueue`]: one result for each message taken, in the order in which they were taken.
///
/// An error is final for the publisher, which has already retried everything that can be retried without breaking the
/// order. The kind of an error names its scope: `Invalid` concerns the one message, `Misconfigured` its topic (missing, no
/// permission), any other kind the publisher or its transport.
pub type Acks = BoxFuture<'static, Vec<Result<Receipt, Error>>>;

/// A transport that takes messages in order and acknowledges them later: a Kafka producer, or a subscriber in the process.
///
/// [`enqueue`](Self::enqueue) is synchronous. An `async fn publish` would take its place in the order only when it is
/// polled, and pipelined batches could then invert the messages of a key. Messages that were taken are sent whether or not
/// their acknowledgements are polled.
///
/// Run `comms_core::testing::publisher::all` (feature `testing`) against an implementation.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Takes messages from the front of `batch`, in order, up to the publisher's own limit; the rest stays in `batch`.
    ///
    /// The order is settled when this method returns. It must be called within a tokio runtime.
    ///
    /// Dropping the acknowledgements gives up the messages: a relay that lost its lease drops them, so that it does not
    /// send at the same time as its successor. The publisher then drops the messages that it has not sent yet, if it can do
    /// so without dropping another caller's messages. A message that was sent may arrive, so the caller treats all of them
    /// as `Indeterminate`.
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks;

    /// Resolves when the publisher can take at least one message.
    ///
    /// # Errors
    /// Returns `Fatal` if the publisher can never take another message.
    async fn ready(&self) -> Result<(), Error>;

    /// Resolves when every message that was taken has been acknowledged, refused or dropped.
    ///
    /// # Errors
    /// Returns `Indeterminate` if that takes longer than the publisher's time limit.
    async fn flush(&self) -> Result<(), Error>;
}
