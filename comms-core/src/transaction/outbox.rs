//! The transactional outbox.

use std::future::Future;

use super::UnitOfWork;
use crate::{Error, Message};

/// Writes messages in the caller's transaction: the messages exist if and only if the transaction commits.
///
/// A relay publishes the committed messages. Run `comms_core::testing::outbox::all` (feature `testing`) against an
/// implementation.
pub trait Outbox: UnitOfWork {
    /// Writes `messages` in the transaction `tx`. A relay publishes messages with equal keys in this order.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if a message exceeds a limit of the backend. A statement that the
    /// database refuses has the kind that the backend gives it: for example
    /// [`NotExecuted`](crate::ErrorKind::NotExecuted) if the connection is lost,
    /// [`Conflict`](crate::ErrorKind::Conflict) after a deadlock, and
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) if a table or a permission is missing.
    fn enqueue(
        &self,
        tx: &mut Self::Tx,
        messages: &[Message],
    ) -> impl Future<Output = Result<(), Error>> + Send;
}
