//! The seam to whatever carries messages away.

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use std::collections::VecDeque;

use crate::{Error, Message};

/// Where a message came to rest, for logs: partition and offset where the carrier has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Partition of the log.
    pub partition: Option<i32>,
    /// Offset in it.
    pub offset: Option<i64>,
}

impl Receipt {
    /// A receipt of a carrier with a partitioned log.
    #[must_use]
    pub const fn at(partition: i32, offset: i64) -> Self {
        Self { partition: Some(partition), offset: Some(offset) }
    }
}

/// One result per message taken, in the order they were taken. Errors are final for the publisher:
/// what can be retried without breaking the order it has retried itself.
pub type Acks = BoxFuture<'static, Vec<Result<Receipt, Error>>>;

/// Takes messages over, in order, and acknowledges them later.
///
/// Handing over is synchronous: an `async fn publish` would take its place in the order only when it
/// is polled, and pipelined batches would invert a key. What was taken goes its way whether or not anybody polls
/// its acknowledgements.
///
/// Run `comms_core::testing::publisher::all` (feature `testing`) against an implementation.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Takes from the front of `batch`, in order, up to its own bound; the rest stays with the caller.
    /// The order is settled when this returns, not when the acknowledgements are polled. Must be called
    /// within a tokio runtime.
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks;

    /// Resolves when there is room for at least one message.
    ///
    /// # Errors
    /// `Fatal` where the publisher can never take another.
    async fn ready(&self) -> Result<(), Error>;

    /// Resolves when everything taken has been acknowledged or refused.
    ///
    /// # Errors
    /// `Indeterminate` where that cannot be had in the publisher's time limit.
    async fn flush(&self) -> Result<(), Error>;
}
