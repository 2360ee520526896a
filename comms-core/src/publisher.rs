//! The seam to a broker or transport that messages are published to.

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use std::collections::VecDeque;

use crate::{Error, Message};

/// Where a message was stored, for logs: partition and offset where the transport has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Partition of the log.
    pub partition: Option<i32>,
    /// Offset in it.
    pub offset: Option<i64>,
}

impl Receipt {
    /// A receipt of a transport with a partitioned log.
    #[must_use]
    pub const fn at(partition: i32, offset: i64) -> Self {
        Self { partition: Some(partition), offset: Some(offset) }
    }
}

/// One result per message taken, in the order they were taken. Errors are final for the publisher: the publisher has
/// itself retried everything that can be retried without breaking the order.
///
/// The kind of an error names its scope. `Invalid` is the fault of that one message. `Misconfigured` is the fault of the
/// topic (missing, no permission). Any other kind concerns the publisher or its transport.
pub type Acks = BoxFuture<'static, Vec<Result<Receipt, Error>>>;

/// Takes messages over, in order, and acknowledges them later.
///
/// Handing over is synchronous: an `async fn publish` would take its place in the order only when it
/// is polled, and pipelined batches would invert a key. Messages that were taken are sent whether or not their
/// acknowledgements are polled.
///
/// Run `comms_core::testing::publisher::all` (feature `testing`) against an implementation.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Takes from the front of `batch`, in order, up to the publisher's own bound; the rest stays with the caller.
    /// The order is settled when this returns, not when the acknowledgements are polled. Must be called
    /// within a tokio runtime.
    ///
    /// Dropping the acknowledgements gives the messages up: a relay that lost its lease drops them, so that it does
    /// not send next to its successor. The publisher then drops those that it has not sent yet, where it can do so
    /// without touching another caller's messages. Messages already sent may arrive, so the caller treats all of them
    /// as `Indeterminate`.
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks;

    /// Resolves when there is room for at least one message.
    ///
    /// # Errors
    /// Returns `Fatal` if the publisher can never take another message.
    async fn ready(&self) -> Result<(), Error>;

    /// Resolves when every message taken has been acknowledged, refused or dropped.
    ///
    /// # Errors
    /// Returns `Indeterminate` if that takes longer than the publisher's time limit.
    async fn flush(&self) -> Result<(), Error>;
}
