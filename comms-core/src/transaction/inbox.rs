//! The transactional inbox: each handler applies each message once.

use std::{future::Future, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{Scoped, UnitOfWork, in_transaction};
use crate::{
    Delivery, Error, Handler, Message, Outcome,
    event::{self, Event, Versions},
    handler_fn,
};

/// The key of an inbox row, which records that one handler of one consumer group has applied one message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The consumer group ([`Delivery::group`]), or the name of a subscriber that is not a consumer group.
    pub subscriber: Arc<str>,
    /// The handler within the group ([`Delivery::handler`]). Each handler of a group applies the message once.
    pub handler: Arc<str>,
    /// The service that made the message ([`Message::source`]).
    pub source: Arc<str>,
    /// The id of the message within its source ([`Message::id`]).
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
            source: message.source().into(),
            id: message.id().into(),
        }
    }
}

/// The result of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The message is not applied yet: apply it in this transaction.
    New,
    /// The message was applied by a committed transaction, or is claimed by this one already: do nothing.
    Seen,
}

/// Records in a handler's transaction which messages the handler has applied.
///
/// Delivery is at least once. A handler that claims each message in the transaction of its writes applies the message
/// once: a redelivery finds the claim and changes nothing. [`transactional`] and [`once`] do this.
///
/// Check an implementation with the conformance suite `comms_core::testing::inbox::all` (feature `testing`).
pub trait Inbox: UnitOfWork {
    /// Claims each of `claims` in the transaction `tx`, and returns one result for each claim, in their order.
    ///
    /// Of equal claims the first one can be [`Claimed::New`], and the others are [`Claimed::Seen`]. A claim is recorded
    /// when the transaction commits. If another open transaction has made an equal claim, the call waits until that
    /// transaction ends: the result is `Seen` after its commit, and `New` after its rollback. An implementation
    /// acquires its locks in an order that does not depend on the order of `claims`, so that two batches cannot
    /// deadlock.
    ///
    /// # Errors
    /// A statement that the database refuses has the kind that the backend gives it: for example
    /// [`NotExecuted`](crate::ErrorKind::NotExecuted) if the connection is lost,
    /// [`Conflict`](crate::ErrorKind::Conflict) after a deadlock, and
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) if a table or a permission is missing.
    fn claim(
        &self,
        tx: &mut Self::Tx,
        claims: &[Claim],
    ) -> impl Future<Output = Result<Vec<Claimed>, Error>> + Send;
}

/// Applies `delivery` once: claims the delivery in the inbox and runs `work` in the same transaction.
///
/// The guarantee covers the writes of the transaction. Effects outside it, such as a call or a mail, may be repeated.
///
/// Returns [`Outcome::Duplicate`], without running `work`, if the delivery was applied before.
///
/// # Errors
/// Returns the errors of `work`, [`Inbox::claim`] and [`in_transaction`].
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

/// Makes a [`Handler`] from a function that takes an event and a transaction.
///
/// The function's writes and the inbox row of the delivery commit together, so that a redelivery changes nothing. The
/// guarantee does not cover effects outside the transaction, such as a call or a mail. The handler returns
/// [`Outcome::Duplicate`] for a redelivery and [`Outcome::Skipped`] for another event type. The [crate root](crate) has
/// an example.
///
/// # Errors
/// The handler returns the errors of [`event::read`] and [`once`]. A newer version of the event is
/// [`Misconfigured`](crate::ErrorKind::Misconfigured): a consumer holds the delivery until a consumer that reads the
/// version is deployed. An older version is [`Invalid`](crate::ErrorKind::Invalid): use [`transactional_versions`].
pub fn transactional<U, E, F, Fut>(unit: U, function: F) -> impl Handler
where
    U: Inbox,
    E: Event + Serialize + DeserializeOwned,
    F: Fn(E, Scoped<U::Tx>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    event_handler(unit, |message: &Message| event::read(message), function)
}

/// Makes a [`Handler`] as [`transactional`] does, for every version of the event that `versions` reads.
///
/// The upcasters of `versions` convert an older version into the newest one before the function is called.
///
/// # Errors
/// The handler returns the errors of [`Versions::read`] and [`once`]. The setting [`NewerVersion`](event::NewerVersion)
/// of `versions` decides whether a newer version is held or dead-lettered.
pub fn transactional_versions<U, E, F, Fut>(unit: U, versions: Versions<E>, function: F) -> impl Handler
where
    U: Inbox,
    E: Event,
    F: Fn(E, Scoped<U::Tx>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    event_handler(unit, move |message: &Message| versions.read(message), function)
}

/// Makes a handler that applies the event that `read` returns for a delivery, and skips a delivery without an event.
fn event_handler<U, E, R, F, Fut>(unit: U, read: R, function: F) -> impl Handler
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
