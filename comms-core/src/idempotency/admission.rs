//! The answer to a request that may have been made before.

use std::time::Duration;

use super::StoredReply;

/// What the caller does with a request of an idempotency key.
///
/// `T` is what the caller needs to run the request: a [`LeaseToken`](super::LeaseToken) of an
/// [`IdempotencyStore`](super::IdempotencyStore), nothing in a transaction of [`Replies`](super::Replies).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission<T = ()> {
    /// The first request of its key: run it, and store its reply.
    Run(T),
    /// The request was completed earlier: answer with its stored reply.
    Replay(StoredReply),
    /// Another caller runs the request now.
    InFlight {
        /// The wait after which a repetition can have an answer; at most until the other caller's lease ends.
        retry_after: Duration,
    },
    /// The key was used for a request with another fingerprint.
    Mismatch,
}
