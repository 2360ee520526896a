//! The admission of a request that may have been made before.

use std::time::Duration;

use super::StoredReply;

/// The result of admitting a request: run the request, or answer it without running it.
///
/// `T` is the right to run the request: a [`LeaseToken`](super::LeaseToken) from an
/// [`IdempotencyStore`](super::IdempotencyStore), and `()` from [`Replies`](super::Replies), whose right is the open
/// transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission<T = ()> {
    /// The first request of its key: run it, and store its reply.
    Run(T),
    /// The request was completed earlier: answer with its stored reply.
    Replay(StoredReply),
    /// Another caller runs the request now.
    InFlight {
        /// The wait after which the caller can repeat the request; at most until the lease of the other request ends.
        retry_after: Duration,
    },
    /// The key was used for a request with another fingerprint.
    Mismatch,
}
