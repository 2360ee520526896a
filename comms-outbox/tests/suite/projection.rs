//! Projections: each event is applied once, in the order of its stream.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use comms_core::{
    Error, ErrorKind, Message, MessageParts, Scoped, UnitOfWork,
    clock::Clock,
    context::{Context, Deadline},
    event_sourcing::{Append, EventStore, Expected, Recorded, Stream},
    health::Health,
    resilience::Backoff,
};
use comms_outbox::{Feed, ParkedEvent, Projection, ProjectionBuilder, ProjectionState, Relay, Written};

use futures::future::BoxFuture;

use super::{Backend, Running, Tx, recorder::Recorder, unique, until};

pub trait Projections: Backend<Unit: EventStore> {
    type Feed: Feed<Unit = Self::Unit>;

    fn feed(&self) -> Self::Feed;
    /// Returns a projection of revision 1 with the unit's commit signal, a lease of 1 s and a short backoff.
    fn projection(&self, name: &str) -> ProjectionBuilder<Self::Feed>;
    fn written(&self, tx: &mut Tx<Self>) -> impl Future<Output = Written> + Send;
    fn wait_for(&self, name: &str, written: Written) -> impl Future<Output = Result<(), Error>> + Send;
    fn live_revision(&self, name: &str) -> impl Future<Output = Option<u32>> + Send;
    fn set_live_revision(&self, name: &str, revision: u32) -> impl Future<Output = ()> + Send;
    fn parked_events(&self, name: &str) -> impl Future<Output = Vec<ParkedEvent>> + Send;
    fn retry_event(&self, event: &ParkedEvent) -> impl Future<Output = bool> + Send;
    fn skip_event(&self, event: &ParkedEvent) -> impl Future<Output = bool> + Send;
}

type Applied = BoxFuture<'static, Result<(), Error>>;

pub fn settings<F: Feed>(builder: ProjectionBuilder<F>) -> ProjectionBuilder<F> {
    let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(20)).unwrap();
    builder.lease(Duration::from_secs(1)).backoff(backoff)
}

/// Runs a projection in the background until it is stopped or dropped.
pub fn project<F: Feed>(projection: ProjectionBuilder<F>) -> Running {
    let projection = projection.build().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(projection.run(async move {
        let _ = stopped.await;
    }));
    Running { stop: Some(stop), task }
}

pub fn name_of(event: &Recorded) -> String {
    let key = String::from_utf8(event.message.key().unwrap().to_vec()).unwrap();
    format!("{}/{key}@{}", event.message.topic(), event.version)
}

/// Returns a function that writes an effect for each event, after `check`.
pub fn effects<B: Projections>(
    backend: &B,
    check: impl Fn(&Recorded) -> Result<(), Error> + Send + Sync + 'static,
) -> impl Fn(Vec<Recorded>, Scoped<Tx<B>>) -> Applied + Send + Sync + 'static {
    let (backend, check) = (backend.clone(), Arc::new(check));
    move |events, mut tx| {
        let (backend, check) = (backend.clone(), check.clone());
        Box::pin(async move {
            for event in events {
                backend.add_effect(&mut tx, &name_of(&event)).await;
                check(&event)?;
            }
            Ok(())
        })
    }
}

pub fn all<B: Projections>(
    backend: &B,
) -> impl Fn(Vec<Recorded>, Scoped<Tx<B>>) -> Applied + Send + Sync + 'static {
    effects(backend, |_| Ok(()))
}

/// Appends `count` events to a stream, in one transaction.
pub async fn append<B: Projections>(backend: &B, category: &str, id: &str, count: usize) -> Written {
    let (unit, stream) = (backend.unit(), Stream::new(category, id));
    let event = |_| {
        let parts = MessageParts { source: "suite", payload: Some(b"{}"), ..MessageParts::default() };
        stream.event(&Message::new(MessageParts { id: &unique(), ..parts }))
    };
    let events: Vec<_> = (0..count).map(event).collect();
    loop {
        let mut tx = unit.begin().await.unwrap();
        let append = Append { stream: &stream, expected: Expected::Any, events: &events, messages: &[] };
        let result = match unit.append(&mut tx, append).await {
            Ok(_) => {
                let written = backend.written(&mut tx).await;
                unit.commit(tx).await.map(|()| written)
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(written) => return written,
            Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{}", error.chain()),
        }
    }
}

/// Checks that the effects are those of `count` events for each of `streams`, once each and in the order of the versions.
pub async fn complete<B: Projections>(backend: &B, streams: &[&str], count: usize) {
    let mut versions: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for effect in backend.effects().await {
        let (stream, version) = effect.split_once('@').unwrap();
        versions.entry(stream.to_owned()).or_default().push(version.parse().unwrap());
    }
    let expected = streams.iter().map(|stream| ((*stream).to_owned(), (1..=count).collect())).collect();
    assert_eq!(versions, expected);
}

/// The projection is dropped at random points, also between the writes of a batch and the commit, and its function fails
/// at random.
pub async fn each_event_is_applied_once_over_crashes<B: Projections>() {
    const STREAMS: [&str; 3] = ["order/a", "order/b", "order/c"];
    let (backend, clock) = (B::start().await, Clock::system());
    let writer = |stream: &'static str| {
        let backend = backend.clone();
        tokio::spawn(async move {
            let (category, id) = stream.split_once('/').unwrap();
            for _ in 0..40 {
                append(&backend, category, id, 3).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    let writers: Vec<_> = STREAMS.into_iter().map(writer).collect();
    let builder = || {
        let random = clock.clone();
        let check = move |_: &Recorded| match random.random_unit() {
            unit if unit < 0.02 => Err(Error::not_executed("away")),
            unit if unit < 0.04 => Err(Error::conflict("deadlock")),
            _ => Ok(()),
        };
        backend.projection("p").owner("the same").batch(7, 1 << 20).apply(effects(&backend, check))
    };
    let mut crashes = 0;
    while crashes < 25 || writers.iter().any(|writer| !writer.is_finished()) {
        let running = project(builder());
        tokio::time::sleep(Duration::from_secs_f64(0.15 * clock.random_unit())).await;
        running.crash().await;
        crashes += 1;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let running = project(builder());
    until("every event", async || backend.effects().await.len() >= 360).await;
    running.stop().await;
    complete(&backend, &STREAMS, 120).await;
}

/// Of several processes one applies events. A process that is suspended for longer than its lease changes nothing
/// afterwards.
pub async fn a_process_that_was_overtaken_is_fenced<B: Projections>() {
    let backend = B::start().await;
    append(&backend, "order", "a", 5).await;
    let stale = backend.projection("p").owner("stale").apply(all(&backend)).build().unwrap();
    let handle = stale.handle();
    let mut stale = Box::pin(stale.run(std::future::pending()));
    until("the first applies", async || {
        let _ = tokio::time::timeout(Duration::from_millis(10), &mut stale).await;
        handle.status().state == ProjectionState::Live
    })
    .await;
    // It is suspended.
    append(&backend, "order", "a", 5).await;
    let running = project(backend.projection("p").owner("fresh").apply(all(&backend)));
    until("the second takes over", async || backend.effects().await.len() == 10).await;
    append(&backend, "order", "a", 5).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), &mut stale).await;
    assert_eq!(handle.status().state, ProjectionState::Standby);
    until("the second continues", async || backend.effects().await.len() == 15).await;
    running.stop().await;
    complete(&backend, &["order/a"], 15).await;
    // The lease was released.
    append(&backend, "order", "a", 1).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), &mut stale).await;
    complete(&backend, &["order/a"], 16).await;
    assert_eq!(handle.status().applied, 6);
}

pub async fn only_events_of_the_categories_are_applied<B: Projections>() {
    let (backend, health) = (B::start().await, Health::new());
    for category in ["order", "customer", "invoice"] {
        append(&backend, category, "1", 2).await;
    }
    let of =
        |categories: [&'static str; 2]| backend.projection("p").categories(categories).apply(all(&backend));
    let running = project(of(["order", "invoice"]));
    until("both", async || backend.effects().await.len() == 4).await;
    running.stop().await;
    complete(&backend, &["invoice/1", "order/1"], 2).await;
    // The order of the names does not matter.
    let running = project(of(["invoice", "order"]));
    let written = append(&backend, "order", "1", 1).await;
    backend.wait_for("p", written).await.unwrap();
    running.stop().await;
    let running = project(of(["order", "customer"]).health(health.component("p")));
    let refused = || health.readiness().reason("p").is_some_and(|why| why.contains("set a higher revision"));
    until("it is refused", async || refused()).await;
    running.stop().await;
    assert_eq!(backend.effects().await.len(), 5);
    // The refused process does not keep the lease.
    let running = project(of(["order", "invoice"]).owner("other"));
    let written = append(&backend, "order", "1", 1).await;
    backend.wait_for("p", written).await.unwrap();
    running.stop().await;
}

pub async fn a_query_waits_for_what_it_has_written<B: Projections>() {
    let backend = B::start().await;
    let written = append(&backend, "order", "a", 1).await;
    let error = backend.wait_for("p", written).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("run it"), "{error}");
    let projection = backend.projection("p").apply(all(&backend)).build().unwrap();
    let handle = projection.handle();
    for never in ["-1", "1000000000000"] {
        let wait = handle.wait_for(never.parse().unwrap(), Duration::from_secs(60));
        assert_eq!(wait.await.unwrap_err().kind, ErrorKind::Invalid, "{never}");
    }
    let error = handle.wait_for(written, Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotExecuted, "{error}");
    ends_at_the_deadline(|| handle.wait_for(written, Duration::from_secs(60))).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(projection.run(async { drop(stopped.await) }));
    for n in 1..=20 {
        if n > 1 {
            let written = append(&backend, "order", "a", 1).await;
            let text = written.to_string();
            handle.wait_for(text.parse().unwrap(), Duration::from_secs(5)).await.unwrap();
        } else {
            handle.wait_for(written, Duration::from_secs(5)).await.unwrap();
        }
        assert_eq!(backend.effects().await.len(), n);
    }
    until("live", async || backend.live_revision("p").await == Some(1)).await;
    let written = append(&backend, "order", "a", 1).await;
    backend.wait_for("p", written).await.unwrap();
    assert_eq!(backend.effects().await.len(), 21);
    until("no lag", async || handle.status().state == ProjectionState::Live).await;
    let status = handle.status();
    assert_eq!((status.applied, status.lag_events, status.progress), (21, 0, 1.0));
    drop(stop);
    running.await.unwrap().unwrap();
    assert_eq!(handle.status().state, ProjectionState::Standby);
    let written = append(&backend, "order", "a", 1).await;
    ends_at_the_deadline(|| backend.wait_for("p", written)).await;
}

/// The limit of `wait` is longer than the deadline of its caller, which may have passed already.
async fn ends_at_the_deadline<Fut: Future<Output = Result<(), Error>>>(wait: impl Fn() -> Fut) {
    let clock = Clock::system();
    for left in [Duration::ZERO, Duration::from_millis(50)] {
        let context = Context::default().with_deadline(Deadline::after(left, &clock));
        let ended = clock.timeout(Duration::from_secs(5), context.scope(wait())).await;
        let error = ended.expect("the wait ends at the deadline").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotExecuted, "{error}");
    }
}

pub async fn a_query_waits_for_what_was_committed_before_it<B: Projections>() {
    let backend = B::start().await;
    let projection = backend.projection("p").apply(all(&backend)).build().unwrap();
    let handle = projection.handle();
    handle.wait_for_committed(Duration::from_secs(5)).await.expect("there is no event to apply");
    append(&backend, "order", "a", 1).await;
    let error = handle.wait_for_committed(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotExecuted, "{error}");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(projection.run(async { drop(stopped.await) }));
    for n in 1..=20 {
        if n > 1 {
            append(&backend, "order", &n.to_string(), 1).await;
        }
        handle.wait_for_committed(Duration::from_secs(5)).await.unwrap();
        assert_eq!(backend.effects().await.len(), n);
    }
    drop(stop);
    running.await.unwrap().unwrap();
}

/// A second revision is built beside the first, and becomes the live one when it has come to the last event.
pub async fn a_higher_revision_is_built_beside_the_live_one<B: Projections>() {
    let backend = B::start().await;
    for _ in 0..20 {
        append(&backend, "order", "a", 1).await;
    }
    assert_eq!(backend.live_revision("p").await, None);
    let first = project(backend.projection("p").apply(all(&backend)));
    until("revision 1 is live", async || backend.live_revision("p").await == Some(1)).await;
    let (open, gate) = (Arc::new(AtomicBool::new(false)), backend.clone());
    let wait = open.clone();
    let apply = move |events: Vec<Recorded>, mut tx: Scoped<Tx<B>>| {
        let (backend, wait) = (gate.clone(), wait.clone());
        async move {
            if events.iter().any(|event| event.version > 15) && !wait.load(Ordering::SeqCst) {
                return Err(Error::not_executed("not yet"));
            }
            for event in events {
                backend.add_effect(&mut tx, &format!("r2 {}", name_of(&event))).await;
            }
            Ok(())
        }
    };
    let second = backend.projection("p").revision(2).batch(5, 1 << 20).apply(apply).build().unwrap();
    let handle = second.handle();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let second = tokio::spawn(second.run(async { drop(stopped.await) }));
    until("it retries", async || matches!(handle.status().state, ProjectionState::Retrying { .. })).await;
    let status = handle.status();
    assert!(status.progress > 0.0 && status.progress < 1.0 && status.lag_events >= 5, "{status:?}");
    assert_eq!(backend.live_revision("p").await, Some(1));
    let written = append(&backend, "order", "a", 1).await;
    backend.wait_for("p", written).await.unwrap();
    // Queries read revision 1, so the handle of revision 2 waits for that one.
    handle.wait_for(written, Duration::from_secs(5)).await.unwrap();
    handle.wait_for_committed(Duration::from_secs(5)).await.unwrap();
    assert!(!backend.effects().await.contains(&"r2 order/a@16".to_owned()));
    open.store(true, Ordering::SeqCst);
    until("revision 2 is live", async || backend.live_revision("p").await == Some(2)).await;
    handle.wait_for(written, Duration::from_secs(5)).await.unwrap();
    assert!(backend.effects().await.contains(&"r2 order/a@21".to_owned()));
    let last = "r2 order/a@21".to_owned();
    until("revision 2 has the last event", async || backend.effects().await.contains(&last)).await;
    let effects = backend.effects().await;
    for revision in ["", "r2 "] {
        for version in 1..=21 {
            let name = format!("{revision}order/a@{version}");
            assert_eq!(effects.iter().filter(|effect| **effect == name).count(), 1, "{name}");
        }
    }
    assert!(handle.status().live);
    drop(stop);
    second.await.unwrap().unwrap();
    // The older revision continues, and does not become the live one by itself.
    append(&backend, "order", "a", 1).await;
    until("revision 1 continues", async || backend.effects().await.len() == 43).await;
    assert_eq!(backend.live_revision("p").await, Some(2));
    backend.set_live_revision("p", 1).await;
    assert_eq!(backend.live_revision("p").await, Some(1));
    first.stop().await;
    // A new session of revision 2 does not undo this, and revision 3 becomes the live one as usual.
    let caught_up = |revision: u32| {
        let nothing = |_: Vec<Recorded>, _: Scoped<Tx<B>>| async { Ok(()) };
        let built = backend.projection("p").revision(revision).apply(nothing).build().unwrap();
        let handle = built.handle();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(built.run(async { drop(stopped.await) }));
        async move {
            until("it has the last event", async || handle.status().state == ProjectionState::Live).await;
            drop(stop);
            task.await.unwrap().unwrap();
        }
    };
    caught_up(2).await;
    assert_eq!(backend.live_revision("p").await, Some(1));
    caught_up(3).await;
    assert_eq!(backend.live_revision("p").await, Some(3));
}

pub async fn names_and_settings_that_cannot_work_are_refused<B: Projections>() {
    let backend = B::start().await;
    let refused = |builder: ProjectionBuilder<B::Feed>| {
        assert_eq!(builder.build().unwrap_err().kind, ErrorKind::Misconfigured);
    };
    let valid = || backend.projection("p").apply(all(&backend));
    assert!(valid().build().is_ok());
    refused(Projection::builder(backend.feed(), "p"));
    refused(Projection::builder(backend.feed(), "").apply(all(&backend)));
    refused(Projection::builder(backend.feed(), "a\0").apply(all(&backend)));
    refused(valid().owner("o".repeat(151)));
    refused(valid().categories(Vec::<String>::new()));
    refused(valid().revision(0));
    refused(valid().max_attempts(0));
    refused(valid().batch(0, 1));
    refused(valid().batch(10_001, 1));
    refused(valid().batch(1, 0));
    refused(valid().poll_interval(Duration::ZERO));
    refused(valid().lease(Duration::from_millis(299)));
    refused(valid().lease(Duration::from_secs(3601)));
    let relay: Result<Relay, Error> = backend.relay(Recorder::new()).name("projection:p:1").build();
    assert_eq!(relay.unwrap_err().kind, ErrorKind::Invalid);
}
