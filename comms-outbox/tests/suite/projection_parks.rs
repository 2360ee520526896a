//! Events that a projection cannot apply.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use comms_core::{Error, ErrorKind, event_sourcing::Recorded, health::Health};
use comms_outbox::{ParkedEventState, ProjectionState};

use super::{
    projection::{Projections, all, append, complete, effects, name_of, project},
    until,
};

/// Fails `poison` with `Invalid`, and counts the attempts in which it is alone or the first of its batch.
fn poison(poison: &'static str) -> impl Fn(&Recorded) -> Result<(), Error> + Send + Sync + 'static {
    move |event| if name_of(event) == poison { Err(Error::invalid("too large")) } else { Ok(()) }
}

/// Everything before the event is committed, and nothing after it, also over a restart.
pub async fn a_projection_parks_at_exactly_the_event_that_fails<B: Projections>() {
    let (backend, health) = (B::start().await, Health::new());
    append(&backend, "order", "a", 100).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let builder = || {
        let (calls, check) = (calls.clone(), poison("order/a@38"));
        let apply = effects(&backend, check);
        let apply = move |events: Vec<Recorded>, tx| {
            calls.fetch_add(1, Ordering::SeqCst);
            apply(events, tx)
        };
        backend.projection("p").max_attempts(3).apply(apply)
    };
    let running = project(builder().health(health.component("p")));
    until("it is parked", async || !backend.parked_events("p").await.is_empty()).await;
    let parked = backend.parked_events("p").await.remove(0);
    assert_eq!((parked.stream.to_string(), parked.version), ("order/a".to_owned(), 38));
    assert_eq!((parked.state, &*parked.error_kind), (ParkedEventState::Parked, "invalid"));
    assert!(parked.error.contains("too large") && parked.parked_at > Duration::from_secs(1_700_000_000));
    assert_eq!(backend.effects().await.len(), 37);
    // About log2(100) batches until the event is alone, and then its attempts.
    let attempts = calls.load(Ordering::SeqCst);
    assert!(attempts <= 2 * 7 + 3, "{attempts} attempts");
    let degraded = || health.readiness().reason("p").is_some_and(|why| why.contains(&parked.id));
    until("readiness names the event", async || degraded()).await;
    append(&backend, "order", "a", 1).await;
    running.stop().await;

    let projection = builder().build().unwrap();
    let handle = projection.handle();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(projection.run(async { drop(stopped.await) }));
    until("it is parked again", async || matches!(handle.status().state, ProjectionState::Parked(_))).await;
    assert_eq!(calls.load(Ordering::SeqCst), attempts, "the event is not attempted");

    // Another attempt fails as well.
    assert!(backend.retry_event(&parked).await);
    until("it is attempted", async || calls.load(Ordering::SeqCst) > attempts).await;
    until("it is parked again", async || {
        backend.parked_events("p").await[0].state == ParkedEventState::Parked
    })
    .await;
    assert_eq!(backend.effects().await.len(), 37);
    drop(stop);
    running.await.unwrap().unwrap();

    // A program without the defect, and an operator who calls while it does not run.
    assert!(backend.retry_event(&parked).await);
    let running = project(backend.projection("p").apply(all(&backend)));
    until("all events", async || backend.effects().await.len() == 101).await;
    running.stop().await;
    complete(&backend, &["order/a"], 101).await;
    assert!(backend.parked_events("p").await.is_empty());
    assert!(!backend.retry_event(&parked).await);
}

/// Only the named event is passed over. The record of it stays. The last event of a page is skipped as well.
pub async fn an_operator_skips_an_event<B: Projections>() {
    let backend = B::start().await;
    append(&backend, "order", "a", 10).await;
    let check = |event: &Recorded| match event.version {
        4 | 10 => Err(Error::invalid("not a number")),
        _ => Ok(()),
    };
    let builder = || backend.projection("p").max_attempts(1).apply(effects(&backend, check));
    let running = project(builder());
    until("it is parked", async || backend.parked_events("p").await.len() == 1).await;
    let first = backend.parked_events("p").await.remove(0);
    let (mut of_another, mut another, mut of_revision) = (first.clone(), first.clone(), first.clone());
    "q".clone_into(&mut of_another.projection);
    another.row += 1;
    of_revision.revision = 2;
    for other in [of_another, another, of_revision] {
        assert!(!backend.skip_event(&other).await && !backend.retry_event(&other).await);
    }
    assert!(backend.skip_event(&first).await);
    until("it is parked at the last", async || backend.parked_events("p").await.len() == 2).await;
    assert_eq!(backend.effects().await.len(), 8);
    running.stop().await;
    let last = backend.parked_events("p").await.into_iter().find(|event| event.version == 10).unwrap();
    assert!(backend.skip_event(&last).await);
    let running = project(builder());
    append(&backend, "order", "a", 1).await;
    until("what follows", async || backend.effects().await.len() == 9).await;
    running.stop().await;
    let versions: Vec<_> =
        backend.effects().await.iter().map(|e| e.rsplit('@').next().unwrap().to_owned()).collect();
    assert_eq!(versions, ["1", "2", "3", "5", "6", "7", "8", "9", "11"]);
    let events = backend.parked_events("p").await;
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!((event.state, event.reason.as_deref()), (ParkedEventState::Skipped, Some("known")));
    }
}

/// The operator skips the event while the projection attempts it again. The next park does not undo this.
pub async fn an_event_is_skipped_while_it_is_attempted_again<B: Projections>() {
    let backend = B::start().await;
    append(&backend, "order", "a", 5).await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = attempts.clone();
    let check = move |event: &Recorded| match event.version {
        3 => {
            count.fetch_add(1, Ordering::SeqCst);
            Err(Error::invalid("not a number"))
        }
        _ => Ok(()),
    };
    let running = project(backend.projection("p").max_attempts(30).apply(effects(&backend, check)));
    until("it is parked", async || backend.parked_events("p").await.len() == 1).await;
    let (parked, before) = (backend.parked_events("p").await.remove(0), attempts.load(Ordering::SeqCst));
    assert!(backend.retry_event(&parked).await);
    until("it is attempted again", async || attempts.load(Ordering::SeqCst) > before).await;
    assert!(backend.skip_event(&parked).await);
    until("what follows", async || backend.effects().await.len() == 4).await;
    running.stop().await;
    assert_eq!(backend.parked_events("p").await[0].state, ParkedEventState::Skipped);
}

/// As with too many parameters of a statement, or a limit of its duration: smaller batches succeed.
pub async fn a_batch_that_is_too_large_is_divided<B: Projections>() {
    let (backend, calls) = (B::start().await, Arc::new(AtomicUsize::new(0)));
    append(&backend, "order", "a", 20).await;
    let apply = all(&backend);
    let apply = move |events: Vec<Recorded>, tx| {
        let kinds = [ErrorKind::NotExecuted, ErrorKind::Indeterminate, ErrorKind::Conflict];
        let kind = kinds[calls.fetch_add(1, Ordering::SeqCst) % 3];
        let applied =
            if events.len() > 6 { Err(Error::new(kind, "too many")) } else { Ok(apply(events, tx)) };
        async move { applied?.await }
    };
    let running = project(backend.projection("p").max_attempts(1).apply(apply));
    until("all", async || backend.effects().await.len() == 20).await;
    running.stop().await;
    complete(&backend, &["order/a"], 20).await;
    assert!(backend.parked_events("p").await.is_empty());
}

/// As after a rebase: the position lies further before the parked event than at the time of the park.
pub async fn events_before_the_parked_one_are_applied_without_it<B: Projections>(back: &str) {
    let backend = B::start().await;
    append(&backend, "order", "a", 10).await;
    let check = |event: &Recorded| match event.version {
        5 => Err(Error::invalid("not a number")),
        _ => Ok(()),
    };
    let calls = Arc::new(AtomicUsize::new(0));
    let builder = || {
        let (calls, apply) = (calls.clone(), effects(&backend, check));
        let apply = move |events: Vec<Recorded>, tx| {
            calls.fetch_add(usize::from(events.iter().any(|event| event.version == 5)), Ordering::SeqCst);
            apply(events, tx)
        };
        backend.projection("p").max_attempts(1).apply(apply)
    };
    let running = project(builder());
    until("it is parked", async || !backend.parked_events("p").await.is_empty()).await;
    running.stop().await;
    assert_eq!(backend.effects().await.len(), 4);
    backend.sql(back).await;
    let attempts = calls.load(Ordering::SeqCst);
    let running = project(builder());
    until("what is before it", async || backend.effects().await.len() == 8).await;
    running.stop().await;
    assert_eq!(calls.load(Ordering::SeqCst), attempts, "the parked event is not attempted");
    let parked = backend.parked_events("p").await.remove(0);
    assert_eq!(parked.state, ParkedEventState::Parked);
    assert!(backend.retry_event(&parked).await);
    let running = project(backend.projection("p").apply(all(&backend)));
    until("what follows", async || backend.effects().await.len() == 14).await;
    running.stop().await;
    assert!(backend.parked_events("p").await.is_empty());
}

/// No event is parked because of them, however often they fail.
pub async fn failures_outside_the_events_are_retried_without_a_limit<B: Projections>() {
    let (backend, calls) = (B::start().await, Arc::new(AtomicUsize::new(0)));
    append(&backend, "order", "a", 2).await;
    let count = calls.clone();
    let check = move |_: &Recorded| {
        use ErrorKind as E;
        let kinds = [E::NotExecuted, E::Indeterminate, E::Rejected, E::Conflict, E::Misconfigured];
        let n = count.fetch_add(1, Ordering::SeqCst);
        if n < 15 { Err(Error::new(kinds[n % 5], "away")) } else { Ok(()) }
    };
    let projection = backend.projection("p").max_attempts(1).apply(effects(&backend, check)).build().unwrap();
    let handle = projection.handle();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(projection.run(async { drop(stopped.await) }));
    until("it retries", async || {
        matches!(&handle.status().state, ProjectionState::Retrying { reason } if reason.contains("away"))
    })
    .await;
    until("both", async || backend.effects().await.len() == 2).await;
    assert!(calls.load(Ordering::SeqCst) >= 15);
    drop(stop);
    running.await.unwrap().unwrap();
    assert!(backend.parked_events("p").await.is_empty());
}

/// `blob` returns the literal of bytes in SQL.
pub async fn a_damaged_event_and_a_panic_park_the_projection<B: Projections>(blob: fn(&[u8]) -> String) {
    let backend = B::start().await;
    append(&backend, "order", "a", 5).await;
    backend.sql(&format!("UPDATE {{s}}.comms_event SET headers = {} WHERE version = 3", blob(&[0, 0]))).await;
    let check = |event: &Recorded| {
        assert!(event.version != 4, "a defect");
        Ok(())
    };
    let running = project(backend.projection("p").max_attempts(1).apply(effects(&backend, check)));
    until("it is parked", async || backend.parked_events("p").await.len() == 1).await;
    let parked = backend.parked_events("p").await.remove(0);
    assert_eq!((parked.version, &*parked.error_kind), (3, "internal"));
    assert!(parked.error.contains("does not decode"), "{}", parked.error);
    assert_eq!(backend.effects().await.len(), 2);
    assert!(backend.skip_event(&parked).await);
    until("it is parked", async || backend.parked_events("p").await.len() == 2).await;
    let events = backend.parked_events("p").await;
    let panicked = events.iter().find(|event| event.version == 4).unwrap();
    assert!(panicked.error.contains("panicked"), "{}", panicked.error);
    running.stop().await;
}

pub async fn a_fatal_error_ends_the_projection<B: Projections>() {
    let backend = B::start().await;
    append(&backend, "order", "a", 2).await;
    let fatal = |_: &Recorded| Err(Error::fatal("stop"));
    let mut running = project(backend.projection("p").apply(effects(&backend, fatal)));
    let error = running.end().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal);
    assert!(error.chain().to_string().contains("projection p"), "{}", error.chain());
    let running = project(backend.projection("p").owner("other").apply(all(&backend)));
    until("the next one applies both", async || backend.effects().await.len() == 2).await;
    running.stop().await;
}
