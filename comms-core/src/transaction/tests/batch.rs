//! Batches: one transaction for all deliveries, and one by one after a failure.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{BatchResults, transport::BoxBatchHandler};

/// The sizes of the batches with which the function was called.
type Calls = Arc<Mutex<Vec<usize>>>;

/// Appends a byte to the row of each order. Then an order `fails` fails, and an order `outage` fails as during an
/// outage.
fn handler(unit: &MemoryUnit) -> (BoxBatchHandler, Calls) {
    let calls = Calls::default();
    let log = calls.clone();
    let apply = move |events: Vec<Paid>, mut tx: Scoped<MemoryTx>| {
        log.lock().unwrap().push(events.len());
        async move {
            for event in &events {
                append(&mut tx, &event.order).await?;
            }
            let has = |order| events.iter().any(|event| event.order == order);
            match (has("fails"), has("outage")) {
                (true, _) => Err(Error::invalid("this order fails")),
                (_, true) => Err(Error::not_executed("no connection")),
                _ => Ok(()),
            }
        }
    };
    (BoxBatchHandler::new(transactional_batch(unit.clone(), apply)), calls)
}

fn short(results: BatchResults) -> Vec<Result<Outcome, ErrorKind>> {
    results.into_iter().map(|result| result.map_err(|error| error.kind)).collect()
}

const BEHIND: Result<Outcome, ErrorKind> = Err(ErrorKind::NotExecuted);
const DONE: Result<Outcome, ErrorKind> = Ok(Outcome::Done);

#[tokio::test]
async fn a_batch_is_applied_once_in_one_transaction() {
    let unit = MemoryUnit::new();
    let (handler, calls) = handler(&unit);
    let other = Delivery {
        message: paid("x").message.with_headers(|h| h.insert("ce_type", "other.v1")),
        ..paid("x")
    };
    let (a, b) = (paid("a"), paid("b"));
    let batch = vec![a.clone(), other.clone(), b.clone(), a.clone()];
    let duplicate = Ok(Outcome::Duplicate);
    let results = short(handler.handle(batch.clone()).await.unwrap());
    assert_eq!(results, [DONE, Ok(Outcome::Skipped), DONE, duplicate], "the second `a` is the same message");
    assert_eq!(*calls.lock().unwrap(), [2]);
    let results = short(handler.handle([batch, vec![paid("c")]].concat()).await.unwrap());
    assert_eq!(results, [duplicate, Ok(Outcome::Skipped), duplicate, duplicate, DONE]);
    assert_eq!(*calls.lock().unwrap(), [2, 1], "only the new event is applied");
    let results = short(handler.handle(vec![a, b]).await.unwrap());
    assert_eq!(results, [duplicate, duplicate]);
    assert_eq!(calls.lock().unwrap().len(), 2, "the function is not called without a new event");
    assert_eq!(["a", "b", "c", "x"].map(|row| length(&unit, row)), [1, 1, 1, 0]);
}

#[tokio::test]
async fn one_failing_event_fails_alone_and_keeps_back_its_key() {
    let unit = MemoryUnit::new();
    let (handler, calls) = handler(&unit);
    let batch = ["a", "fails", "b", "fails", "a"].map(paid).to_vec();
    let results = short(handler.handle(batch).await.unwrap());
    assert_eq!(results, [DONE, Err(ErrorKind::Invalid), DONE, BEHIND, DONE]);
    assert_eq!(*calls.lock().unwrap(), [5, 1, 1, 1, 1]);
    assert_eq!(["a", "b", "fails"].map(|row| length(&unit, row)), [2, 1, 0]);
}

#[tokio::test]
async fn an_unreadable_event_keeps_back_its_key_only() {
    let unit = MemoryUnit::new();
    let (handler, calls) = handler(&unit);
    let newer = Delivery {
        message: paid("a").message.with_headers(|h| h.insert("ce_type", "order.paid.v2")),
        ..paid("a")
    };
    let results = short(handler.handle(vec![newer, paid("b"), paid("a"), paid("c")]).await.unwrap());
    assert_eq!(results, [Err(ErrorKind::Misconfigured), DONE, BEHIND, DONE]);
    assert_eq!(*calls.lock().unwrap(), [2]);
}

#[tokio::test]
async fn an_outage_fails_the_batch_as_a_whole_and_a_single_delivery_alone() {
    let unit = MemoryUnit::new();
    let (handler, calls) = handler(&unit);
    let batch = ["a", "outage", "b"].map(paid).to_vec();
    assert_eq!(handler.handle(batch).await.unwrap_err().kind, ErrorKind::NotExecuted);
    assert_eq!(*calls.lock().unwrap(), [3], "not one by one: each would fail");
    let results = short(handler.handle(vec![paid("outage")]).await.unwrap());
    assert_eq!(results, [Err(ErrorKind::NotExecuted)]);
    assert!(unit.rows().is_empty());
}

#[tokio::test]
async fn a_failed_commit_is_applied_again_one_by_one() {
    let unit = MemoryUnit::new();
    let (handler, calls) = handler(&unit);
    unit.fail_next_commit(Error::indeterminate("the answer was lost"));
    let results = short(handler.handle(["a", "b"].map(paid).to_vec()).await.unwrap());
    assert_eq!(results, [DONE, DONE]);
    assert_eq!(*calls.lock().unwrap(), [2, 1, 1]);
    assert_eq!(["a", "b"].map(|row| length(&unit, row)), [1, 1]);
}

#[tokio::test]
async fn a_wrong_number_of_results_is_an_internal_error() {
    let handler = BoxBatchHandler::new(crate::batch_fn(|_| async { Ok(vec![Ok(Outcome::Done)]) }));
    let error = handler.handle(["a", "b"].map(paid).to_vec()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(error.to_string().contains("1 results for 2 deliveries"), "{error}");
}
