//! The suite on PostgreSQL, and tests of properties that only PostgreSQL has.
#![cfg(feature = "postgres")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod bounds;
#[cfg(feature = "event-store")]
mod events;
mod local;
#[cfg(feature = "event-store")]
mod projection;
mod rebase;
#[cfg(feature = "event-store")]
mod rebuild;
mod relay;
#[cfg(feature = "saga")]
mod saga;
#[path = "../suite/mod.rs"]
mod suite;

use std::{sync::Arc, time::Duration};

use comms_core::{
    Claim, Claimed, Error, ErrorKind, Inbox, Outbox, Publisher, UnitOfWork,
    health::Health,
    idempotency::{Admission, CallKey, Replies, StoredReply},
};
use comms_outbox::{
    Branch, LocalConsumer, LocalConsumerBuilder, Parked, Relay, RelayBuilder,
    postgres::{PgUnit, RelayStore, Tables, writable},
};
use sqlx::{
    AssertSqlSafe, Connection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use suite::{Backend, Tx, message, recorder::Recorder, run, send, unique, until};

/// A backend with a new schema.
#[derive(Clone)]
struct Postgres {
    pool: PgPool,
    schema: Arc<str>,
    tables: Tables,
    unit: PgUnit,
}

fn url() -> String {
    std::env::var("COMMS_TEST_POSTGRES_URL")
        .expect("COMMS_TEST_POSTGRES_URL is not set: run scripts/test, or eval \"$(scripts/services env)\"")
}

impl Postgres {
    async fn with(options: PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new().max_connections(12).connect_with(options).await.unwrap();
        // A process id may be reused, and the data of the server stays.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let schema: Arc<str> = format!("outbox_{}_{}", now.as_millis(), unique()).into();
        let tables = Tables::in_schema(&schema).unwrap();
        let unit = PgUnit::new(pool.clone(), tables.clone());
        let backend = Self { pool, schema, tables, unit };
        backend.migrate().await.unwrap();
        backend.sql("CREATE TABLE {s}.effects (n bigserial PRIMARY KEY, text text)").await;
        backend
    }
}

impl Backend for Postgres {
    type Unit = PgUnit;

    async fn start() -> Self {
        Self::with(url().parse().unwrap()).await
    }

    fn unit(&self) -> PgUnit {
        self.unit.clone()
    }

    fn relay(&self, publisher: Arc<dyn Publisher>) -> RelayBuilder {
        let store = RelayStore::new(self.pool.clone(), self.tables.clone());
        Relay::builder(store, publisher)
            .name("test")
            .lease(Duration::from_secs(1))
            .commit_signal(self.unit.commit_signal())
    }

    fn local(&self, group: &str) -> LocalConsumerBuilder {
        let store = RelayStore::new(self.pool.clone(), self.tables.clone());
        LocalConsumer::builder(store, group)
            .lease(Duration::from_secs(1))
            .commit_signal(self.unit.commit_signal())
    }

    async fn migrate(&self) -> Result<(), Error> {
        self.tables.migrate(&self.pool).await
    }

    async fn drop_tables(&self) {
        self.sql(
            "DROP TABLE {s}.comms_outbox, {s}.comms_outbox_cursor, {s}.comms_outbox_guard, {s}.comms_outbox_branch, {s}.comms_outbox_parked, {s}.comms_inbox,
                {s}.comms_replies, {s}.comms_event, {s}.comms_snapshot, {s}.comms_projection, {s}.comms_projection_parked, {s}.comms_saga, {s}.comms_saga_timer, {s}.comms_saga_log, {s}.comms_saga_early, {s}.comms_outbox_migrations",
        )
        .await;
    }

    async fn parked(&self) -> Vec<Parked> {
        self.tables.parked(&mut self.pool.acquire().await.unwrap(), "test").await.unwrap()
    }

    async fn release(&self, key: Option<&'static str>) -> u64 {
        let mut conn = self.pool.acquire().await.unwrap();
        self.tables.release(&mut conn, "test", key.map(str::as_bytes)).await.unwrap()
    }

    async fn branches(&self) -> Vec<Branch> {
        self.tables.branches(&mut self.pool.acquire().await.unwrap(), "test").await.unwrap()
    }

    async fn cover_only(&self, topics: &'static [&'static str]) {
        let mut conn = self.pool.acquire().await.unwrap();
        self.tables.cover_only(&mut conn, "test", topics).await.unwrap();
    }

    async fn sql(&self, text: &str) {
        let text = text.replace("{s}", &self.schema);
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&self.pool).await.unwrap();
    }

    async fn add_effect(&self, tx: &mut Tx<Self>, text: &str) {
        let insert = AssertSqlSafe(format!("INSERT INTO {}.effects (text) VALUES ($1)", self.schema));
        sqlx::query(insert).bind(text).execute(&mut **tx).await.unwrap();
    }

    async fn effects(&self) -> Vec<String> {
        let text = format!("SELECT text FROM {}.effects ORDER BY n", self.schema);
        sqlx::query_scalar(AssertSqlSafe(text)).fetch_all(&self.pool).await.unwrap()
    }

    async fn statement(&self, tx: &mut Tx<Self>, text: &'static str) {
        let text = AssertSqlSafe(text.replace("{s}", &self.schema));
        sqlx::raw_sql(text).execute(&mut **tx).await.unwrap();
    }

    async fn lock_key(&self, tx: &mut Tx<Self>, key: &str) {
        let lock = "SELECT pg_advisory_xact_lock(hashtext($1))";
        sqlx::query(lock).bind(format!("{} {key}", self.schema)).execute(&mut **tx).await.unwrap();
    }

    async fn lease(&self) -> (String, String, bool) {
        let text = format!(
            "SELECT owner, token::text, lease_until > clock_timestamp() FROM {}.comms_outbox_cursor WHERE relay = 'test'",
            self.schema
        );
        sqlx::query_as(AssertSqlSafe(text)).fetch_one(&self.pool).await.unwrap()
    }
}

/// An open transaction delays no other row, and its own row is delivered after its commit.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn an_older_open_transaction_neither_stalls_others_nor_is_lost() {
    let (backend, recorder) = (Postgres::start().await, Recorder::new());
    let relay = run(backend.relay(recorder.clone()).page(2));
    let unit = backend.unit();
    let mut early = unit.begin().await.unwrap();
    unit.enqueue(&mut early, &[message("early", "early 1")]).await.unwrap();
    // This transaction gets its id before the others, and writes after them.
    let mut late = unit.begin().await.unwrap();
    backend.add_effect(&mut late, "x").await;
    for n in 0..10 {
        send(&backend, &[message("k", &format!("{n}"))]).await;
    }
    until("other keys continue", async || recorder.count() == 10).await;
    unit.enqueue(&mut late, &[message("k", "10")]).await.unwrap();
    unit.commit(late).await.unwrap();
    until("the late one came", async || recorder.count() == 11).await;
    for n in 0..10 {
        unit.enqueue(&mut early, &[message("early", &format!("early {}", n + 2))]).await.unwrap();
    }
    send(&backend, &[message("k", "11")]).await;
    unit.commit(early).await.unwrap();
    until("the early one came", async || recorder.count() == 23).await;
    let firsts = recorder.first_by_key();
    assert_eq!(firsts["k"], (0..12).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(firsts["early"], (1..12).map(|n| format!("early {n}")).collect::<Vec<_>>());
    relay.stop().await;
}

/// Many transactions of random length, some rolled back, while the relay crashes. No row is lost.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn overlapping_transactions_of_any_length_lose_nothing() {
    let (backend, recorder) = (Postgres::start().await, Recorder::with(Duration::from_millis(2), 5));
    let clock = comms_core::clock::Clock::system();
    let writer = |w: usize| {
        let (backend, clock) = (backend.clone(), clock.clone());
        tokio::spawn(async move {
            let (unit, mut committed) = (backend.unit(), Vec::new());
            for n in 0..30 {
                let mut tx = unit.begin().await.unwrap();
                let rows: Vec<_> = (0..1 + n % 3).map(|r| message("", &format!("{w}-{n}-{r}"))).collect();
                for row in &rows {
                    unit.enqueue(&mut tx, std::slice::from_ref(row)).await.unwrap();
                    tokio::time::sleep(Duration::from_secs_f64(0.02 * clock.random_unit())).await;
                }
                if n % 5 == 4 {
                    continue;
                }
                unit.commit(tx).await.unwrap();
                committed.extend(rows.iter().map(suite::recorder::payload));
            }
            committed
        })
    };
    let writers: Vec<_> = (0..8).map(writer).collect();
    while !writers.iter().all(|w| w.is_finished()) {
        let relay = run(backend.relay(recorder.clone()).owner("the same").page(3));
        tokio::time::sleep(Duration::from_secs_f64(0.25 * clock.random_unit())).await;
        relay.crash().await;
        recorder.drop_unacknowledged();
    }
    let mut expected = Vec::new();
    for writer in writers {
        expected.extend(writer.await.unwrap());
    }
    let relay = run(backend.relay(recorder.clone()));
    let delivered = || recorder.payloads().into_iter().collect::<std::collections::HashSet<_>>();
    until("every committed row", async || delivered().len() >= expected.len()).await;
    relay.stop().await;
    assert_eq!(delivered(), expected.into_iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_commit_after_a_swallowed_failure_is_an_error() {
    let backend = Postgres::start().await;
    let unit = backend.unit();
    let mut tx = unit.begin().await.unwrap();
    unit.enqueue(&mut tx, &[message("k", "1")]).await.unwrap();
    let _ = sqlx::raw_sql("SELECT 1/0").execute(&mut *tx).await.unwrap_err();
    assert_eq!(unit.commit(tx).await.unwrap_err().kind, ErrorKind::Internal);
}

/// Behind a pooler in transaction mode, a named statement may be executed on another server connection.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn unprepared_tables_prepare_no_named_statement() {
    let backend = Postgres::start().await;
    let named = async |tables: Tables| {
        let unit = PgUnit::new(backend.pool.clone(), tables);
        let call = CallKey::with_fingerprint("ann", "place", &unique(), [1; 32]).unwrap();
        let claim =
            Claim { subscriber: "s".into(), handler: "h".into(), source: "t".into(), id: unique().into() };
        let mut tx = unit.begin().await.unwrap();
        sqlx::raw_sql("DEALLOCATE ALL").execute(&mut *tx).await.unwrap();
        tx.clear_cached_statements().await.unwrap();
        unit.enqueue(&mut tx, &[message("k", "1")]).await.unwrap();
        assert_eq!(unit.claim(&mut tx, &[claim]).await.unwrap(), [Claimed::New]);
        assert_eq!(unit.admit(&mut tx, &call).await.unwrap(), Admission::Run(()));
        unit.complete(&mut tx, &call, &StoredReply::new(0, "x")).await.unwrap();
        let text = "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''";
        sqlx::query_scalar::<_, i64>(text).persistent(false).fetch_one(&mut *tx).await.unwrap()
    };
    assert_eq!(named(backend.tables.clone()).await, 4);
    assert_eq!(named(backend.tables.clone().unprepared()).await, 0);
}

/// A connection without a transaction has no savepoint.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn many_claims_without_a_transaction_are_made_at_once() {
    let backend = Postgres::start().await;
    let claim = |n: usize| Claim {
        subscriber: "s".into(),
        handler: "h".into(),
        source: "t".into(),
        id: n.to_string().into(),
    };
    let claims: Vec<_> = (0..100).map(claim).collect();
    let mut conn = backend.pool.acquire().await.unwrap();
    for expected in [Claimed::New, Claimed::Seen] {
        assert_eq!(backend.tables.claim(&mut conn, &claims).await.unwrap(), [expected; 100]);
    }
}

/// Errors of the server have the kinds that decide how a consumer reacts.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn server_errors_are_classified() {
    let backend = Postgres::start().await;
    for (text, kind) in [
        ("SELECT 1/0", ErrorKind::Invalid),
        ("SELEC 1", ErrorKind::Internal),
        ("SELECT * FROM not_there", ErrorKind::Misconfigured),
        ("SELECT not_there FROM pg_class", ErrorKind::Misconfigured),
        ("SELECT not_there(1)", ErrorKind::Misconfigured),
        ("SET LOCAL statement_timeout = '20ms'; SELECT pg_sleep(10)", ErrorKind::Indeterminate),
        ("SET TRANSACTION READ ONLY; CREATE TABLE public.not_there (n int)", ErrorKind::NotExecuted),
        ("EXECUTE not_there", ErrorKind::Misconfigured),
        ("DO $$ BEGIN RAISE 'no' ; END $$", ErrorKind::Invalid),
        ("SELECT pg_terminate_backend(pg_backend_pid())", ErrorKind::NotExecuted),
    ] {
        let mut tx = backend.unit.begin().await.unwrap();
        let error = sqlx::raw_sql(text).execute(&mut *tx).await.unwrap_err();
        assert_eq!(comms_outbox::sql_error(error).kind, kind, "{text}");
    }
}

/// A handler's time limit may end between BEGIN and its result. The connection must not return to the pool inside a
/// transaction.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_begin_that_is_cancelled_leaves_no_transaction_behind() {
    const TIMES: u64 = 300;
    let backend = Postgres::start().await;
    let pool = PgPoolOptions::new().max_connections(1).connect(&url()).await.unwrap();
    let insert = format!("INSERT INTO {}.effects (text) VALUES ('x')", backend.schema);
    for n in 0..TIMES {
        // The future is dropped within 0.5 ms, while the BEGIN or its result is in transit.
        let mut begin = Box::pin(comms_outbox::postgres::begin(&pool));
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_micros(n * 37 % 500) {
            if futures::poll!(&mut begin).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(begin);
        sqlx::raw_sql(AssertSqlSafe(insert.clone())).execute(&pool).await.unwrap();
    }
    pool.close().await;
    assert_eq!(backend.effects().await.len() as u64, TIMES, "each was committed by itself");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_commit_that_is_not_flushed_is_refused() {
    let backend = Postgres::start().await;
    let unit = backend.unit();
    let mut tx = unit.begin().await.unwrap();
    sqlx::raw_sql("SET LOCAL synchronous_commit = off").execute(&mut *tx).await.unwrap();
    let error = unit.enqueue(&mut tx, &[message("k", "1")]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.chain().to_string().contains("synchronous_commit"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_request_that_waits_too_long_is_in_flight_and_its_transaction_stays_usable() {
    let backend = Postgres::start().await;
    let (unit, key) = (backend.unit(), CallKey::new("ann", "place", "k", b"x").unwrap());
    let mut first = unit.begin().await.unwrap();
    assert_eq!(unit.admit(&mut first, &key).await.unwrap(), Admission::Run(()));
    let mut second = unit.begin().await.unwrap();
    assert!(matches!(unit.admit(&mut second, &key).await.unwrap(), Admission::InFlight { .. }));
    unit.enqueue(&mut second, &[message("k", "1")]).await.unwrap();
    unit.commit(second).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_restored_dump_is_refused_until_it_is_rebased() {
    let (backend, recorder) = (Postgres::start().await, Recorder::new());
    send(&backend, &[message("k", "1"), message("k", "2")]).await;
    let relay = run(backend.relay(recorder.clone()));
    until("two rows", async || recorder.count() == 2).await;
    relay.stop().await;
    send(&backend, &[message("k", "3"), message("k", "4")]).await;
    // As after a restore: rows and cursor name transactions of another cluster.
    backend.sql("UPDATE {s}.comms_outbox_cursor SET system_identifier = 1").await;
    let health = Health::new();
    let relay = run(backend.relay(recorder.clone()).health(health.component("relay")));
    let refused = || health.readiness().reason("relay").is_some_and(|why| why.contains("Tables::rebase"));
    until("the relay is unready and names the way out", async || refused()).await;
    assert_eq!(recorder.count(), 2);
    relay.stop().await;

    backend.tables.rebase(&backend.pool).await.unwrap();
    let relay = run(backend.relay(recorder.clone()).page(1));
    until("the rest", async || recorder.count() == 4).await;
    send(&backend, &[message("k", "5")]).await;
    until("what is new", async || recorder.count() == 5).await;
    assert_eq!(recorder.payloads(), ["1", "2", "3", "4", "5"]);
    relay.stop().await;
    backend.tables.rebase(&backend.pool).await.unwrap();
}

/// At first no server listens. Then a forwarder to the real server listens, and later breaks every connection.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_relay_waits_for_an_unavailable_database() {
    let (backend, recorder, health) = (Postgres::start().await, Recorder::new(), Health::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options: sqlx::postgres::PgConnectOptions = url().parse().unwrap();
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let options = options.host("127.0.0.1").port(address.port());
    let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(2)).connect_lazy_with(options);
    let store = RelayStore::new(pool, backend.tables.clone());
    let relay = run(Relay::builder(store, recorder.clone()).health(health.component("relay")));
    send(&backend, &[message("k", "1")]).await;
    let away = || health.readiness().reason("relay").is_some_and(|reason| reason != "starting");
    until("it is unready and says why", async || away()).await;
    let forwarder = tokio::spawn(forward(address, server.clone()));
    until("the message is delivered", async || recorder.count() == 1 && health.is_ready()).await;
    forwarder.abort();
    send(&backend, &[message("k", "2")]).await;
    until("it is unready again", async || away()).await;
    let forwarder = tokio::spawn(forward(address, server));
    until("it delivers again", async || recorder.payloads().last().is_some_and(|p| p == "2")).await;
    relay.stop().await;
    forwarder.abort();
}

async fn forward(address: std::net::SocketAddr, server: String) {
    let listener = loop {
        // The port may stay in use for a moment after the first forwarder.
        match tokio::net::TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let server = server.clone();
        connections.spawn(async move {
            let mut server = tokio::net::TcpStream::connect(server).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

// The suite.

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn rolled_back_rows_are_never_relayed() {
    suite::visibility::rolled_back_rows_are_never_relayed::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_key_keeps_its_order_under_concurrent_writers() {
    suite::visibility::a_key_keeps_its_order_under_concurrent_writers::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn every_part_of_a_message_survives() {
    suite::visibility::every_part_of_a_message_survives::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn each_relay_publishes_all_messages_of_its_topics() {
    suite::visibility::each_relay_publishes_all_messages_of_its_topics::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_backlog_arrives_whole_and_in_order() {
    suite::visibility::a_backlog_arrives_whole_and_in_order::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_relay_that_crashes_loses_nothing() {
    suite::crash::a_relay_that_crashes_loses_nothing::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_publish_that_fails_is_retried() {
    suite::crash::a_publish_that_fails_is_retried::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_fatal_publish_error_ends_the_relay() {
    suite::crash::a_fatal_publish_error_ends_the_relay::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_successor_starts_at_once_after_a_shutdown_and_after_the_lease_otherwise() {
    suite::lease::a_successor_starts_at_once_after_a_shutdown_and_after_the_lease_otherwise::<Postgres>()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_manual_clock_drives_reads_and_the_renewal_of_the_lease() {
    suite::lease::a_manual_clock_drives_reads_and_the_renewal_of_the_lease::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_relay_that_was_overtaken_is_fenced() {
    suite::lease::a_relay_that_was_overtaken_is_fenced::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn readiness_follows_the_lag_and_liveness_the_loop() {
    suite::lease::readiness_follows_the_lag_and_liveness_the_loop::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn at_most_one_of_many_relays_publishes() {
    suite::lease::at_most_one_of_many_relays_publishes::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_refused_message_parks_its_key_until_released() {
    suite::parking::a_refused_message_parks_its_key_until_released::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn rows_read_before_the_refusal_are_parked_too() {
    suite::parking::rows_read_before_the_refusal_are_parked_too::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_released_key_keeps_its_order() {
    suite::parking::a_released_key_keeps_its_order::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_message_without_key_is_parked_alone() {
    suite::parking::a_message_without_key_is_parked_alone::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn crashes_around_parking_lose_nothing() {
    suite::parking::crashes_around_parking_lose_nothing::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn transient_failures_park_nothing() {
    suite::parking::transient_failures_park_nothing::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn repeated_and_concurrent_migrations_change_nothing() {
    suite::migrations::repeated_and_concurrent_migrations_change_nothing::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_relay_without_tables_is_unready_with_the_fix() {
    suite::migrations::a_relay_without_tables_is_unready_with_the_fix::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_handler_that_fails_after_its_writes_has_its_effect_once() {
    suite::delivery::a_handler_that_fails_after_its_writes_has_its_effect_once::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_refused_key_is_parked_and_released_in_order_while_others_continue() {
    suite::delivery::a_refused_key_is_parked_and_released_in_order_while_others_continue::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_message_being_retried_is_redelivered_after_a_restart() {
    suite::delivery::a_message_being_retried_is_redelivered_after_a_restart::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_release_waits_for_messages_in_flight() {
    suite::delivery::a_release_waits_for_messages_in_flight::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn the_inbox_passes_the_conformance_suite() {
    suite::conformance::inbox::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn the_outbox_passes_the_conformance_suite() {
    suite::conformance::outbox::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn the_replies_pass_the_conformance_suite() {
    suite::conformance::replies::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn each_handler_of_a_group_applies_a_message_once() {
    suite::once::each_handler_of_a_group_applies_a_message_once::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn one_message_on_two_topics_reaches_both_handlers_of_a_group() {
    suite::once::one_message_on_two_topics_reaches_both_handlers_of_a_group::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_structured_event_is_decoded_and_deduplicated() {
    suite::once::a_structured_event_is_decoded_and_deduplicated::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn an_envelope_that_does_not_decode_is_parked() {
    suite::once::an_envelope_that_does_not_decode_is_parked::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn each_of_many_claims_has_its_own_result() {
    suite::claims::each_of_many_claims_has_its_own_result::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn many_claims_are_made_if_their_transaction_commits() {
    suite::claims::many_claims_are_made_if_their_transaction_commits::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn many_claims_in_any_order_do_not_deadlock() {
    suite::claims::many_claims_in_any_order_do_not_deadlock::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_commit_after_a_failed_claim_is_refused() {
    suite::once::a_commit_after_a_failed_claim_is_refused::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_held_key_delays_no_other_key_and_resumes_automatically() {
    suite::holds::a_held_key_delays_no_other_key_and_resumes_automatically::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_hold_with_a_limit_ends_parked() {
    suite::holds::a_hold_with_a_limit_ends_parked::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn messages_rolled_back_to_a_savepoint_are_not_published() {
    suite::peers::messages_rolled_back_to_a_savepoint_are_not_published::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn ids_that_look_alike_are_different_messages() {
    suite::peers::ids_that_look_alike_are_different_messages::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_deleted_parked_message_does_not_block_its_key() {
    suite::peers::a_deleted_parked_message_does_not_block_its_key::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_relay_may_have_any_name() {
    suite::peers::a_relay_may_have_any_name::<Postgres>().await;
}

/// A database whose default settings are strict, as for an application's own queries.
#[derive(Clone)]
struct Strict(Postgres);

impl Backend for Strict {
    type Unit = PgUnit;

    async fn start() -> Self {
        let options: PgConnectOptions = url().parse().unwrap();
        let settings = [
            ("default_transaction_isolation", "serializable"),
            ("search_path", "pg_catalog"),
            ("bytea_output", "escape"),
            ("DateStyle", "SQL,DMY"),
            ("IntervalStyle", "sql_standard"),
            ("standard_conforming_strings", "off"),
        ];
        Self(Postgres::with(options.options(settings)).await)
    }

    fn unit(&self) -> PgUnit {
        self.0.unit()
    }

    fn relay(&self, publisher: Arc<dyn Publisher>) -> RelayBuilder {
        self.0.relay(publisher)
    }

    fn local(&self, group: &str) -> LocalConsumerBuilder {
        self.0.local(group)
    }

    async fn migrate(&self) -> Result<(), Error> {
        self.0.migrate().await
    }

    async fn drop_tables(&self) {
        self.0.drop_tables().await;
    }

    async fn parked(&self) -> Vec<Parked> {
        self.0.parked().await
    }

    async fn release(&self, key: Option<&'static str>) -> u64 {
        self.0.release(key).await
    }

    async fn branches(&self) -> Vec<Branch> {
        self.0.branches().await
    }

    async fn cover_only(&self, topics: &'static [&'static str]) {
        self.0.cover_only(topics).await;
    }

    async fn sql(&self, text: &str) {
        self.0.sql(text).await;
    }

    async fn add_effect(&self, tx: &mut Tx<Self>, text: &str) {
        self.0.add_effect(tx, text).await;
    }

    async fn effects(&self) -> Vec<String> {
        self.0.effects().await
    }

    async fn statement(&self, tx: &mut Tx<Self>, text: &'static str) {
        self.0.statement(tx, text).await;
    }

    async fn lock_key(&self, tx: &mut Tx<Self>, key: &str) {
        self.0.lock_key(tx, key).await;
    }

    async fn lease(&self) -> (String, String, bool) {
        self.0.lease().await
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn strict_settings_keep_the_order() {
    suite::visibility::a_key_keeps_its_order_under_concurrent_writers::<Strict>().await;
    suite::visibility::every_part_of_a_message_survives::<Strict>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn strict_settings_keep_one_relay_at_a_time() {
    suite::lease::at_most_one_of_many_relays_publishes::<Strict>().await;
    suite::lease::a_relay_that_was_overtaken_is_fenced::<Strict>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn strict_settings_keep_each_effect_once() {
    suite::delivery::a_handler_that_fails_after_its_writes_has_its_effect_once::<Strict>().await;
    suite::parking::a_refused_message_parks_its_key_until_released::<Strict>().await;
    suite::peers::messages_rolled_back_to_a_savepoint_are_not_published::<Strict>().await;
}

/// A migration changes a table for which the application's connections have prepared statements.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_statement_whose_table_has_changed_works_at_the_next_attempt() {
    let backend = Postgres::start().await;
    let unit = backend.unit();
    let text: Arc<str> = format!("SELECT * FROM {}.effects", backend.schema).into();
    let attempt = async || {
        let mut tx = unit.begin().await?;
        sqlx::query(AssertSqlSafe(text.clone()))
            .fetch_all(&mut *tx)
            .await
            .map_err(comms_outbox::sql_error)?;
        unit.commit(tx).await
    };
    attempt().await.unwrap();
    backend.sql("ALTER TABLE {s}.effects ADD COLUMN more text").await;
    let error = attempt().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotExecuted, "{}", error.chain());
    // The failure has removed the prepared statement of its connection. The pool may have another one with it.
    until("it works", async || attempt().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_reason_that_the_database_cannot_store_is_sanitized() {
    suite::peers::a_reason_that_the_database_cannot_store_is_sanitized::<Postgres>().await;
}

/// After a switch-over the name still leads to the old primary. Connections made then stay read-only, and later ones
/// are not.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn connections_to_a_server_that_is_read_only_are_replaced() {
    let (backend, recorder) = (Postgres::start().await, Recorder::new());
    let demoted = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let now = demoted.clone();
    let pool = writable(PgPoolOptions::new()).max_connections(3).after_connect(move |conn, _| {
        let read_only = now.load(std::sync::atomic::Ordering::SeqCst);
        Box::pin(async move {
            if read_only {
                sqlx::raw_sql("SET default_transaction_read_only = on").execute(conn).await?;
            }
            Ok(())
        })
    });
    let pool = pool.connect(&url()).await.unwrap();
    let unit = PgUnit::new(pool.clone(), backend.tables.clone());
    let attempt = async || {
        let mut tx = unit.begin().await?;
        unit.enqueue(&mut tx, &[message("k", "1")]).await?;
        unit.commit(tx).await
    };
    assert_eq!(attempt().await.unwrap_err().kind, ErrorKind::NotExecuted);
    let store = RelayStore::new(pool.clone(), backend.tables.clone());
    let relay = run(Relay::builder(store, recorder.clone()).name("test").lease(Duration::from_secs(1)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    demoted.store(false, std::sync::atomic::Ordering::SeqCst);
    until("a writer works", async || attempt().await.is_ok()).await;
    until("the relay works", async || recorder.count() == 1).await;
    relay.stop().await;
}
