//! The store of requests and replies under a lease, outside a transaction.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Admission, CallKey, StoredReply};
use crate::Error;

/// How long a request may run, and how long its reply is stored. Default: a lease of 30 s, and a retention of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseOptions {
    lease: Duration,
    retention: Duration,
}

impl LeaseOptions {
    /// The longest lease and retention: 366 days.
    pub const RETENTION_LIMIT: Duration = Duration::from_secs(366 * 24 * 3600);

    /// Makes options of a `lease` and a `retention`.
    ///
    /// If a request is not completed within `lease`, the next request of its key runs: choose a lease longer than the
    /// slowest run. A reply is replayed for `retention` after it was stored: choose a retention longer than the time
    /// for which callers repeat a request.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if a duration is zero or above [`LeaseOptions::RETENTION_LIMIT`].
    pub fn new(lease: Duration, retention: Duration) -> Result<Self, Error> {
        let fits = |time: Duration| !time.is_zero() && time <= Self::RETENTION_LIMIT;
        if fits(lease) && fits(retention) {
            return Ok(Self { lease, retention });
        }
        Err(Error::invalid(
            "the lease and the retention of an idempotent request must be above zero and at most 366 days",
        ))
    }

    /// Returns the time within which a request must be completed.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// Returns the time for which a reply is replayed.
    #[must_use]
    pub const fn retention(&self) -> Duration {
        self.retention
    }
}

impl Default for LeaseOptions {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), retention: Duration::from_secs(24 * 3600) }
    }
}

/// The right to run one request until its lease expires.
///
/// [`IdempotencyStore::admit`] returns the token. [`complete`](IdempotencyStore::complete) and
/// [`abandon`](IdempotencyStore::abandon) take the token and end the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseToken {
    /// [`CallKey::scope`].
    pub scope: Arc<str>,
    /// [`CallKey::key`].
    pub key: Arc<str>,
    /// The fencing token: no two leases of a store have the same number.
    pub fence: u64,
}

impl LeaseToken {
    /// Makes the token of the lease `fence` on `call`.
    #[must_use]
    pub fn new(call: &CallKey, fence: u64) -> Self {
        Self { scope: call.scope.clone(), key: call.key.clone(), fence }
    }
}

/// A store of requests and their replies under a lease, for effects outside a transaction.
///
/// Of all requests with one key, one at a time is admitted to run. After that request has completed, the others get its
/// reply until the retention has passed. After the request was abandoned, or its lease expired, the next request runs.
/// A `complete` after the lease expired is refused with `Conflict`, whether or not another request runs by then, and
/// never overwrites a reply.
///
/// The store cannot guarantee that a request takes effect once: a process that crashes during a request, or runs longer
/// than the lease, may have had an effect before the next request runs. Pass the key to the receiver of the effect if
/// the receiver accepts an idempotency key. For rows in one database, [`Replies`](super::Replies) guarantees that a
/// request takes effect once.
///
/// An implementation times leases by the clock of the store (of the database or server), never by the callers' clocks.
/// Check an implementation with the conformance suite `comms_core::testing::idempotency::all` (feature `testing`).
#[async_trait]
pub trait IdempotencyStore: Send + Sync + 'static {
    /// Admits the request of `call` under a lease of `options`, or returns the stored reply.
    ///
    /// # Errors
    /// Returns [`Rejected`](crate::ErrorKind::Rejected) if the store is full of entries that have not expired, and the
    /// error of the store if it cannot be reached.
    async fn admit(&self, call: &CallKey, options: LeaseOptions) -> Result<Admission<LeaseToken>, Error>;

    /// Stores the reply of the request that `token` admitted. The reply is replayed from now on. A second call with the
    /// same token keeps the first reply.
    ///
    /// # Errors
    /// Returns [`Conflict`](crate::ErrorKind::Conflict) if the lease expired or was abandoned,
    /// [`Invalid`](crate::ErrorKind::Invalid) if the reply exceeds a limit of the store (the lease stays), and the
    /// error of the store if it cannot be reached.
    async fn complete(&self, token: &LeaseToken, reply: &StoredReply) -> Result<(), Error>;

    /// Releases the lease of `token`, so that the next request of its key runs. Has no effect if the lease expired or
    /// the request was completed.
    ///
    /// # Errors
    /// Returns the error of the store if it cannot be reached.
    async fn abandon(&self, token: &LeaseToken) -> Result<(), Error>;
}
