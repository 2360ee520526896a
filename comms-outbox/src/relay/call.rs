//! Time limits of calls to the database.

use std::{future::Future, time::Duration};

use comms_core::{Error, clock::Clock};

/// Time limit of one call to the database, except a read.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Time limit of one read, which may consist of several bounded statements.
pub(crate) const READ_LIMIT: Duration = Duration::from_secs(30);

/// Runs `call`, and fails with `NotExecuted` if it takes longer than `limit`.
pub(crate) async fn limited<T>(
    clock: &Clock,
    limit: Duration,
    call: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    let late = || Error::not_executed(format!("the database did not answer within {limit:?}"));
    clock.timeout(limit, call).await.unwrap_or_else(|_| Err(late()))
}
