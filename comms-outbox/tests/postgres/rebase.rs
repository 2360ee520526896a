//! Outboxes that a relay refuses to read, and their repair.

use std::time::Duration;

use comms_core::{
    Error, ErrorKind, Message, MessageParts, UnitOfWork,
    event_sourcing::{Append, EventStore, Expected, Stream},
    health::Health,
};
use sqlx::AssertSqlSafe;

use super::{
    Postgres,
    suite::{
        Backend,
        gate::{Accepted, Gate},
        message_to,
        projection::append,
        run, send, until,
    },
};

/// A transaction id that this server has not reached.
const AHEAD: &str = "1000000000000";

/// As after the restore of a dump on a server with fewer transactions: rows, cursor and branches name transactions that
/// this server has not begun.
async fn from_another_server(backend: &Postgres) {
    let shift = "
        CREATE FUNCTION {s}.shift(snap pg_snapshot) RETURNS pg_snapshot LANGUAGE sql AS $$
            SELECT ((pg_snapshot_xmin(snap)::text::bigint + {n}) || ':' || (pg_snapshot_xmax(snap)::text::bigint + {n})
                || ':' || coalesce((SELECT string_agg((x::text::bigint + {n})::text, ',' ORDER BY x)
                                    FROM pg_snapshot_xip(snap) x), ''))::pg_snapshot $$;
        UPDATE {s}.comms_outbox_cursor SET snap = {s}.shift(snap), win = {s}.shift(win), system_identifier = 1;
        UPDATE {s}.comms_outbox_branch SET snap = {s}.shift(snap), win = {s}.shift(win);
        UPDATE {s}.comms_outbox SET xid = (xid::text::bigint + {n})::text::xid8";
    backend.sql(&shift.replace("{n}", AHEAD)).await;
}

/// Writes rows of eight keys to a and b, in transactions of a hundred.
async fn write(backend: &Postgres, from: usize, count: usize) {
    let row = |n: usize| message_to(["a", "b"][n % 2], &(n % 8).to_string(), &n.to_string());
    for rows in (from..from + count).map(row).collect::<Vec<_>>().chunks(100) {
        send(backend, rows).await;
    }
}

fn delivered(accepted: &Accepted) -> usize {
    accepted.first_by_lane().values().map(Vec::len).sum()
}

fn in_order(accepted: &Accepted, rows: usize) {
    for ((_, key), payloads) in accepted.first_by_lane() {
        let expected: Vec<_> =
            (0..rows).filter(|n| (n % 8).to_string() == key).map(|n| n.to_string()).collect();
        assert_eq!(payloads, expected, "key {key}");
    }
}

/// Checks that the relay is unready with a reason that contains `fix`, and delivers nothing.
async fn refused(backend: &Postgres, accepted: &Accepted, fix: &str) {
    let (health, before) = (Health::new(), accepted.count());
    let relay = run(backend.relay(Gate::new(accepted, Duration::ZERO)).health(health.component("relay")));
    let unready = || health.readiness().reason("relay").is_some_and(|why| why.contains(fix));
    until("the relay is unready and names the fix", async || unready()).await;
    assert!(!health.is_ready());
    relay.stop().await;
    assert_eq!(accepted.count(), before);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_guard_that_survives_a_crash_is_refused() {
    let (backend, accepted) = (Postgres::start().await, Accepted::default());
    write(&backend, 0, 10).await;
    backend.sql("ALTER TABLE {s}.comms_outbox_guard SET LOGGED").await;
    let command = format!("ALTER TABLE {}.comms_outbox_guard SET UNLOGGED", backend.schema);
    refused(&backend, &accepted, &command).await;
    backend.sql(&command).await;
    let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)));
    until("every row", async || accepted.count() == 10).await;
    relay.stop().await;
}

/// One topic is held, and there are more rows than one transaction rewrites.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn rows_of_another_server_are_refused_until_they_are_rebased() {
    let (backend, accepted) = (Postgres::start().await, Accepted::default());
    write(&backend, 0, 6_000).await;
    let gate = Gate::new(&accepted, Duration::ZERO);
    // The first half of b is delivered.
    gate.judge(|message| {
        let number = super::suite::recorder::payload(message).parse::<usize>().unwrap();
        (number % 2 == 1 && number > 3_000).then(|| Error::misconfigured("topic b does not exist"))
    });
    let relay = run(backend.relay(gate));
    until("a", async || accepted.to("a").len() == 3_000).await;
    until("b is held", async || !backend.branches().await.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    relay.stop().await;
    write(&backend, 6_000, 1_000).await;
    from_another_server(&backend).await;
    refused(&backend, &accepted, "Tables::rebase").await;
    backend.tables.rebase(&backend.pool).await.unwrap();
    backend.tables.rebase(&backend.pool).await.unwrap();
    let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)));
    until("every row", async || delivered(&accepted) == 7_000).await;
    until("b joins", async || backend.branches().await.is_empty()).await;
    write(&backend, 7_000, 10).await;
    until("what is new", async || delivered(&accepted) == 7_010).await;
    relay.stop().await;
    in_order(&accepted, 7_010);
    let again = accepted.count() - 7_010;
    println!("{again} of 7010 rows were redelivered");
    assert!(again < 100, "{again} rows were redelivered");
}

/// Only the rows come from another server, as when logical replication filled the table.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn rows_of_another_server_beside_a_cursor_of_this_one_are_rebased() {
    let (backend, accepted) = (Postgres::start().await, Accepted::default());
    let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)));
    write(&backend, 0, 10).await;
    until("the first rows", async || accepted.count() == 10).await;
    relay.stop().await;
    write(&backend, 10, 6_000).await;
    let ahead = "UPDATE {s}.comms_outbox SET xid = (xid::text::bigint + {n})::text::xid8 WHERE id > 10";
    backend.sql(&ahead.replace("{n}", AHEAD)).await;
    refused(&backend, &accepted, "Tables::rebase").await;
    backend.tables.rebase(&backend.pool).await.unwrap();
    let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)));
    until("every row", async || delivered(&accepted) == 6_010).await;
    relay.stop().await;
    in_order(&accepted, 6_010);
}

/// As after a switch-over to the target of logical replication: the rows are there, and the sequences are at their start.
/// The cursor is of this server, or of another one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_rebase_sets_the_sequences_behind_the_highest_id() {
    for from in ["system_identifier", "system_identifier + 1"] {
        let (backend, accepted) = (Postgres::start().await, Accepted::default());
        let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)));
        write(&backend, 0, 10).await;
        until("the first rows", async || accepted.count() == 10).await;
        relay.stop().await;
        append(&backend, "order", "a", 10).await;
        let reset = "
            ALTER TABLE {s}.comms_outbox ALTER COLUMN id RESTART;
            ALTER TABLE {s}.comms_event ALTER COLUMN id RESTART;
            UPDATE {s}.comms_outbox_cursor SET system_identifier = {from}";
        backend.sql(&reset.replace("{from}", from)).await;
        let stream = Stream::new("order", "a");
        let event = MessageParts { source: "suite", id: "next", ..MessageParts::default() };
        let event = [stream.event(&Message::new(event))];
        let (unit, expected) = (backend.unit(), Expected::Version(10));
        let next = Append { stream: &stream, expected, events: &event, messages: &[] };
        let error = unit.append(&mut unit.begin().await.unwrap(), next).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured, "{}", error.chain());
        assert!(error.chain().to_string().contains("Tables::rebase"), "{}", error.chain());
        backend.sql("ALTER TABLE {s}.comms_event ALTER COLUMN id RESTART").await;
        // The repeated call does not move them.
        for _ in 0..2 {
            backend.tables.rebase(&backend.pool).await.unwrap();
        }
        append(&backend, "order", "a", 1).await;
        write(&backend, 10, 1).await;
        for table in ["comms_event", "comms_outbox"] {
            let last = format!("SELECT max(id) FROM {}.{table}", backend.schema);
            let last =
                sqlx::query_scalar::<_, i64>(AssertSqlSafe(last)).fetch_one(&backend.pool).await.unwrap();
            assert_eq!(last, 11, "{table}");
        }
    }
}

/// The process crashes during the rebase, several times. Relays are refused until a call has completed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_rebase_that_was_interrupted_is_repeated() {
    let (backend, accepted) = (Postgres::start().await, Accepted::default());
    write(&backend, 0, 100).await;
    let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)));
    until("the first rows", async || accepted.count() == 100).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    relay.stop().await;
    write(&backend, 100, 15_000).await;
    from_another_server(&backend).await;
    let rewritten = format!("SELECT count(*) FROM {}.comms_outbox WHERE xid = '3'", backend.schema);
    let rewritten = async || -> i64 {
        sqlx::query_scalar(AssertSqlSafe(rewritten.clone())).fetch_one(&backend.pool).await.unwrap()
    };
    let mut interrupted = 0;
    loop {
        let rebase = tokio::spawn({
            let backend = backend.clone();
            async move { backend.tables.rebase(&backend.pool).await }
        });
        // Waits until one more page is rewritten.
        let before = rewritten().await;
        while !rebase.is_finished() && rewritten().await == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rebase.abort();
        if rebase.await.is_ok_and(|result| result.is_ok()) {
            break;
        }
        interrupted += 1;
        // An abort after the last page may come after the end of the rebase: then relays are not refused any more.
        if rewritten().await < 15_100 {
            refused(&backend, &accepted, "Tables::rebase").await;
        }
    }
    println!("interrupted {interrupted} times");
    assert!(interrupted > 0);
    let relay = run(backend.relay(Gate::new(&accepted, Duration::ZERO)));
    until("every row", async || delivered(&accepted) == 15_100).await;
    relay.stop().await;
    in_order(&accepted, 15_100);
}
