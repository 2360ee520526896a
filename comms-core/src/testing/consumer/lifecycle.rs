//! Stops, restarts and limits.

use super::{
    bench::{Bench, ids, mixed},
    log::Reaction,
};
use crate::{
    ErrorKind,
    clock::Clock,
    testing::{
        Broken, Transport,
        check::{OBSERVED_WAIT, ensure, ensure_eq},
    },
    transport::BudgetConfig,
};

/// Checks that a message whose handler runs at the stop comes again after a restart, with the messages behind it, and
/// that no message comes again when all are settled.
///
/// # Errors
/// Returns [`Broken`] if the consumer does not stop, if a message is lost, or if an acknowledged one comes again.
pub async fn restart_loses_nothing<T: Transport + Clone>(transport: &T) -> Result<(), Broken> {
    let mut bench = Bench::new(transport, |id, nth| match id == "slow-2" && nth == 1 {
        true => Reaction::Wait,
        false => Reaction::Done,
    })
    .await?;
    let (slow, others) = (ids("slow", 6), mixed(&["a", "b", "c"], 6));
    bench.publish(slow.iter().chain(&others).cloned()).await?;
    bench.start();
    bench.until_done(&others).await?;
    bench.until("the message is handled", |calls| calls.of("slow-2") == 1).await?;
    bench.stop().await?;
    ensure_eq(bench.log.calls().running(), 0, "the handlers that run after the end of the consumer")?;
    // Messages of all keys may come again. When the last message of each key is handled, they are too.
    let ends = ["slow", "a", "b", "c"].map(|key| format!("{key}-6"));
    bench.publish(ends.clone()).await?;
    bench.start();
    bench.until_done(&ends).await?;
    bench.stop().await?;
    let all = ids("slow", 7);
    ensure_eq(bench.log.calls().done_of("slow"), all, "the messages of a key are handled in their order")?;

    let before = bench.log.calls().all.len();
    let last = mixed(&["slow-x", "a-x", "b-x", "c-x"], 1);
    bench.publish(last.clone()).await?;
    bench.start();
    bench.until_done(&last).await?;
    bench.stop().await?;
    let calls = bench.log.calls();
    let again: Vec<_> =
        calls.all.iter().skip(before).map(|call| &call.id).filter(|id| !last.contains(id)).collect();
    ensure(again.is_empty(), "an acknowledged message does not come again after a stop", format!("{again:?}"))
}

/// Checks that a fatal error of a handler ends the consumer with this error, and that the message comes again.
///
/// # Errors
/// Returns [`Broken`] if the consumer goes on, ends without the error, or loses the message or one behind it.
pub async fn fatal_error_stops_the_consumer<T: Transport + Clone>(transport: &T) -> Result<(), Broken> {
    let mut bench = Bench::new(transport, |id, nth| match id == "a-1" && nth == 1 {
        true => Reaction::Fail(ErrorKind::Fatal),
        false => Reaction::Done,
    })
    .await?;
    bench.publish(ids("a", 4)).await?;
    bench.start();
    let ended = bench.ended("a fatal error ends the consumer").await?;
    ensure_eq(ended.err().map(|error| error.kind), Some(ErrorKind::Fatal), "the error of the consumer")?;
    ensure_eq(bench.log.calls().of("a-2"), 0, "the calls of the message behind the fatal one")?;
    bench.start();
    bench.until_done(&ids("a", 4)).await?;
    bench.stop().await
}

/// Checks that no more handlers run than the budget permits, and that all messages are handled nevertheless. The number
/// of records in the consumer cannot be observed on every broker, so it is not checked.
///
/// # Errors
/// Returns [`Broken`] if more handlers run at the same time, or if a message is not handled.
pub async fn running_handlers_are_bounded<T: Transport + Clone>(transport: &T) -> Result<(), Broken> {
    let mut bench = Bench::new(transport, |_, _| Reaction::Wait).await?;
    bench.setup.budget = BudgetConfig::default().concurrency(3).records(20);
    let all = mixed(&["a", "b", "c", "d", "e", "f", "g", "h"], 10);
    bench.publish(all.clone()).await?;
    bench.start();
    bench.until("handlers run at the same time", |calls| calls.running() == 3).await?;
    Clock::system().sleep(OBSERVED_WAIT).await;
    bench.log.open();
    bench.until_done(&all).await?;
    bench.stop().await?;
    ensure_eq(bench.log.calls().most_running, 3, "the most handlers that ran at the same time")
}
