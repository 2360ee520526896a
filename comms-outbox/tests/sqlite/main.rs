//! The suite on SQLite, and tests of properties that only SQLite has.
#![cfg(feature = "sqlite")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[cfg(feature = "event-store")]
mod events;
mod local;
mod parked;
#[cfg(feature = "event-store")]
mod projection;
mod relay;
#[cfg(feature = "saga")]
mod saga;
#[path = "../suite/mod.rs"]
mod suite;

use std::{path::Path, sync::Arc, time::Duration};

use comms_core::{Claim, Error, ErrorKind, Inbox, Publisher, UnitOfWork, health::Health};
use comms_outbox::{
    Branch, CommitSignal, LocalConsumer, LocalConsumerBuilder, Parked, Relay, RelayBuilder,
    sqlite::{RelayStore, SqliteUnit, Tables},
};
use sqlx::{
    AssertSqlSafe,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions},
};
use suite::{Backend, Tx, message, recorder::Recorder, run, send, until};

/// One file with writers on several connections, as from several processes.
#[derive(Clone)]
struct Sqlite {
    pool: SqlitePool,
    unit: SqliteUnit,
    _dir: Arc<tempfile::TempDir>,
}

fn pool(file: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(20));
    SqlitePoolOptions::new().max_connections(6).connect_lazy_with(options)
}

impl Backend for Sqlite {
    type Unit = SqliteUnit;

    async fn start() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let file = dir.path().join("test.db");
        std::fs::write(&file, "").unwrap();
        let pool = pool(&file);
        sqlx::raw_sql("CREATE TABLE effects (n INTEGER PRIMARY KEY, text TEXT)")
            .execute(&pool)
            .await
            .unwrap();
        let backend = Self { unit: SqliteUnit::new(pool.clone(), Tables::new()), pool, _dir: dir };
        backend.migrate().await.unwrap();
        backend
    }

    fn unit(&self) -> SqliteUnit {
        self.unit.clone()
    }

    fn relay(&self, publisher: Arc<dyn Publisher>) -> RelayBuilder {
        let store = RelayStore::new(self.pool.clone(), Tables::new());
        Relay::builder(store, publisher)
            .name("test")
            .lease(Duration::from_secs(1))
            .commit_signal(self.unit.commit_signal())
    }

    fn local(&self, group: &str) -> LocalConsumerBuilder {
        let store = RelayStore::new(self.pool.clone(), Tables::new());
        LocalConsumer::builder(store, group)
            .lease(Duration::from_secs(1))
            .commit_signal(self.unit.commit_signal())
    }

    async fn migrate(&self) -> Result<(), Error> {
        Tables::new().migrate(&self.pool).await
    }

    async fn drop_tables(&self) {
        let drop = "DROP TABLE comms_outbox; DROP TABLE comms_outbox_cursor; DROP TABLE comms_outbox_branch; DROP TABLE comms_outbox_parked;
            DROP TABLE comms_inbox; DROP TABLE comms_replies; DROP TABLE comms_event; DROP TABLE comms_snapshot; DROP TABLE comms_projection; DROP TABLE comms_projection_parked; DROP TABLE comms_saga; DROP TABLE comms_saga_timer; DROP TABLE comms_saga_log; DROP TABLE comms_saga_early; DROP TABLE comms_outbox_migrations";
        sqlx::raw_sql(drop).execute(&self.pool).await.unwrap();
    }

    async fn parked(&self) -> Vec<Parked> {
        Tables::new().parked(&mut self.pool.acquire().await.unwrap(), "test").await.unwrap()
    }

    async fn release(&self, key: Option<&'static str>) -> u64 {
        let mut conn = self.pool.acquire().await.unwrap();
        Tables::new().release(&mut conn, "test", key.map(str::as_bytes)).await.unwrap()
    }

    async fn branches(&self) -> Vec<Branch> {
        Tables::new().branches(&mut self.pool.acquire().await.unwrap(), "test").await.unwrap()
    }

    async fn cover_only(&self, topics: &'static [&'static str]) {
        let mut tx = self.unit.begin().await.unwrap();
        Tables::new().cover_only(&mut tx, "test", topics).await.unwrap();
        self.unit.commit(tx).await.unwrap();
    }

    async fn sql(&self, text: &str) {
        let text = AssertSqlSafe(text.replace("{s}.", ""));
        sqlx::raw_sql(text).execute(&self.pool).await.unwrap();
    }

    async fn add_effect(&self, tx: &mut Tx<Self>, text: &str) {
        sqlx::query("INSERT INTO effects (text) VALUES ($1)").bind(text).execute(&mut **tx).await.unwrap();
    }

    async fn effects(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT text FROM effects ORDER BY n").fetch_all(&self.pool).await.unwrap()
    }

    async fn statement(&self, tx: &mut Tx<Self>, text: &'static str) {
        let text = sqlx::AssertSqlSafe(text.replace("{s}.", ""));
        sqlx::raw_sql(text).execute(&mut **tx).await.unwrap();
    }

    /// The transaction has the lock of the whole file.
    async fn lock_key(&self, _: &mut Tx<Self>, _: &str) {}

    async fn lease(&self) -> (String, String, bool) {
        let text = "SELECT owner, token, lease_until > CAST(unixepoch('subsec') * 1000 AS INTEGER)
            FROM comms_outbox_cursor WHERE relay = 'test'";
        sqlx::query_as(text).fetch_one(&self.pool).await.unwrap()
    }
}

/// One connection for relays and writers, as in an application whose writers queue in the pool. The relay does not keep
/// the connection while it waits for one.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_enough_for_relays_and_writers() {
    let mut backend = Sqlite::start().await;
    let options = backend.pool.connect_options().as_ref().clone();
    backend.pool.close().await;
    backend.pool = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options);
    backend.unit = SqliteUnit::new(backend.pool.clone(), Tables::new());
    let recorders: Vec<_> = (0..3).map(|_| Recorder::new()).collect();
    let named = |n: usize| backend.relay(recorders[n].clone()).name(format!("relay-{n}")).page(2);
    let relays: Vec<_> = (0..recorders.len()).map(|n| run(named(n))).collect();
    for n in 0..300 {
        let messages = [message("k", &n.to_string())];
        tokio::time::timeout(Duration::from_secs(4), send(&backend, &messages))
            .await
            .expect("no writer waits for a relay");
    }
    for recorder in &recorders {
        until("all are delivered", async || recorder.count() >= 300).await;
    }
    for relay in relays {
        relay.stop().await;
    }
}

/// The file is created after the relay has started. The relay is unready until then, and delivers afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_waits_for_a_missing_database() {
    let source = Sqlite::start().await;
    send(&source, &[message("k", "1")]).await;
    source.pool.close().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("later.db");
    let (recorder, health) = (Recorder::new(), Health::new());
    let store = RelayStore::new(pool(&file), Tables::new());
    let builder = Relay::builder(store, recorder.clone())
        .commit_signal(CommitSignal::new())
        .health(health.component("relay"));
    let relay = run(builder);
    until("it is unready and says why", async || {
        let report = health.readiness();
        report.reason("relay").is_some_and(|reason| reason.contains("unable to open database file"))
    })
    .await;
    std::fs::copy(source._dir.path().join("test.db"), &file).unwrap();
    until("the message is delivered", async || recorder.count() == 1 && health.is_ready()).await;
    relay.stop().await;
}

#[tokio::test]
async fn tables_newer_than_the_program_are_refused() {
    let backend = Sqlite::start().await;
    let newer = "INSERT INTO comms_outbox_migrations (version, checksum) VALUES (99, x'00')";
    sqlx::raw_sql(newer).execute(&backend.pool).await.unwrap();
    let error = backend.migrate().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.chain().to_string().contains("version 99"), "{error}");
}

/// A pool of one connection, so that a broken connection is used again at once.
async fn one_connection() -> Sqlite {
    let mut backend = Sqlite::start().await;
    let options = backend.pool.connect_options().as_ref().clone();
    backend.pool.close().await;
    backend.pool = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options);
    backend.unit = SqliteUnit::new(backend.pool.clone(), Tables::new());
    backend
}

fn claim(id: &str) -> Claim {
    Claim { subscriber: "s".into(), handler: "h".into(), source: "test".into(), id: id.into() }
}

/// Returns the numbers of inbox rows and effects.
async fn kept(backend: &Sqlite) -> (i64, usize) {
    let claims =
        sqlx::query_scalar("SELECT count(*) FROM comms_inbox").fetch_one(&backend.pool).await.unwrap();
    (claims, backend.effects().await.len())
}

/// Checks that the connection works for its next users, with and without a transaction.
async fn works(backend: &Sqlite) {
    let before = backend.effects().await.len();
    let mut tx = backend.unit.begin().await.unwrap();
    backend.add_effect(&mut tx, "in a transaction").await;
    backend.unit.commit(tx).await.unwrap();
    sqlx::query("INSERT INTO effects (text) VALUES ('alone')").execute(&backend.pool).await.unwrap();
    assert_eq!(backend.effects().await.len(), before + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_keeps_nothing_and_its_connection_is_closed() {
    let backend = one_connection().await;
    let tables = "CREATE TABLE parent (id INTEGER PRIMARY KEY);
        CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)";
    sqlx::raw_sql(tables).execute(&backend.pool).await.unwrap();
    for _ in 0..3 {
        let mut tx = backend.unit.begin().await.unwrap();
        backend.unit.claim(&mut tx, &[claim("1")]).await.unwrap();
        sqlx::raw_sql("CREATE TEMP TABLE mark (n); INSERT INTO child VALUES (7)")
            .execute(&mut *tx)
            .await
            .unwrap();
        assert_eq!(backend.unit.commit(tx).await.unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(kept(&backend).await.0, 0);
        let marks = "SELECT count(*) FROM sqlite_temp_master WHERE name = 'mark'";
        let marks: i64 = sqlx::query_scalar(marks).fetch_one(&backend.pool).await.unwrap();
        assert_eq!(marks, 0, "another connection");
    }
    works(&backend).await;
}

/// SQLite rolls the transaction back. The handler ignores the error and continues.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_after_a_rollback_by_sqlite_is_not_kept_without_its_inbox_row() {
    let backend = one_connection().await;
    for _ in 0..2 {
        let mut tx = backend.unit.begin().await.unwrap();
        backend.unit.claim(&mut tx, &[claim("1")]).await.unwrap();
        let twice = "INSERT OR ROLLBACK INTO effects (n, text) VALUES (1, 'x'), (1, 'x')";
        let _ = sqlx::query(twice).execute(&mut *tx).await.unwrap_err();
        let late = "INSERT INTO effects (text) VALUES ('late')";
        let error = sqlx::query(late).execute(&mut *tx).await.map_err(comms_outbox::sql_error).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal);
        let late = Tables::new().enqueue(&mut tx, &[message("k", "late")]).await;
        assert!(late.is_err(), "not by the tables either");
        assert_eq!(backend.unit.commit(tx).await.unwrap_err().kind, ErrorKind::Internal);
        assert_eq!(kept(&backend).await, (0, 0));
    }
    works(&backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_never_keeps_an_effect_without_its_inbox_row() {
    let backend = one_connection().await;
    let mut tx = backend.unit.begin().await.unwrap();
    backend.unit.claim(&mut tx, &[claim("1")]).await.unwrap();
    sqlx::raw_sql("PRAGMA max_page_count = 1").execute(&mut *tx).await.unwrap();
    let large =
        sqlx::query("INSERT INTO effects (text) VALUES (hex(zeroblob(1000000)))").execute(&mut *tx).await;
    assert_eq!(comms_outbox::sql_error(large.unwrap_err()).kind, ErrorKind::NotExecuted);
    let _ = sqlx::query("INSERT INTO effects (text) VALUES ('late')").execute(&mut *tx).await;
    let committed = backend.unit.commit(tx).await.is_ok();
    let (claims, effects) = kept(&backend).await;
    assert_eq!((claims, effects), if committed { (1, 1) } else { (0, 0) });
    sqlx::raw_sql("PRAGMA max_page_count = 1000000").execute(&backend.pool).await.unwrap();
    works(&backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_by_the_handler_is_refused() {
    let backend = one_connection().await;
    let mut tx = backend.unit.begin().await.unwrap();
    backend.add_effect(&mut tx, "x").await;
    let _ = sqlx::raw_sql("COMMIT").execute(&mut *tx).await.unwrap_err();
    assert_eq!(backend.unit.commit(tx).await.unwrap_err().kind, ErrorKind::Internal);
    assert_eq!(kept(&backend).await, (0, 0));
    works(&backend).await;
}

/// The future is dropped at every point, also between BEGIN and its result. The connection stays usable.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_dropped_leaves_a_usable_connection() {
    let backend = one_connection().await;
    for n in 0..100 {
        let begun = tokio::time::timeout(Duration::from_micros(n * 5), backend.unit.begin()).await;
        if let Ok(Ok(mut tx)) = begun {
            backend.add_effect(&mut tx, "dropped").await;
        }
    }
    assert_eq!(kept(&backend).await, (0, 0));
    works(&backend).await;
}

// The suite.

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_rows_are_never_relayed() {
    suite::visibility::rolled_back_rows_are_never_relayed::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_its_order_under_concurrent_writers() {
    suite::visibility::a_key_keeps_its_order_under_concurrent_writers::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_a_message_survives() {
    suite::visibility::every_part_of_a_message_survives::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_relay_publishes_all_messages_of_its_topics() {
    suite::visibility::each_relay_publishes_all_messages_of_its_topics::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_arrives_whole_and_in_order() {
    suite::visibility::a_backlog_arrives_whole_and_in_order::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_crashes_loses_nothing() {
    suite::crash::a_relay_that_crashes_loses_nothing::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_fails_is_retried() {
    suite::crash::a_publish_that_fails_is_retried::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_publish_error_ends_the_relay() {
    suite::crash::a_fatal_publish_error_ends_the_relay::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_starts_at_once_after_a_shutdown_and_after_the_lease_otherwise() {
    suite::lease::a_successor_starts_at_once_after_a_shutdown_and_after_the_lease_otherwise::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_clock_drives_reads_and_the_renewal_of_the_lease() {
    suite::lease::a_manual_clock_drives_reads_and_the_renewal_of_the_lease::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_overtaken_is_fenced() {
    suite::lease::a_relay_that_was_overtaken_is_fenced::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_lag_and_liveness_the_loop() {
    suite::lease::readiness_follows_the_lag_and_liveness_the_loop::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_one_of_many_relays_publishes() {
    suite::lease::at_most_one_of_many_relays_publishes::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_parks_its_key_until_released() {
    suite::parking::a_refused_message_parks_its_key_until_released::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_read_before_the_refusal_are_parked_too() {
    suite::parking::rows_read_before_the_refusal_are_parked_too::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_key_keeps_its_order() {
    suite::parking::a_released_key_keeps_its_order::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_key_is_parked_alone() {
    suite::parking::a_message_without_key_is_parked_alone::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_around_parking_lose_nothing() {
    suite::parking::crashes_around_parking_lose_nothing::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transient_failures_park_nothing() {
    suite::parking::transient_failures_park_nothing::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_and_concurrent_migrations_change_nothing() {
    suite::migrations::repeated_and_concurrent_migrations_change_nothing::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_tables_is_unready_with_the_fix() {
    suite::migrations::a_relay_without_tables_is_unready_with_the_fix::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_fails_after_its_writes_has_its_effect_once() {
    suite::delivery::a_handler_that_fails_after_its_writes_has_its_effect_once::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_parked_and_released_in_order_while_others_continue() {
    suite::delivery::a_refused_key_is_parked_and_released_in_order_while_others_continue::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_being_retried_is_redelivered_after_a_restart() {
    suite::delivery::a_message_being_retried_is_redelivered_after_a_restart::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_waits_for_messages_in_flight() {
    suite::delivery::a_release_waits_for_messages_in_flight::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_passes_the_conformance_suite() {
    suite::conformance::inbox::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_passes_the_conformance_suite() {
    suite::conformance::outbox::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replies_pass_the_conformance_suite() {
    suite::conformance::replies::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_handler_of_a_group_applies_a_message_once() {
    suite::once::each_handler_of_a_group_applies_a_message_once::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_on_two_topics_reaches_both_handlers_of_a_group() {
    suite::once::one_message_on_two_topics_reaches_both_handlers_of_a_group::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structured_event_is_decoded_and_deduplicated() {
    suite::once::a_structured_event_is_decoded_and_deduplicated::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_that_does_not_decode_is_parked() {
    suite::once::an_envelope_that_does_not_decode_is_parked::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_claims_has_its_own_result() {
    suite::claims::each_of_many_claims_has_its_own_result::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_claims_are_made_if_their_transaction_commits() {
    suite::claims::many_claims_are_made_if_their_transaction_commits::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_claims_in_any_order_do_not_deadlock() {
    suite::claims::many_claims_in_any_order_do_not_deadlock::<Sqlite>().await;
}

/// A transaction of a unit of work waits for its turn, and not in SQLite's busy loop.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_a_unit_of_work_take_turns() {
    let backend = Sqlite::start().await;
    let options = (*backend.pool.connect_options()).clone().busy_timeout(Duration::ZERO);
    let pool = SqlitePoolOptions::new().max_connections(3).acquire_timeout(Duration::from_millis(200));
    let unit = SqliteUnit::new(pool.connect_lazy_with(options), Tables::new());
    let first = unit.begin().await.unwrap();
    let error = unit.begin().await.map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotExecuted, "{error}");
    assert!(error.chain().to_string().contains("transactions of the unit of work"), "{}", error.chain());
    let second = tokio::spawn({
        let unit = unit.clone();
        async move { unit.begin().await.map(drop) }
    });
    unit.commit(first).await.unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_after_a_failed_claim_is_refused() {
    suite::once::a_commit_after_a_failed_claim_is_refused::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_key_delays_no_other_key_and_resumes_automatically() {
    suite::holds::a_held_key_delays_no_other_key_and_resumes_automatically::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_with_a_limit_ends_parked() {
    suite::holds::a_hold_with_a_limit_ends_parked::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_rolled_back_to_a_savepoint_are_not_published() {
    suite::peers::messages_rolled_back_to_a_savepoint_are_not_published::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_look_alike_are_different_messages() {
    suite::peers::ids_that_look_alike_are_different_messages::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_parked_message_does_not_block_its_key() {
    suite::peers::a_deleted_parked_message_does_not_block_its_key::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_may_have_any_name() {
    suite::peers::a_relay_may_have_any_name::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_that_the_database_cannot_store_is_sanitized() {
    suite::peers::a_reason_that_the_database_cannot_store_is_sanitized::<Sqlite>().await;
}
