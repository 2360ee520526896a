//! The traits of a database: one transaction holds the application's state, the inbox row and the next messages.
//!
//! [`UnitOfWork`] opens and commits transactions. [`Outbox`] writes messages in a transaction, [`Inbox`] records which
//! messages a handler has applied in it, and [`Replies`](crate::idempotency::Replies) stores replies in it.
//! [`in_transaction`] runs a function in a transaction; [`transactional`] makes a handler that applies each event once.

mod inbox;
mod outbox;

use std::{
    future::Future,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Error;
pub use inbox::{Claim, Claimed, Inbox, once, transactional, transactional_versions};
pub use outbox::Outbox;

/// A database that opens and commits transactions.
///
/// A unit of work is the only part that holds a connection pool; everything else takes the caller's transaction. Clones
/// share the pool.
pub trait UnitOfWork: Clone + Send + Sync + 'static {
    /// An open transaction. Dropping it rolls it back.
    type Tx: Send + 'static;

    /// Opens a transaction.
    ///
    /// # Errors
    /// Returns [`NotExecuted`](crate::ErrorKind::NotExecuted) if no connection is available in time.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx, Error>> + Send;

    /// Commits `tx`.
    ///
    /// # Errors
    /// Returns [`Conflict`](crate::ErrorKind::Conflict) if the database rolled `tx` back because of a concurrent
    /// transaction, and [`Indeterminate`](crate::ErrorKind::Indeterminate) if the database's answer was lost: the
    /// transaction may be committed.
    fn commit(&self, tx: Self::Tx) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A transaction that is lent to the application's function: it can be used, and cannot be committed.
///
/// It dereferences to the backend's transaction. Dropping it ends the loan; the caller of the function then commits the
/// transaction or rolls it back.
#[derive(Debug)]
pub struct Scoped<Tx>(OwnedMutexGuard<Tx>);

impl<Tx> Deref for Scoped<Tx> {
    type Target = Tx;
    fn deref(&self) -> &Tx {
        &self.0
    }
}

impl<Tx> DerefMut for Scoped<Tx> {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.0
    }
}

/// Runs `work` in a transaction of `unit` and commits it. An error, a cancellation and a panic roll it back.
///
/// # Errors
/// Returns the error of `work`, of [`UnitOfWork::begin`] or of [`UnitOfWork::commit`]. Returns
/// [`Internal`](crate::ErrorKind::Internal) if `work` returns while a part of it still holds the transaction.
pub async fn in_transaction<U, F, Fut, T>(unit: &U, work: F) -> Result<T, Error>
where
    U: UnitOfWork,
    F: FnOnce(Scoped<U::Tx>) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let (tx, result) = lend(unit.begin().await?, work).await?;
    unit.commit(tx).await?;
    Ok(result)
}

/// Lends `tx` to `work` and returns it after `work` has ended.
///
/// The mutex is never contended. It makes the loan `'static`, as a future that is spawned needs, and keeps the right to
/// commit here.
pub(crate) async fn lend<Tx, F, Fut, T>(tx: Tx, work: F) -> Result<(Tx, T), Error>
where
    F: FnOnce(Scoped<Tx>) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let shared = Arc::new(Mutex::new(tx));
    let lent = shared.clone().lock_owned().await;
    let result = work(Scoped(lent)).await?;
    let tx = Arc::try_unwrap(shared)
        .map_err(|_| Error::internal("the function returned and still holds its transaction"))?;
    Ok((tx.into_inner(), result))
}

#[cfg(test)]
mod tests;
