//! The leased store: a memory of requests outside any transaction.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Admission, CallKey, StoredReply};
use crate::Error;

/// How long a run may take, and how long its reply is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseOptions {
    lease: Duration,
    retention: Duration,
}

impl LeaseOptions {
    /// The longest time a reply may be kept: a year.
    pub const RETENTION_LIMIT: Duration = Duration::from_secs(366 * 24 * 3600);

    /// `lease`: after this time without an answer the run counts as dead, and another may run. Longer than
    /// the slowest run, or it runs twice. `retention`: how long the reply is replayed once it is there. Longer
    /// than callers go on asking.
    ///
    /// # Errors
    /// `Invalid` for a time of zero, or over [`LeaseOptions::RETENTION_LIMIT`].
    pub fn new(lease: Duration, retention: Duration) -> Result<Self, Error> {
        let fits = |time: Duration| !time.is_zero() && time <= Self::RETENTION_LIMIT;
        if fits(lease) && fits(retention) {
            return Ok(Self { lease, retention });
        }
        Err(Error::invalid(
            "the lease and the retention of an idempotent request are above zero, and at most a year",
        ))
    }

    /// How long a run may take.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// How long its reply is replayed.
    #[must_use]
    pub const fn retention(&self) -> Duration {
        self.retention
    }
}

impl Default for LeaseOptions {
    /// A lease of 30 s; a reply is kept for a day.
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), retention: Duration::from_secs(24 * 3600) }
    }
}

/// The right to run one request, until its lease ends. Made by a store, given back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseToken {
    /// [`CallKey::scope`].
    pub scope: Arc<str>,
    /// [`CallKey::key`].
    pub key: Arc<str>,
    /// Which run of this key it is: no two leases of a store have the same.
    pub fence: u64,
}

impl LeaseToken {
    /// The right to the run `fence` of `call`.
    #[must_use]
    pub fn new(call: &CallKey, fence: u64) -> Self {
        Self { scope: call.scope.clone(), key: call.key.clone(), fence }
    }
}

/// Remembers requests and their replies under a lease, outside any transaction: for effects that none holds.
///
/// The promise: of all calls of one key, one at a time is told to run; once it has completed, the others get its
/// reply for as long as it is kept. A run that was abandoned, or whose lease ran out, lets the next one run.
/// Late news change nothing: a `complete` after the lease's end is refused with `Conflict`, whether or not
/// another runs by then, and never overwrites a reply.
///
/// What it cannot promise: that a run happens once. A process that dies in it, or outlives its lease, has had
/// an effect that the store has not seen; give that effect the same key where its receiver takes one. Where
/// the effect is rows in one database, [`Replies`](super::Replies) promises more.
///
/// Implement it with the store's own clock (the database's, the server's), never the callers'. Run
/// `comms_core::testing::idempotency::all` (feature `testing`) against it.
#[async_trait]
pub trait IdempotencyStore: Send + Sync + 'static {
    /// Admits the request of `call`, for a lease and with a keep as `terms` say.
    ///
    /// # Errors
    /// The store's; `Rejected` where it is full of what it may not forget.
    async fn admit(&self, call: &CallKey, options: LeaseOptions) -> Result<Admission<LeaseToken>, Error>;

    /// Stores the reply of the run `token`; it is replayed from now on. Completing a run again with the same
    /// token is the same as once: the first reply stays.
    ///
    /// # Errors
    /// `Conflict` where the lease ran out or was abandoned; `Invalid` for a reply over the store's limits (the
    /// lease stays); the store's.
    async fn complete(&self, token: &LeaseToken, reply: &StoredReply) -> Result<(), Error>;

    /// Gives up the run `token`: the next request of its key runs. Changes nothing where the lease ran out or the
    /// run has completed.
    ///
    /// # Errors
    /// The store's.
    async fn abandon(&self, token: &LeaseToken) -> Result<(), Error>;
}
