//! Every message, in the order of its key.

use super::{
    bench::{Bench, ids, mixed},
    log::Reaction,
};
use crate::{
    ErrorKind,
    testing::{
        Broken, Transport,
        check::{ensure, ensure_eq},
    },
};

/// Checks that the messages that were published before and after the start are handled, with and without a key.
///
/// # Errors
/// Returns [`Broken`] if a message is not handled.
pub async fn each_message_is_handled<T: Transport + Clone>(transport: &T) -> Result<(), Broken> {
    let mut bench = Bench::new(transport, |_, _| Reaction::Done).await?;
    let before = mixed(&["a", "b", ""], 10);
    bench.publish(before.clone()).await?;
    bench.start();
    bench.until_done(&before).await?;
    let mut after = mixed(&["a", "b", "c", ""], 20);
    after.retain(|id| !before.contains(id));
    bench.publish(after.clone()).await?;
    bench.until_done(&after).await?;
    bench.stop().await
}

/// Checks that each of five keys keeps its order, and that no two messages of a key run at the same time.
///
/// # Errors
/// Returns [`Broken`] if a message overtakes another one of its key, or runs beside it.
pub async fn key_keeps_its_order<T: Transport + Clone>(transport: &T) -> Result<(), Broken> {
    let keys = ["a", "b", "c", "d", "e"];
    // Every third message fails once: a retry must not be overtaken either.
    let fails = |id: &str| id.ends_with(['0', '3', '6', '9']);
    let mut bench = Bench::new(transport, move |id, nth| match nth == 1 && fails(id) {
        true => Reaction::Fail(ErrorKind::Indeterminate),
        false => Reaction::Done,
    })
    .await?;
    let all = mixed(&keys, 20);
    bench.publish(all.clone()).await?;
    bench.start();
    bench.until_done(&all).await?;
    bench.stop().await?;
    let calls = bench.log.calls();
    for key in keys {
        ensure_eq(calls.done_of(key), ids(key, 20), "the messages of a key are handled in their order")?;
    }
    ensure(
        !calls.has_overlapped,
        "the messages of a key run one after the other",
        "two of a key at the same time",
    )
}

/// Checks that other keys go on while a message fails, and that its own key waits.
///
/// # Errors
/// Returns [`Broken`] if another key waits, or if the key of the message does not.
pub async fn failed_key_holds_up_no_other<T: Transport + Clone>(transport: &T) -> Result<(), Broken> {
    let mut bench = Bench::new(transport, |id, nth| match id {
        "bad-0" if nth < 3 => Reaction::Fail(ErrorKind::NotExecuted),
        "bad-0" => Reaction::Wait,
        _ => Reaction::Done,
    })
    .await?;
    let (bad, good) = (ids("bad", 5), mixed(&["a", "b"], 10));
    bench.publish(bad.iter().chain(&good).cloned()).await?;
    bench.start();
    bench.until_done(&good).await?;
    bench.until("a failed message is attempted again", |calls| calls.of("bad-0") == 3).await?;
    let overtook = bench.log.calls().of("bad-1");
    ensure_eq(overtook, 0, "the calls of a message behind a failed one of its key")?;
    bench.log.open();
    bench.until_done(&bad).await?;
    bench.stop().await?;
    ensure_eq(bench.log.calls().done_of("bad"), bad, "the messages of a key are handled in their order")
}
