//! Handlers that do what no handler should do.

use std::{
    fmt,
    future::{Future, pending, poll_fn},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Waker},
};

use super::*;
use crate::{
    MessageParts,
    clock::Clock,
    handler_fn,
    transport::{AttemptConfig, BoxHandler},
};

type Handled = std::pin::Pin<Box<dyn Future<Output = Result<Outcome, Error>> + Send>>;

/// Returns a worker on a manual clock, with two attempts for each delivery.
fn worker<F>(config: WorkerConfig, handle: F) -> (Worker, Clock)
where
    F: Fn(Delivery) -> Handled + Clone + Send + Sync + 'static,
{
    let clock = Clock::manual(Duration::from_secs(1));
    let attempts = AttemptConfig::default().max_attempts(2);
    let processor = Processor::new(BoxHandler::new(handler_fn(handle)), attempts, clock.clone(), "test");
    (Worker::new(processor, config), clock)
}

fn push(worker: &mut Worker, tag: u64, key: &str) -> Option<String> {
    let delivery = rig::delivery(tag, Some(key), MessageParts::default());
    let settled = worker.push(delivery, tag, &mut Context::from_waker(Waker::noop()));
    settled.map(|settled| rig::text(&settled.result))
}

/// Polls until the worker is pending.
fn settled(worker: &mut Worker) -> Vec<String> {
    let next = |worker: &mut Worker| match worker.poll_settled(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Settled { tag, result })) => Some(format!("{tag} {}", rig::text(&result))),
        _ => None,
    };
    std::iter::from_fn(|| next(worker)).collect()
}

fn is_first(delivery: &Delivery) -> bool {
    delivery.message.id() == "1"
}

/// Its time limit ends it, and the poll of the worker returns meanwhile.
#[test]
fn a_handler_that_wakes_itself_for_ever_keeps_nobody_waiting() {
    let (mut worker, clock) = worker(WorkerConfig::default(), |delivery| match is_first(&delivery) {
        true => Box::pin(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        })),
        false => Box::pin(async {
            tokio::task::yield_now().await;
            Ok(Outcome::Done)
        }),
    });
    assert_eq!((push(&mut worker, 1, "a"), push(&mut worker, 2, "b")), (None, None));
    let mut all = settled(&mut worker);
    for _ in 0..100 {
        clock.advance(Duration::from_secs(1));
        all.extend(settled(&mut worker));
    }
    assert_eq!(all, ["2 done", "1 refused indeterminate 2"]);
}

/// A handler that ends in the poll of another one, which drops its result and its waker.
#[test]
fn handlers_that_end_each_other_are_settled_once_each() {
    let wakers = Arc::new(Mutex::new(Vec::<Waker>::new()));
    let polls = Arc::new(AtomicU32::new(0));
    let (mut worker, _) = worker(WorkerConfig::default(), move |_| {
        let (wakers, polls) = (wakers.clone(), polls.clone());
        let mut is_last = false;
        Box::pin(poll_fn(move |cx| {
            let woken = std::mem::take(&mut *wakers.lock().unwrap());
            woken.into_iter().for_each(Waker::wake);
            wakers.lock().unwrap().push(cx.waker().clone());
            is_last |= polls.fetch_add(1, SeqCst) > 50;
            if is_last { Poll::Ready(Ok(Outcome::Done)) } else { Poll::Pending }
        }))
    });
    (0..5).for_each(|tag| assert_eq!(push(&mut worker, tag, &tag.to_string()), None));
    let mut all: Vec<_> = (0..100).flat_map(|_| settled(&mut worker)).collect();
    all.sort();
    assert_eq!(all, ["0 done", "1 done", "2 done", "3 done", "4 done"]);
    assert!(worker.is_empty());
}

#[derive(Debug)]
struct Unprintable;

impl fmt::Display for Unprintable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::panic::resume_unwind(Box::new("in display"))
    }
}

impl std::error::Error for Unprintable {}

/// The error of a handler is printed outside of the handler, by the list of holds and for the deliveries behind it.
#[test]
fn an_error_that_cannot_be_printed_fails_its_delivery_alone() {
    for (kind, expected) in [
        (ErrorKind::Invalid, ["1 refused invalid 1", "2 behind"]),
        (ErrorKind::Indeterminate, ["1 done", "2 done"]),
        (ErrorKind::NotExecuted, ["1 done", "2 done"]),
    ] {
        let budget = Budget::new(BudgetConfig::default().concurrency(1)).unwrap();
        let config = WorkerConfig::default().budget(budget.clone());
        let calls = Arc::new(AtomicU32::new(0));
        let (mut worker, clock) = worker(config, move |_| {
            let is_bad = calls.fetch_add(1, SeqCst) == 0;
            Box::pin(std::future::ready(if is_bad {
                Err(Error::new(kind, Unprintable))
            } else {
                Ok(Outcome::Done)
            }))
        });
        assert_eq!((push(&mut worker, 1, "a"), push(&mut worker, 2, "a")), (None, None));
        let mut all = settled(&mut worker);
        clock.advance(Duration::from_secs(10));
        all.extend(settled(&mut worker));
        assert_eq!(all, expected);
        assert_eq!(push(&mut worker, 3, "b").as_deref(), Some("done"));
        drop(worker);
        assert_eq!((budget.running(), budget.records()), (0, 0));
    }
}

/// The attempt is dropped in the middle of the handler's work, and what the handler has spawned goes on without it.
#[tokio::test]
async fn a_task_of_a_dropped_handler_ends_by_itself() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let (mut worker, _) = worker(WorkerConfig::default(), move |_| {
        let sender = sender.lock().unwrap().take();
        Box::pin(async move {
            tokio::spawn(async move { sender.map(|sender| sender.send(crate::context::Context::current())) });
            pending().await
        })
    });
    assert_eq!(push(&mut worker, 1, "a"), None);
    drop(worker);
    assert!(
        receiver.await.unwrap().causation_id.is_none(),
        "the context of the message is that of the attempt alone"
    );
}

/// A service whose clone panics, or that is not ready because of an error, at its first call.
#[derive(Debug)]
struct Flaky {
    calls: Arc<AtomicU32>,
    in_clone: bool,
}

impl Flaky {
    fn is_first(&self) -> bool {
        self.calls.fetch_add(1, SeqCst) == 0
    }
}

impl Clone for Flaky {
    fn clone(&self) -> Self {
        if self.in_clone && self.is_first() {
            std::panic::resume_unwind(Box::new("in clone"));
        }
        Self { calls: self.calls.clone(), in_clone: self.in_clone }
    }
}

impl tower_service::Service<Delivery> for Flaky {
    type Response = Outcome;
    type Error = Error;
    type Future = std::future::Ready<Result<Outcome, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match !self.in_clone && self.is_first() {
            true => Poll::Ready(Err(Error::indeterminate("the pool is closed"))),
            false => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, _: Delivery) -> Self::Future {
        std::future::ready(Ok(Outcome::Done))
    }
}

#[test]
fn a_service_that_fails_before_its_call_fails_one_attempt_and_loses_no_permit() {
    for in_clone in [true, false] {
        let clock = Clock::manual(Duration::from_secs(1));
        let budget = Budget::new(BudgetConfig::default().concurrency(1)).unwrap();
        let handler = BoxHandler::new(Flaky { calls: Arc::default(), in_clone });
        let processor = Processor::new(handler, AttemptConfig::default(), clock.clone(), "test");
        let mut worker = Worker::new(processor, WorkerConfig::default().budget(budget.clone()));
        assert_eq!((push(&mut worker, 1, "a"), push(&mut worker, 2, "a")), (None, None));
        assert!(settled(&mut worker).is_empty());
        assert_eq!(budget.running(), 0, "the wait for the next attempt has no permit");
        clock.advance(Duration::from_secs(1));
        assert_eq!(settled(&mut worker), ["1 done", "2 done"]);
        assert_eq!((budget.running(), budget.records()), (0, 0));
    }
}
