//! The cost of one statement of the relay, in the blocks that it touches.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use comms_core::{Message, Outbox, UnitOfWork};
use comms_outbox::{Relay, postgres::RelayStore};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};

use super::{
    Postgres,
    suite::{Backend, Running, message, recorder::Recorder, run, send, until},
    url,
};

const BACKLOG: &str = "INSERT INTO {s}.comms_outbox (source, msg_id, topic, headers, payload)
    SELECT 'test', n::text, 't', '', repeat('x', 200)::bytea FROM generate_series(1, {n}) n";

/// Returns the blocks of the outbox that were read from disk or found in the cache.
async fn blocks(backend: &Postgres) -> i64 {
    let text = "SELECT (sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit))::bigint
        FROM pg_statio_user_tables WHERE schemaname = $1 AND relname ~ '^comms_outbox_[0-3]$'";
    // A session reports its reads shortly after its end.
    let mut counts = vec![0];
    until("reads are reported", async || {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let count = sqlx::query_scalar(text).bind(&*backend.schema).fetch_one(&backend.pool).await;
        counts.push(count.unwrap());
        counts.len() > 3 && counts[counts.len() - 1] == counts[counts.len() - 2]
    })
    .await;
    counts[counts.len() - 1]
}

/// Returns a backend without autovacuum, whose reads would be counted too.
async fn without_autovacuum() -> Postgres {
    let backend = Postgres::start().await;
    for partition in 0..4 {
        let off = "ALTER TABLE {s}.comms_outbox_{n} SET (autovacuum_enabled = false)";
        backend.sql(&off.replace("{n}", &partition.to_string())).await;
    }
    backend
}

/// Executes statements in a separate session, which reports its reads when it ends. An idle session may report them
/// 10 s later, within the next measurement.
async fn sql_and_report(backend: &Postgres, sql: &str) {
    let pool = PgPoolOptions::new().connect(&url()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.replace("{s}", &backend.schema))).execute(&pool).await.unwrap();
    pool.close().await;
}

/// Starts a relay whose database sessions report their reads when the pool is closed.
async fn start(backend: &Postgres, recorder: &Arc<Recorder>) -> (PgPool, Running) {
    let pool = PgPoolOptions::new().connect(&url()).await.unwrap();
    let store = RelayStore::new(pool.clone(), backend.tables.clone());
    (pool, run(Relay::builder(store, recorder.clone()).name("test")))
}

async fn long(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(240);
    while !condition() {
        assert!(Instant::now() < limit, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Old transactions commit long after newer ones, with the statistics of an empty table and of a full one. A read
/// touches its own rows and no others.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_read_touches_only_the_rows_that_it_returns() {
    const ROWS: usize = 200_000;
    let (backend, recorder) = (without_autovacuum().await, Recorder::new());
    backend.sql("ANALYZE {s}.comms_outbox").await;
    let unit = backend.unit();
    let mut old = Vec::new();
    for n in 0..6 {
        let mut tx = unit.begin().await.unwrap();
        unit.enqueue(&mut tx, &[message("old", &n.to_string()), message("old", &n.to_string())])
            .await
            .unwrap();
        old.push(tx);
    }
    sql_and_report(&backend, &BACKLOG.replace("{n}", &ROWS.to_string())).await;
    let (pool, relay) = start(&backend, &recorder).await;
    long("the backlog", || recorder.count() == ROWS).await;
    // A relay that begins within a window scans it once, to find its bounds.
    until_window_is_closed(&backend).await;
    relay.stop().await;
    pool.close().await;
    let mut delivered = ROWS;
    for statistics in ["of an empty table", "of a full table"] {
        if statistics == "of a full table" {
            sql_and_report(&backend, "ANALYZE {s}.comms_outbox").await;
        }
        let before = blocks(&backend).await;
        let (pool, relay) = start(&backend, &recorder).await;
        for tx in old.drain(..3) {
            unit.commit(tx).await.unwrap();
            delivered += 2;
            until("the old rows", async || recorder.count() == delivered).await;
        }
        relay.stop().await;
        pool.close().await;
        let read = blocks(&backend).await - before;
        println!("{read} blocks with the statistics {statistics}");
        assert!(read < 1_000, "{read} blocks with the statistics {statistics}; the table has thousands");
    }
}

async fn until_window_is_closed(backend: &Postgres) {
    let closed = format!("SELECT win IS NULL FROM {}.comms_outbox_cursor", backend.schema);
    until("the window is closed", async || {
        sqlx::query_scalar(AssertSqlSafe(closed.clone())).fetch_one(&backend.pool).await.unwrap()
    })
    .await;
}

/// Rolled-back rows are scanned once, and cost nothing afterwards.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn rolled_back_rows_do_not_slow_later_reads() {
    let (backend, recorder) = (without_autovacuum().await, Recorder::new());
    backend.sql("ANALYZE {s}.comms_outbox").await;
    let rows = BACKLOG.replace("{n}", "200000");
    sql_and_report(&backend, &format!("BEGIN; {rows}; ROLLBACK")).await;
    let (pool, relay) = start(&backend, &recorder).await;
    send(&backend, &[message("k", "1")]).await;
    until("the row behind them", async || recorder.count() == 1).await;
    // A relay that begins within a window scans it once more.
    until_window_is_closed(&backend).await;
    relay.stop().await;
    pool.close().await;
    let before = blocks(&backend).await;
    let (pool, relay) = start(&backend, &recorder).await;
    for n in 2..12 {
        send(&backend, &[message("k", &n.to_string())]).await;
        until("the next row", async || recorder.count() == n).await;
    }
    relay.stop().await;
    pool.close().await;
    let read = blocks(&backend).await - before;
    println!("{read} blocks for ten rows");
    assert!(read < 1_000, "{read} blocks for ten rows");
}

/// The server cancels statements after 50 ms. They are repeated in smaller pieces.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_backlog_is_delivered_under_a_short_statement_timeout() {
    const ROWS: usize = 300_000;
    let (backend, recorder) = (Postgres::start().await, Recorder::new());
    backend.sql(&BACKLOG.replace("{n}", &ROWS.to_string())).await;
    let rolled_back = BACKLOG.replace("{n}", "200000");
    backend.sql(&format!("BEGIN; {rolled_back}; ROLLBACK")).await;
    let options: sqlx::postgres::PgConnectOptions = url().parse().unwrap();
    let pool = PgPoolOptions::new().connect_lazy_with(options.options([("statement_timeout", "50ms")]));
    let store = RelayStore::new(pool, backend.tables.clone());
    let relay = run(Relay::builder(store, recorder.clone()).name("test").owner("the same"));
    long("every row", || recorder.count() >= ROWS).await;
    send(&backend, &[message("k", "last")]).await;
    long("the last row", || recorder.payloads().last().is_some_and(|payload| payload == "last")).await;
    relay.stop().await;
    let seen = recorder.seen();
    let ids: std::collections::HashSet<_> = seen.iter().map(Message::id).collect();
    assert_eq!(ids.len(), ROWS + 1);
}
