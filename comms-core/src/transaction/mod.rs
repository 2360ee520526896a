//! The seam to the database: one transaction that holds the state, the inbox row and the next messages.

use std::{
    future::Future,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    Delivery, Error, Handler, Message, Outcome,
    event::{self, Event, Versions},
    handler_fn,
};

/// Opens transactions. Holds the pool; everything else takes the caller's transaction.
pub trait UnitOfWork: Clone + Send + Sync + 'static {
    /// An open transaction. Dropping it rolls back.
    type Tx: Send + 'static;

    /// Opens one.
    ///
    /// # Errors
    /// `NotExecuted` where the database cannot be reached in time.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx, Error>> + Send;

    /// Commits it.
    ///
    /// # Errors
    /// `Conflict` where it lost against another; `Indeterminate` where the answer was lost.
    fn commit(&self, tx: Self::Tx) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The key of an inbox row: this handler of this group has applied this message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// [`Delivery::group`], or the name of a subscriber that is no consumer group.
    pub subscriber: Arc<str>,
    /// [`Delivery::handler`]: the handlers of one group have one effect each.
    pub handler: Arc<str>,
    /// [`Message::source`].
    pub source: Arc<str>,
    /// [`Message::id`].
    pub id: Arc<str>,
}

impl Claim {
    /// The claim of `delivery`.
    #[must_use]
    pub fn of(delivery: &Delivery) -> Self {
        let Delivery { message, group, handler, .. } = delivery;
        Self {
            subscriber: group.clone(),
            handler: handler.clone(),
            source: message.source.clone(),
            id: message.id.clone(),
        }
    }
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// First time: do it, in this transaction.
    New,
    /// Committed before: do nothing.
    Seen,
}

/// Remembers in the handler's own transaction what has been applied. Run `comms_core::testing::inbox::all`
/// (feature `testing`) against an implementation.
pub trait Inbox: UnitOfWork {
    /// Claims all of `claims`, one answer each, in order; of equal ones the first is `New`. The claims take effect
    /// with the transaction. Takes its locks in an order that does not depend on that of `claims`.
    /// Waits for another transaction that claims the same, and answers by how that one ended.
    ///
    /// # Errors
    /// The database's.
    fn claim(
        &self,
        tx: &mut Self::Tx,
        claims: &[Claim],
    ) -> impl Future<Output = Result<Vec<Claimed>, Error>> + Send;
}

/// Writes messages in the caller's transaction: they exist if and only if it commits. Run
/// `comms_core::testing::outbox::all` (feature `testing`) against an implementation.
pub trait Outbox: UnitOfWork {
    /// Writes `messages`. They leave in this order where their keys are equal.
    ///
    /// # Errors
    /// The database's; `Invalid` for a message over the backend's limits.
    fn enqueue(
        &self,
        tx: &mut Self::Tx,
        messages: &[Message],
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The transaction while the application's function has it: use it, never commit it.
/// It goes home when it is dropped.
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

/// Runs `work` in a transaction of `unit` and commits it. An error, a cancellation or a panic rolls back.
///
/// # Errors
/// Returns those of `work` and of the database, and `Internal` if `work` kept the transaction beyond its end.
pub async fn in_transaction<U, F, Fut, T>(unit: &U, work: F) -> Result<T, Error>
where
    U: UnitOfWork,
    F: FnOnce(Scoped<U::Tx>) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let (tx, answer) = lend(unit.begin().await?, work).await?;
    unit.commit(tx).await?;
    Ok(answer)
}

/// Lends `tx` to `work` and takes it home. The mutex is never contended: it is the way a transaction can be
/// lent to a 'static future that cannot commit it.
pub(crate) async fn lend<Tx, F, Fut, T>(tx: Tx, work: F) -> Result<(Tx, T), Error>
where
    F: FnOnce(Scoped<Tx>) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let home = Arc::new(Mutex::new(tx));
    let lent = home.clone().lock_owned().await;
    let answer = work(Scoped(lent)).await?;
    let tx = Arc::try_unwrap(home)
        .map_err(|_| Error::internal("the function kept its transaction beyond its own end"))?;
    Ok((tx.into_inner(), answer))
}

/// Applies `delivery` once in effect: claims it in the inbox and runs `work` in the same transaction.
/// A delivery claimed before is [`Outcome::Duplicate`], and `work` does not run.
///
/// # Errors
/// Those of `work` and of the database.
pub async fn once<U, F, Fut>(unit: &U, delivery: &Delivery, work: F) -> Result<Outcome, Error>
where
    U: Inbox,
    F: FnOnce(Scoped<U::Tx>) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let claim = [Claim::of(delivery)];
    in_transaction(unit, async |mut tx| {
        let answers = unit.claim(&mut tx, &claim).await?;
        if answers.first() != Some(&Claimed::New) {
            return Ok(Outcome::Duplicate);
        }
        work(tx).await.map(|()| Outcome::Done)
    })
    .await
}

/// Makes a [`Handler`] of a function over an event and a transaction: the transactional inbox.
/// Deliveries of another event type are [`Outcome::Skipped`].
///
/// The guarantee: the function's writes and the inbox row of the delivery commit together, so a
/// redelivery changes nothing. What breaks it: an effect outside the transaction.
///
/// # Errors
/// The handler returns what [`event::read`] and [`once`] return. In particular a newer version of the event is
/// [`Misconfigured`](crate::ErrorKind::Misconfigured), which holds the delivery until a consumer that reads that
/// version is deployed, and an older one is [`Invalid`](crate::ErrorKind::Invalid): use [`transactional_versions`].
pub fn transactional<U, E, F, Fut>(unit: U, function: F) -> impl Handler
where
    U: Inbox,
    E: Event + Serialize + DeserializeOwned,
    F: Fn(E, Scoped<U::Tx>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    applied(unit, |message: &Message| event::read(message), function)
}

/// As [`transactional`], for every version of the event that `versions` reads: an older version is upcast to the
/// newest. Deliveries of another event are [`Outcome::Skipped`].
///
/// # Errors
/// The handler returns what [`Versions::read`] and [`once`] return. A newer version is held or dead-lettered as
/// [`NewerVersion`](event::NewerVersion) of `versions` sets.
pub fn transactional_versions<U, E, F, Fut>(unit: U, versions: Versions<E>, function: F) -> impl Handler
where
    U: Inbox,
    E: Event,
    F: Fn(E, Scoped<U::Tx>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    applied(unit, move |message: &Message| versions.read(message), function)
}

/// Applies what `read` makes of a delivery; `None` is skipped.
fn applied<U, E, R, F, Fut>(unit: U, read: R, function: F) -> impl Handler
where
    U: Inbox,
    E: Event,
    R: Fn(&Message) -> Result<Option<E>, Error> + Clone + Send + Sync + 'static,
    F: Fn(E, Scoped<U::Tx>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    handler_fn(move |delivery: Delivery| {
        let (unit, read, function) = (unit.clone(), read.clone(), function.clone());
        async move {
            match read(&delivery.message)? {
                None => Ok(Outcome::Skipped),
                Some(event) => once(&unit, &delivery, move |tx| function(event, tx)).await,
            }
        }
    })
}

#[cfg(test)]
mod tests;
