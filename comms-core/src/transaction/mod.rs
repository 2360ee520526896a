//! The traits of a database: one transaction commits the application's state, the inbox row and the outgoing messages.
//!
//! [`UnitOfWork`] opens and commits transactions. [`Outbox`] writes messages in a transaction, [`Inbox`] records which
//! messages a handler has applied in it, and [`Replies`](crate::idempotency::Replies) stores replies in it.
//! [`in_transaction`] runs a function in a transaction. [`transactional`] makes a handler that applies each event once.

mod batch;
mod inbox;
mod outbox;

use std::{
    future::Future,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Error;
pub use batch::transactional_batch;
pub use inbox::{Claim, Claimed, Inbox, once, transactional, transactional_versions};
pub use outbox::Outbox;

/// A database that opens and commits transactions.
///
/// [`Outbox`], [`Inbox`] and [`Replies`](crate::idempotency::Replies) extend the trait with methods that take an open
/// transaction, so that their writes commit with those of the application. Only [`begin`](Self::begin) takes a
/// connection from the pool. Clones share the pool. Most applications call [`in_transaction`] or [`transactional`] and
/// never `begin` and `commit`.
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

/// A transaction that is lent to a function of the application, which can use the transaction but not commit it.
///
/// `Scoped` dereferences to the backend's transaction. The function must have dropped the `Scoped` when it returns; the
/// caller of the function then commits the transaction or rolls it back.
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

/// Runs `work` in a transaction of `unit` and commits the transaction.
///
/// The transaction rolls back if `work` fails or panics, or if the future is dropped.
///
/// # Errors
/// Returns [`Internal`](crate::ErrorKind::Internal) if the [`Scoped`] transaction is not dropped when `work` returns,
/// for example because a spawned task holds it. Otherwise returns the errors of `work`, [`UnitOfWork::begin`] and
/// [`UnitOfWork::commit`].
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

/// Lends `tx` to `work`, and returns `tx` with the result of `work`, so that the caller can write more before the commit.
/// Most applications call [`in_transaction`].
///
/// # Errors
/// Returns the error of `work`, and [`Internal`](crate::ErrorKind::Internal) if the [`Scoped`] transaction is not dropped
/// when `work` returns. `tx` is then dropped, which rolls it back.
//
// The mutex is never contended. Its guard owns the loan, so that `work` can be `'static`, as a spawned future must be. The
// transaction itself stays in this function, so that `work` cannot commit it.
pub async fn lend<Tx, F, Fut, T>(tx: Tx, work: F) -> Result<(Tx, T), Error>
where
    F: FnOnce(Scoped<Tx>) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let shared = Arc::new(Mutex::new(tx));
    let lent = shared.clone().lock_owned().await;
    let result = work(Scoped(lent)).await?;
    let tx = Arc::try_unwrap(shared).map_err(|_| {
        Error::internal(
            "the function returned but still holds its transaction: drop the transaction before the return",
        )
    })?;
    Ok((tx.into_inner(), result))
}

#[cfg(test)]
mod tests;
