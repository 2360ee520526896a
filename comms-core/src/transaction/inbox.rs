//! The transactional inbox: each message is applied once in effect by each handler.

use std::{future::Future, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{Scoped, UnitOfWork, in_transaction};
use crate::{
    Delivery, Error, Handler, Message, Outcome,
    event::{self, Event, Versions},
    handler_fn,
};

/// The key of an inbox row: one handler of one consumer group has applied one message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// [`Delivery::group`], or the name of a subscriber that is no consumer group.
    pub subscriber: Arc<str>,
    /// [`Delivery::handler`]: each handler of a group has an effect of its own.
    pub handler: Arc<str>,
    /// [`Message::source`].
    pub source: Arc<str>,
    /// [`Message::id`].
    pub id: Arc<str>,
}

impl Claim {
    /// Returns the claim of `delivery`.
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

/// The result of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The message was not applied before: apply it in this transaction.
    New,
    /// The message was applied by a committed transaction: do nothing.
    Seen,
}

/// Records, in the handler's own transaction, which messages a handler has applied.
///
/// Run `comms_core::testing::inbox::all` (feature `testing`) against an implementation.
pub trait Inbox: UnitOfWork {
    /// Claims each of `claims` and returns one result for each, in their order; of equal claims the first is
    /// [`Claimed::New`].
    ///
    /// The claims take effect when the transaction commits. A claim that another open transaction has made waits until
    /// that transaction ends, and follows from how it ended. Implementations take their locks in an order that does not
    /// depend on the order of `claims`, so that two batches cannot deadlock.
    ///
    /// # Errors
    /// Returns the error of a statement that the database refused.
    fn claim(
        &self,
        tx: &mut Self::Tx,
        claims: &[Claim],
    ) -> impl Future<Output = Result<Vec<Claimed>, Error>> + Send;
}

/// Applies `delivery` once in effect: claims it in the inbox and runs `work` in the same transaction.
///
/// Returns [`Outcome::Duplicate`], without running `work`, if the delivery was applied before.
///
/// # Errors
/// Returns the error of `work`, of [`Inbox::claim`] or of [`in_transaction`].
pub async fn once<U, F, Fut>(unit: &U, delivery: &Delivery, work: F) -> Result<Outcome, Error>
where
    U: Inbox,
    F: FnOnce(Scoped<U::Tx>) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let claim = [Claim::of(delivery)];
    in_transaction(unit, async |mut tx| {
        let claimed = unit.claim(&mut tx, &claim).await?;
        if claimed.first() != Some(&Claimed::New) {
            return Ok(Outcome::Duplicate);
        }
        work(tx).await.map(|()| Outcome::Done)
    })
    .await
}

/// Makes a [`Handler`] of a function that takes an event and a transaction.
///
/// The function's writes and the inbox row of the delivery commit together, so a redelivery changes nothing. An effect
/// outside the transaction (a call, a mail) breaks this guarantee. Deliveries of another event type are
/// [`Outcome::Skipped`].
///
/// # Errors
/// The handler returns the errors of [`event::read`] and [`once`]. In particular a newer version of the event is
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

/// Makes a [`Handler`] as [`transactional`] does, for every version of the event that `versions` reads: an older version
/// is upcast to the newest.
///
/// # Errors
/// The handler returns the errors of [`Versions::read`] and [`once`]. A newer version is held or dead-lettered as
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

/// Makes a handler that applies the event which `read` finds in a delivery, and skips a delivery without one.
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
