//! The transactional inbox for batches: one claim and one transaction for many messages.

use std::{collections::HashSet, future::Future};

use serde::{Serialize, de::DeserializeOwned};

use super::{Claim, Claimed, Inbox, Scoped, in_transaction, once};
use crate::{
    BatchHandler, BatchResults, Delivery, Error, Outcome, batch_fn,
    event::{self, Event},
    transport::Disposition,
};

/// Makes a [`BatchHandler`] from a function that takes several events and a transaction.
///
/// The batch is applied in one transaction: one round trip claims all deliveries, the function is called once with the
/// events that are new, in order, and their effects commit together with their claims. A redelivery changes nothing.
/// The function is not called if no event is new.
///
/// If the transaction fails, it rolls back and the deliveries are applied one by one, each in a transaction of its own,
/// so that one bad message does not fail the others. The function is then called again, with one event. After a failed
/// delivery, later deliveries of the same key are not applied. If the cause is outside the messages, for example because
/// the database is unavailable, the batch fails as a whole, and the consumer repeats it.
///
/// ```
/// # #[cfg(not(feature = "testing"))] fn main() {}
/// # #[cfg(feature = "testing")] fn main() {
/// use comms_core::{Scoped, event::Event, testing::{MemoryTx, MemoryUnit}, transactional_batch};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Viewed { page: String }
/// impl Event for Viewed {
///     const TYPE: &'static str = "viewed";
///     const VERSION: u32 = 1;
///     fn key(&self) -> String { self.page.clone() }
/// }
/// let handler = transactional_batch(MemoryUnit::new(), |views: Vec<Viewed>, mut tx: Scoped<MemoryTx>| async move {
///     let pages: Vec<String> = views.into_iter().map(|view| view.page).collect();
///     tx.write("last pages", pages.join(" ")).await // one statement for the whole batch
/// });
/// # fn check(_: impl comms_core::BatchHandler) {}
/// # check(handler);
/// # }
/// ```
///
/// # Errors
/// The result of a delivery is the error of [`event::read`] or [`once`]. The call fails with the error of the function,
/// of [`Inbox::claim`] or of [`in_transaction`] if its disposition is [`Hold`](Disposition::Hold).
pub fn transactional_batch<U, E, F, Fut>(unit: U, function: F) -> impl BatchHandler
where
    U: Inbox,
    E: Event + Serialize + DeserializeOwned,
    F: Fn(Vec<E>, Scoped<U::Tx>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    batch_fn(move |deliveries: Vec<Delivery>| {
        let (unit, function) = (unit.clone(), function.clone());
        async move { apply(&unit, &deliveries, &function).await }
    })
}

async fn apply<U, E, F, Fut>(unit: &U, deliveries: &[Delivery], function: &F) -> Result<BatchResults, Error>
where
    U: Inbox,
    E: Event + Serialize + DeserializeOwned,
    F: Fn(Vec<E>, Scoped<U::Tx>) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    if deliveries.len() > 1 {
        let (events, ended) = read_all::<E>(deliveries);
        match together(unit, deliveries, events, function).await {
            Ok(applied) => return Ok(in_order(ended, applied)),
            Err(error) if error.kind.disposition() == Disposition::Hold => return Err(error),
            Err(_) => {}
        }
    }
    Ok(one_by_one(unit, deliveries, function).await)
}

/// An event, or the result of a delivery without one, with the index of its delivery.
type Indexed<T> = Vec<(usize, T)>;

/// Reads the events. Of a delivery that has no event, or that must wait behind an unreadable one of its key, returns
/// the result.
fn read_all<E: Event + Serialize + DeserializeOwned>(
    deliveries: &[Delivery],
) -> (Indexed<E>, Indexed<Result<Outcome, Error>>) {
    let (mut events, mut ended, mut failed) = (Vec::new(), Vec::new(), FailedKeys::default());
    for (index, delivery) in deliveries.iter().enumerate() {
        match failed.check(delivery).and_then(|()| event::read(&delivery.message)) {
            Ok(Some(event)) => events.push((index, event)),
            Ok(None) => ended.push((index, Ok(Outcome::Skipped))),
            Err(error) => ended.push((index, Err(failed.add(delivery, error)))),
        }
    }
    (events, ended)
}

/// Applies `events` in one transaction.
async fn together<U, E, F, Fut>(
    unit: &U,
    deliveries: &[Delivery],
    events: Indexed<E>,
    function: &F,
) -> Result<Indexed<Result<Outcome, Error>>, Error>
where
    U: Inbox,
    F: Fn(Vec<E>, Scoped<U::Tx>) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let claims: Vec<_> = events.iter().map(|(index, _)| Claim::of(&deliveries[*index])).collect();
    in_transaction(unit, async |mut tx| {
        let claimed = unit.claim(&mut tx, &claims).await?;
        let (mut new, mut results) = (Vec::new(), Vec::with_capacity(events.len()));
        for ((index, event), claimed) in events.into_iter().zip(claimed) {
            let is_new = claimed == Claimed::New;
            results.push((index, Ok(if is_new { Outcome::Done } else { Outcome::Duplicate })));
            new.extend(is_new.then_some(event));
        }
        if !new.is_empty() {
            function(new, tx).await?;
        }
        Ok(results)
    })
    .await
}

/// Applies each delivery in a transaction of its own. A delivery behind a failed one of its key is not applied, and
/// neither is a delivery behind one that failed for a cause outside the message.
async fn one_by_one<U, E, F, Fut>(unit: &U, deliveries: &[Delivery], function: &F) -> BatchResults
where
    U: Inbox,
    E: Event + Serialize + DeserializeOwned,
    F: Fn(Vec<E>, Scoped<U::Tx>) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let (mut results, mut failed) = (Vec::with_capacity(deliveries.len()), FailedKeys::default());
    for delivery in deliveries {
        let result = match failed.check(delivery).and_then(|()| event::read(&delivery.message)) {
            Ok(Some(event)) => {
                let applied = once(unit, delivery, |tx| function(vec![event], tx)).await;
                failed.all |= applied.as_ref().is_err_and(|e| e.kind.disposition() == Disposition::Hold);
                applied
            }
            Ok(None) => Ok(Outcome::Skipped),
            Err(error) => Err(error),
        };
        results.push(result.map_err(|error| failed.add(delivery, error)));
    }
    results
}

/// Merges two lists of results into one, in the order of their deliveries.
fn in_order(
    mut results: Indexed<Result<Outcome, Error>>,
    others: Indexed<Result<Outcome, Error>>,
) -> BatchResults {
    results.extend(others);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The keys of the deliveries of a batch that failed.
#[derive(Default)]
struct FailedKeys<'a> {
    keys: HashSet<&'a [u8]>,
    /// A delivery failed for a cause outside the message, so the others would fail too.
    all: bool,
}

impl<'a> FailedKeys<'a> {
    /// Returns an error if `delivery` must wait behind a failed one.
    fn check(&self, delivery: &Delivery) -> Result<(), Error> {
        match self.all || delivery.message.key().is_some_and(|key| self.keys.contains(key)) {
            true => Err(Error::not_executed("the delivery waits behind a failed one of the same batch")),
            false => Ok(()),
        }
    }

    /// Records that `delivery` failed with `error`, and returns the error.
    fn add(&mut self, delivery: &'a Delivery, error: Error) -> Error {
        self.keys.extend(delivery.message.key());
        error
    }
}
