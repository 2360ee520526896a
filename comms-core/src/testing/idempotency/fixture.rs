//! The fixture of the suite, and helpers of its checks.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{
    Error,
    idempotency::{Admission, CallKey, IdempotencyStore, LeaseOptions, LeaseToken, StoredReply},
    testing::{Broken, check::ensure},
};

/// A store under test, and control over its time.
pub trait StoreFixture: Send + Sync {
    /// Returns the store, the same one at each call. The store need not be empty: the suite uses unique keys.
    fn store(&self) -> Arc<dyn IdempotencyStore>;

    /// Lets `time` pass for the store: advances its clock, or sleeps.
    fn advance(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// The lease of the checks. A check that needs an expired lease waits this long.
pub(super) const LEASE: Duration = Duration::from_secs(2);

/// The retention of the replies in the checks.
pub(super) const RETENTION: Duration = Duration::from_secs(4);

/// A margin above the resolution of a store's clock, which may be a second.
pub(super) const CLOCK_MARGIN: Duration = Duration::from_millis(1100);

pub(super) async fn admit_run(
    store: &Arc<dyn IdempotencyStore>,
    call: &CallKey,
    guarantee: &str,
) -> Result<LeaseToken, Broken> {
    match store.admit(call, options()?).await? {
        Admission::Run(token) => Ok(token),
        other => Err(Broken::new(guarantee, format!("{other:?}"))),
    }
}

pub(super) fn ensure_in_flight(admission: &Admission<LeaseToken>, guarantee: &str) -> Result<(), Broken> {
    ensure(matches!(admission, Admission::InFlight { .. }), guarantee, format!("{admission:?}, not InFlight"))
}

pub(super) fn options() -> Result<LeaseOptions, Error> {
    LeaseOptions::new(LEASE, RETENTION)
}

pub(super) fn call(principal: &str, key: &str, request: u8) -> Result<CallKey, Error> {
    CallKey::with_fingerprint(principal, "suite", key, [request; 32])
}

pub(super) fn reply(number: i32) -> StoredReply {
    StoredReply::new(number, &b"\x00done\xff"[..])
        .header("location", "/jobs/1")
        .header("location", &b"\xff"[..])
}
