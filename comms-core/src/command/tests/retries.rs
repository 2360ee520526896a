//! Retries after conflicts.

use std::time::Duration;

use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::{
    ErrorKind,
    context::{Context, Deadline},
    resilience::{Policy, PolicyConfig, RetryConfig},
    testing::CommitFaults,
};

fn retried(
    counters: &Counters,
) -> impl Service<CommandRequest<Add>, Response = u64, Error = Error, Future: Send> + Clone + use<> {
    let run = counters.clone();
    ServiceBuilder::new()
        .layer(retry_conflicts("add", &Clock::system()))
        .service(command_fn(counters.unit.clone(), move |request, tx| run.clone().add(request, tx)))
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_attempted_again_with_short_waits_and_at_most_five_times() {
    let (counters, clock) = (Counters::new(), Clock::system());
    let service = retried(&counters);
    (0..4).for_each(|_| counters.unit.fail_next_commit(Error::conflict("a deadlock")));
    let started = clock.now();
    assert_eq!(service.clone().oneshot(add(1)).await.unwrap(), 1);
    assert_eq!((counters.calls(), counters.value().await), (5, 1));
    // Timers fire at whole milliseconds.
    assert!(clock.now() - started <= Duration::from_millis(10 + 20 + 40 + 80 + 4));
    (0..5).for_each(|_| counters.unit.fail_next_commit(Error::conflict("a deadlock")));
    assert_eq!(service.oneshot(add(1)).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!((counters.calls(), counters.value().await), (10, 1));
}

/// Between two attempts another command commits.
#[tokio::test(start_paused = true)]
async fn each_attempt_decides_on_the_state_of_its_own_transaction() {
    let counters = Counters::new();
    let run = counters.clone();
    let inner = command_fn(counters.unit.clone(), move |request, tx| run.clone().add(request, tx));
    let others = counters.clone();
    let service = ServiceBuilder::new().layer(retry_conflicts("add", &Clock::system())).service(service_fn(
        move |request: CommandRequest<Add>| {
            let (inner, others) = (inner.clone(), others.clone());
            async move {
                if others.calls() > 0 {
                    others.repository.run("1", 10).await?;
                }
                others.unit.forget_commit_faults();
                if others.calls() == 0 {
                    others.unit.fail_next_commit(Error::conflict("another command was first"));
                }
                inner.oneshot(request).await
            }
        },
    ));
    assert_eq!(service.oneshot(add(1)).await.unwrap(), 11);
    assert_eq!((counters.calls(), counters.value().await), (2, 11));
}

#[tokio::test]
async fn concurrent_commands_lose_no_update() {
    let counters = Counters::new();
    let service = retried(&counters);
    let tasks: Vec<_> = (0..20).map(|_| tokio::spawn(service.clone().oneshot(add(1)))).collect();
    let mut succeeded = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => succeeded += 1,
            Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{}", error.chain()),
        }
    }
    assert!(succeeded > 0);
    assert_eq!(counters.value().await, succeeded);
}

/// Also if the error asks for a retry, and if the policy permits the repetition of every call.
#[tokio::test(start_paused = true)]
async fn no_other_failure_is_attempted_again() {
    let settings = RetryConfig::default().conflicts(true).idempotent(true);
    let policy = Policy::new("add", PolicyConfig::none().retry(settings)).unwrap();
    for layer in [retry_conflicts("add", &Clock::system()), policy.layer_with(ConflictsOnly)] {
        for kind in ErrorKind::ALL.into_iter().filter(|kind| *kind != ErrorKind::Conflict) {
            for wait in [None, Some(Duration::ZERO), Some(Duration::from_millis(1))] {
                let calls = Arc::new(AtomicUsize::new(0));
                let counted = calls.clone();
                let service = ServiceBuilder::new().layer(layer.clone()).service(service_fn(
                    move |_: CommandRequest<Add>| {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let mut error = Error::new(kind, "refused");
                        error.retry_after = wait;
                        async { Err::<(), _>(error) }
                    },
                ));
                let error = service.oneshot(add(1)).await.unwrap_err();
                assert_eq!((error.kind, calls.load(Ordering::SeqCst)), (kind, 1), "{wait:?}");
            }
        }
    }
}

/// Such as a key in progress, or a version that the client has read.
#[tokio::test(start_paused = true)]
async fn a_conflict_that_requests_a_wait_is_left_to_the_caller() {
    let counters = Counters::new();
    let wait = Duration::from_secs(1);
    counters.unit.fail_next_commit(Error::conflict("in progress").with_retry_after(wait));
    let error = retried(&counters).oneshot(add(1)).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after, counters.calls()), (ErrorKind::Conflict, Some(wait), 1));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_caller_ends_the_attempts() {
    let (counters, clock) = (Counters::new(), Clock::system());
    let within = |limit| Context::default().with_deadline(Deadline::after(limit, &clock));
    let passed = within(Duration::ZERO).scope(retried(&counters).oneshot(add(1))).await;
    assert_eq!((passed.unwrap_err().kind, counters.calls()), (ErrorKind::Rejected, 0));
    let hangs = ServiceBuilder::new()
        .layer(retry_conflicts("add", &clock))
        .service(command_fn(counters.unit.clone(), |_: CommandRequest<Add>, _tx| {
            std::future::pending::<Result<(), Error>>()
        }));
    let started = clock.now();
    let late = within(Duration::from_secs(1)).scope(hangs.oneshot(add(1))).await;
    assert_eq!(late.unwrap_err().kind, ErrorKind::Indeterminate);
    assert!(clock.now() - started < Duration::from_secs(2));
    assert_eq!(counters.value().await, 0);
}
