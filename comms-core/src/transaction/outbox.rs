//! The transactional outbox.

use std::future::Future;

use super::UnitOfWork;
use crate::{Error, Message};

/// Writes messages in the caller's transaction: they exist if and only if it commits.
///
/// A relay publishes the committed messages. Run `comms_core::testing::outbox::all` (feature `testing`) against an
/// implementation.
pub trait Outbox: UnitOfWork {
    /// Writes `messages`. Messages with equal keys are published in this order.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if a message exceeds a limit of the backend, and the error of a
    /// statement that the database refused.
    fn enqueue(
        &self,
        tx: &mut Self::Tx,
        messages: &[Message],
    ) -> impl Future<Output = Result<(), Error>> + Send;
}
