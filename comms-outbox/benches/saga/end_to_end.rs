//! Runs of the saga between two groups without a broker.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::{
    BatchHandler, Delivery, Inbox, Outbox, Scoped, UnitOfWork, batch_fn,
    clock::Clock,
    event::{Event, EventSource},
    transactional_batch,
    transport::BoxBatchHandler,
};
use tokio::sync::oneshot;

use super::{Backend, STEPS, Work, Worked, coordinator, definition, together};

/// The runs that are in progress at the same time.
const IN_PROGRESS: usize = 64;

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>;

/// Runs every run from its start to its completion, and returns the durations.
pub(super) async fn run<B: Backend>(backend: &B, runs: &[String]) -> Vec<Duration> {
    let (coordinator, waiting) = (coordinator(backend), Waiting::default());
    let saga =
        backend.consumer("saga").on_batch(Worked::TYPE, completing(coordinator.batch_handler(), &waiting));
    let participant = backend.consumer("participant").on_batch(Work::TYPE, participant(backend.unit()));
    let (saga, participant) = (saga.build().unwrap(), participant.build().unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let timers = coordinator.clone();
    let tasks = [stop.clone(), stop.clone(), stop.clone()];
    let [first, second, third] = tasks.map(tokio_util::sync::CancellationToken::cancelled_owned);
    let running = [
        tokio::spawn(saga.run(first)),
        tokio::spawn(participant.run(second)),
        tokio::spawn(async move { timers.run(third).await }),
    ];
    let task = |runs: Vec<String>| {
        let (unit, coordinator, waiting) = (backend.unit(), coordinator.clone(), waiting.clone());
        async move {
            let (clock, definition, mut durations) = (Clock::system(), definition(), Vec::new());
            for run in runs {
                let (done, completed) = oneshot::channel();
                waiting.lock().unwrap().insert(run.clone(), done);
                let start = clock.now();
                let mut tx = unit.begin().await.unwrap();
                assert!(coordinator.start(&mut tx, &definition, run, ()).await.unwrap());
                unit.commit(tx).await.unwrap();
                completed.await.unwrap();
                durations.push(clock.now() - start);
            }
            durations
        }
    };
    let durations = together(runs, IN_PROGRESS, task).await;
    stop.cancel();
    for task in running {
        task.await.unwrap().unwrap();
    }
    durations
}

/// Replies to each command.
fn participant<U: Inbox + Outbox + Clone>(unit: U) -> impl BatchHandler {
    let events = EventSource::new("participant", Clock::system());
    let outbox = unit.clone();
    transactional_batch(unit, move |commands: Vec<Work>, mut tx: Scoped<U::Tx>| {
        let (outbox, events) = (outbox.clone(), events.clone());
        async move {
            let reply = |Work { order, step }| events.message(&Worked { order, step });
            let replies = commands.into_iter().map(reply).collect::<Result<Vec<_>, _>>()?;
            outbox.enqueue(&mut tx, &replies).await
        }
    })
}

/// Calls `handler`, and resolves the waits of the runs whose last reply was handled.
fn completing(handler: impl BatchHandler, waiting: &Waiting) -> impl BatchHandler {
    let (handler, waiting) = (BoxBatchHandler::new(handler), waiting.clone());
    batch_fn(move |batch: Vec<Delivery>| {
        let (handler, waiting) = (handler.clone(), waiting.clone());
        async move {
            let replies = batch.iter().map(|delivery| delivery.message.payload().unwrap_or_default());
            let replies: Vec<Worked> = replies.map(|json| serde_json::from_slice(json).unwrap()).collect();
            let results = handler.handle(batch).await?;
            for (reply, result) in replies.iter().zip(&results) {
                if result.is_ok() && reply.step + 1 == STEPS {
                    let done = waiting.lock().unwrap().remove(&reply.order);
                    done.map(|done| done.send(()));
                }
            }
            Ok(results)
        }
    })
}
