//! The cost of a search for released rows while very many rows are parked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use comms_outbox::sqlite::{SqliteUnit, Tables};
use sqlx::sqlite::SqlitePoolOptions;

use super::{
    Sqlite,
    suite::{Backend, message, recorder::Recorder, run, send, until},
};

const PARKED: u32 = 20_000;
/// Instructions of SQLite's virtual machine between two calls of the progress handler.
const EVERY: u32 = 100;

/// Returns a backend with one connection whose instructions are counted.
async fn counted() -> (Sqlite, Arc<AtomicU64>) {
    let mut backend = Sqlite::start().await;
    let options = backend.pool.connect_options().as_ref().clone();
    backend.pool.close().await;
    let steps = Arc::new(AtomicU64::new(0));
    let counter = steps.clone();
    let pool = SqlitePoolOptions::new().max_connections(1).after_connect(move |conn, _| {
        let counter = counter.clone();
        Box::pin(async move {
            conn.lock_handle().await?.set_progress_handler(EVERY.cast_signed(), move || {
                counter.fetch_add(EVERY.into(), Ordering::SeqCst);
                true
            });
            Ok(())
        })
    });
    backend.pool = pool.connect_lazy_with(options);
    backend.unit = SqliteUnit::new(backend.pool.clone(), Tables::new());
    (backend, steps)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_for_released_rows_reads_no_parked_rows() {
    let (backend, steps) = counted().await;
    let recorder = Recorder::new();
    let fill = format!(
        "INSERT INTO comms_outbox (source, msg_id, topic, key, headers, payload)
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT {PARKED})
             SELECT 'test', 'p' || n, 't', CAST('poison' AS BLOB), x'', x'' FROM n;
         INSERT INTO comms_outbox (source, msg_id, topic, key, headers, payload)
             VALUES ('test', 'other', 't', CAST('other' AS BLOB), x'', CAST('other' AS BLOB));
         INSERT INTO comms_outbox_parked (relay, outbox_id, topic, key, attempts, error)
             SELECT 'test', id, topic, key, 1, 'refused' FROM comms_outbox;
         INSERT INTO comms_outbox_cursor (relay, last_id, token, owner, lease, lease_until)
             SELECT 'test', max(id), 'x', 'x', 1, 0 FROM comms_outbox"
    );
    backend.sql(&fill).await;
    let relay = run(backend.relay(recorder.clone()));
    send(&backend, &[message("good", "1")]).await;
    until("other keys continue", async || recorder.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;

    // Three searches for released rows, and about sixty reads of new rows.
    steps.store(0, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(3_300)).await;
    let idle = steps.load(Ordering::SeqCst);
    println!("{idle} instructions in three seconds");
    assert!(idle < 60_000, "{idle} instructions: the looks read the parked rows");

    assert_eq!(backend.release(Some("other")).await, 1);
    let released = std::time::Instant::now();
    until("the released row", async || recorder.payloads().contains(&"other".to_owned())).await;
    assert!(released.elapsed() < Duration::from_secs(10), "{:?}", released.elapsed());
    until("it is not parked any more", async || {
        let count = "SELECT count(*) FROM comms_outbox_parked";
        let count: u32 = sqlx::query_scalar(count).fetch_one(&backend.pool).await.unwrap();
        count == PARKED
    })
    .await;
    assert_eq!(recorder.count(), 2);
    relay.stop().await;
}

/// SQLite stores any bytes as text. A row that is not UTF-8 is parked, and the operator can list it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_names_are_not_utf8_is_parked_alone() {
    let (backend, recorder) = (Sqlite::start().await, Recorder::new());
    for column in ["topic", "source", "msg_id"] {
        let row = message(column, "bad");
        send(&backend, &[row.clone(), message("good", column)]).await;
        let damage = format!(
            "UPDATE comms_outbox SET {column} = CAST(x'61ff62' AS TEXT) WHERE msg_id = '{}'",
            row.id()
        );
        backend.sql(&damage).await;
    }
    let relay = run(backend.relay(recorder.clone()));
    until("other keys continue", async || recorder.count() == 3).await;
    until("three are parked", async || backend.parked().await.len() == 3).await;
    let parked = backend.parked().await;
    assert!(parked.iter().all(|row| row.error_kind.as_deref() == Some("internal")), "{parked:?}");
    assert_eq!(parked[0].topic, "a\u{fffd}b");
    assert_eq!(parked[2].id, "a\u{fffd}b");

    backend.sql("UPDATE comms_outbox SET topic = 't' WHERE key = CAST('topic' AS BLOB)").await;
    assert_eq!(backend.release(Some("topic")).await, 1);
    until("the repaired row is delivered", async || recorder.count() == 4).await;
    until("two are parked", async || backend.parked().await.len() == 2).await;
    relay.stop().await;
}
