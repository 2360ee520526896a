//! Projections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use comms_core::{
    Error, Message, MessageParts, Scoped, UnitOfWork,
    event_sourcing::{Append, EventStore, Expected, Recorded, Stream},
    health::Health,
};
use comms_outbox::{ParkedEvent, Projection, ProjectionBuilder, Written, postgres::EventFeed};
use sqlx::{AssertSqlSafe, postgres::PgConnectOptions};
use tokio::sync::Notify;

use super::{
    Postgres,
    relay::blob,
    suite::{
        self, Backend, Tx,
        projection::{Projections, all, append, complete, name_of, project, settings},
    },
    unique, until, url,
};

impl Projections for Postgres {
    type Feed = EventFeed;

    fn feed(&self) -> EventFeed {
        EventFeed::new(self.pool.clone(), self.tables.clone())
    }

    fn projection(&self, name: &str) -> ProjectionBuilder<EventFeed> {
        settings(Projection::builder(self.feed(), name)).commit_signal(self.unit.commit_signal())
    }

    async fn written(&self, tx: &mut Tx<Self>) -> Written {
        self.tables.written(tx).await.unwrap()
    }

    async fn wait_for(&self, name: &str, written: Written) -> Result<(), Error> {
        self.feed().wait_for(name, written, Duration::from_secs(10)).await
    }

    async fn live_revision(&self, name: &str) -> Option<u32> {
        self.tables.live_revision(&mut self.pool.acquire().await.unwrap(), name).await.unwrap()
    }

    async fn set_live_revision(&self, name: &str, revision: u32) {
        let mut conn = self.pool.acquire().await.unwrap();
        self.tables.set_live_revision(&mut conn, name, revision).await.unwrap();
    }

    async fn parked_events(&self, name: &str) -> Vec<ParkedEvent> {
        self.tables.parked_events(&mut self.pool.acquire().await.unwrap(), name).await.unwrap()
    }

    async fn retry_event(&self, event: &ParkedEvent) -> bool {
        self.tables.retry_event(&mut self.pool.acquire().await.unwrap(), event).await.unwrap()
    }

    async fn skip_event(&self, event: &ParkedEvent) -> bool {
        let mut conn = self.pool.acquire().await.unwrap();
        self.tables.skip_event(&mut conn, event, "known").await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn each_event_is_applied_once_over_crashes() {
    suite::projection::each_event_is_applied_once_over_crashes::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_process_that_was_overtaken_is_fenced() {
    suite::projection::a_process_that_was_overtaken_is_fenced::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn only_events_of_the_categories_are_applied() {
    suite::projection::only_events_of_the_categories_are_applied::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_query_waits_for_what_it_has_written() {
    suite::projection::a_query_waits_for_what_it_has_written::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_query_waits_for_what_was_committed_before_it() {
    suite::projection::a_query_waits_for_what_was_committed_before_it::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_higher_revision_is_built_beside_the_live_one() {
    suite::projection::a_higher_revision_is_built_beside_the_live_one::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_wait_is_for_the_live_revision() {
    suite::projection_reads::a_wait_is_for_the_live_revision::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn events_of_all_sizes_are_applied_in_order() {
    suite::projection_reads::events_of_all_sizes_are_applied_in_order::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn names_and_settings_that_cannot_work_are_refused() {
    suite::projection::names_and_settings_that_cannot_work_are_refused::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_projection_parks_at_exactly_the_event_that_fails() {
    suite::projection_parks::a_projection_parks_at_exactly_the_event_that_fails::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn an_operator_skips_an_event() {
    suite::projection_parks::an_operator_skips_an_event::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn an_event_is_skipped_while_it_is_attempted_again() {
    suite::projection_parks::an_event_is_skipped_while_it_is_attempted_again::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_batch_that_is_too_large_is_divided() {
    suite::projection_parks::a_batch_that_is_too_large_is_divided::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn events_before_the_parked_one_are_applied_without_it() {
    suite::projection_parks::events_before_the_parked_one_are_applied_without_it::<Postgres>(
        "UPDATE {s}.comms_outbox_cursor SET last_id = 0",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn failures_outside_the_events_are_retried_without_a_limit() {
    suite::projection_parks::failures_outside_the_events_are_retried_without_a_limit::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_damaged_event_and_a_panic_park_the_projection() {
    suite::projection_parks::a_damaged_event_and_a_panic_park_the_projection::<Postgres>(blob).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_fatal_error_ends_the_projection() {
    suite::projection_parks::a_fatal_error_ends_the_projection::<Postgres>().await;
}

/// A transaction that is open for a long time delays no event of others, and its own event is applied after its commit.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn an_event_that_commits_late_is_applied() {
    let backend = Postgres::start().await;
    let running = project(backend.projection("p").apply(all(&backend)));
    let (unit, stream) = (backend.unit(), Stream::new("order", "late"));
    let mut early = unit.begin().await.unwrap();
    let event = MessageParts { source: "suite", id: &unique(), ..MessageParts::default() };
    let event = [stream.event(&Message::new(event))];
    let append_late = Append { stream: &stream, expected: Expected::NoStream, events: &event, messages: &[] };
    unit.append(&mut early, append_late).await.unwrap();
    let late = backend.written(&mut early).await;
    for _ in 0..10 {
        let written = append(&backend, "order", "a", 1).await;
        backend_applied(&backend, written).await;
    }
    assert_eq!(backend.effects().await.len(), 10);
    unit.commit(early).await.unwrap();
    backend_applied(&backend, late).await;
    assert_eq!(backend.effects().await[10], "order/late@1");
    running.stop().await;
}

async fn backend_applied(backend: &Postgres, written: Written) {
    until("live", async || backend.live_revision("p").await == Some(1)).await;
    backend.wait_for("p", written).await.unwrap();
}

/// A query does not wait for an open transaction, and waits for its event after the commit, although newer ones are
/// applied.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_query_waits_for_an_event_that_was_committed_late() {
    let backend = Postgres::start().await;
    let projection = backend.projection("p").apply(all(&backend)).build().unwrap();
    let handle = projection.handle();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(projection.run(async { drop(stopped.await) }));
    let (unit, stream) = (backend.unit(), Stream::new("order", "late"));
    for round in 1..=5 {
        let event = MessageParts { source: "suite", id: &unique(), ..MessageParts::default() };
        let event = [stream.event(&Message::new(event))];
        let append_late = Append { stream: &stream, expected: Expected::Any, events: &event, messages: &[] };
        let mut late = unit.begin().await.unwrap();
        unit.append(&mut late, append_late).await.unwrap();
        append(&backend, "order", "a", 1).await;
        handle.wait_for_committed(Duration::from_secs(5)).await.unwrap();
        assert_eq!(backend.effects().await.len(), 2 * round - 1);
        unit.commit(late).await.unwrap();
        handle.wait_for_committed(Duration::from_secs(5)).await.unwrap();
        assert_eq!(backend.effects().await.len(), 2 * round);
    }
    drop(stop);
    running.await.unwrap().unwrap();
}

/// A process is suspended inside its transaction, before the commit. Its successor does not wait for it, and its commit is
/// refused.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_transaction_that_was_overtaken_is_rolled_back() {
    let backend = Postgres::start().await;
    append(&backend, "order", "a", 3).await;
    let (applying, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let (began, end, writer) = (applying.clone(), ends.clone(), backend.clone());
    let slow = move |events: Vec<Recorded>, mut tx: Scoped<Tx<Postgres>>| {
        let (began, end, writer) = (began.clone(), end.clone(), writer.clone());
        async move {
            for event in &events {
                writer.add_effect(&mut tx, &name_of(event)).await;
            }
            began.store(true, Ordering::SeqCst);
            end.notified().await;
            Ok(())
        }
    };
    let stale = backend.projection("p").owner("stale").apply(slow).build().unwrap();
    let mut stale = Box::pin(stale.run(std::future::pending()));
    until("it applies", async || {
        let _ = tokio::time::timeout(Duration::from_millis(10), &mut stale).await;
        applying.load(Ordering::SeqCst)
    })
    .await;
    let running = project(backend.projection("p").owner("fresh").apply(all(&backend)));
    until("the successor applies", async || backend.effects().await.len() == 3).await;
    ends.notify_one();
    let _ = tokio::time::timeout(Duration::from_millis(500), &mut stale).await;
    complete(&backend, &["order/a"], 3).await;
    running.stop().await;
}

/// The lease is renewed during a transaction that takes longer than the lease, at every default isolation level.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_long_transaction_keeps_the_lease() {
    let options: PgConnectOptions = url().parse().unwrap();
    let strict = options.options([("default_transaction_isolation", "serializable")]);
    for backend in [Postgres::start().await, Postgres::with(strict).await] {
        long_transaction(&backend).await;
    }
}

async fn long_transaction(backend: &Postgres) {
    append(backend, "order", "a", 3).await;
    let writer = backend.clone();
    let slow = move |events: Vec<Recorded>, mut tx: Scoped<Tx<Postgres>>| {
        let writer = writer.clone();
        async move {
            // The snapshot of a transaction begins with its first statement.
            for event in &events {
                writer.add_effect(&mut tx, &name_of(event)).await;
            }
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            Ok(())
        }
    };
    let running = project(backend.projection("p").owner("slow").apply(slow));
    let held =
        "SELECT count(*) FROM {s}.comms_outbox_cursor WHERE owner = 'slow'".replace("{s}", &backend.schema);
    until("it has the lease", async || {
        sqlx::query_scalar::<_, i64>(AssertSqlSafe(held.clone())).fetch_one(&backend.pool).await.unwrap() == 1
    })
    .await;
    let took = |_, _| async { Err(Error::fatal("took the lease")) };
    let other = project(backend.projection("p").owner("other").apply(took));
    until("it commits", async || backend.effects().await.len() == 3).await;
    complete(backend, &["order/a"], 3).await;
    other.stop().await;
    running.stop().await;
}

/// As after a crash of the server: the guard is gone. The session ends without a commit, and the next one continues.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_session_without_its_guard_commits_nothing() {
    let backend = Postgres::start().await;
    let running = project(backend.projection("p").apply(all(&backend)));
    for _ in 0..10 {
        append(&backend, "order", "a", 2).await;
        backend.sql("DELETE FROM {s}.comms_outbox_guard").await;
        let written = append(&backend, "order", "a", 1).await;
        backend_applied(&backend, written).await;
    }
    running.stop().await;
    complete(&backend, &["order/a"], 30).await;
}

/// As after the restore of a dump of an event store whose projections had applied everything.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn events_of_another_server_are_refused_until_they_are_rebased() {
    let (backend, health) = (Postgres::start().await, Health::new());
    let running = project(backend.projection("p").apply(all(&backend)));
    let written = append(&backend, "order", "a", 10).await;
    backend_applied(&backend, written).await;
    running.stop().await;
    append(&backend, "order", "a", 5).await;
    backend
        .sql(
            "UPDATE {s}.comms_outbox_cursor SET system_identifier = 1;
             UPDATE {s}.comms_event SET xid = (xid::text::bigint + 1000000000000)::text::xid8 WHERE version > 10",
        )
        .await;
    let running = project(backend.projection("p").health(health.component("p")).apply(all(&backend)));
    let refused = || health.readiness().reason("p").is_some_and(|why| why.contains("Tables::rebase"));
    until("it is refused", async || refused()).await;
    assert_eq!(backend.effects().await.len(), 10);
    running.stop().await;
    backend.tables.rebase(&backend.pool).await.unwrap();
    let running = project(backend.projection("p").apply(all(&backend)));
    let written = append(&backend, "order", "a", 1).await;
    backend_applied(&backend, written).await;
    running.stop().await;
    complete(&backend, &["order/a"], 16).await;
}
