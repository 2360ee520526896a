//! The suite on PostgreSQL, and what only PostgreSQL has.
#![cfg(feature = "postgres")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod bounds;
mod rebase;
mod relay;
#[path = "../suite/mod.rs"]
mod suite;

use std::{sync::Arc, time::Duration};

use comms_core::{
    Claim, Claimed, Error, ErrorKind, Inbox, Outbox, Publisher, UnitOfWork,
    health::Health,
    idempotency::{Admission, CallKey, Replies, StoredReply},
};
use comms_outbox::{
    Branch, Parked, Relay, RelayBuilder,
    postgres::{PgUnit, RelayStore, Tables, writable},
};
use sqlx::{
    AssertSqlSafe, Connection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use suite::{Backend, Tx, message, recorder::Recorder, run, send, unique, until};

/// A schema of its own.
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
        // The process number comes again; the server's data stays.
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
        Relay::builder(store, publisher).name("test").lease(Duration::from_secs(1)).wake(self.unit.wake())
    }

    async fn migrate(&self) -> Result<(), Error> {
        self.tables.migrate(&self.pool).await
    }

    async fn drop_tables(&self) {
        self.sql(
            "DROP TABLE {s}.comms_outbox, {s}.comms_outbox_cursor, {s}.comms_outbox_guard, {s}.comms_outbox_branch, {s}.comms_outbox_parked, {s}.comms_inbox,
                {s}.comms_replies, {s}.comms_outbox_migrations",
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

    async fn cover_only(&self, destinations: &'static [&'static str]) {
        let mut conn = self.pool.acquire().await.unwrap();
        self.tables.cover_only(&mut conn, "test", destinations).await.unwrap();
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

/// An open transaction holds up nobody, and its row comes when it commits.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn an_older_open_transaction_neither_stalls_others_nor_is_lost() {
    let (backend, recorder) = (Postgres::start().await, Recorder::new());
    let relay = run(backend.relay(recorder.clone()).page(2));
    let unit = backend.unit();
    let mut early = unit.begin().await.unwrap();
    unit.enqueue(&mut early, &[message("early", "early 1")]).await.unwrap();
    // Has a transaction id before the others, and writes after them.
    let mut late = unit.begin().await.unwrap();
    backend.add_effect(&mut late, "x").await;
    for n in 0..10 {
        send(&backend, &[message("k", &format!("{n}"))]).await;
    }
    until("the others flow", async || recorder.count() == 10).await;
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

/// Many transactions of random length, some rolled back, against a relay that dies: the read loses nothing.
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
        recorder.die();
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

/// Behind a pooler in transaction mode, a statement with a name meets another server connection.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn unprepared_tables_leave_no_statement_with_a_name() {
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

/// The server's own errors, by what they mean to a consumer.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn errors_of_the_server_have_their_kinds() {
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

/// A handler's time limit may strike between BEGIN and its answer: the connection must not come back to the
/// pool inside a transaction.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_begin_that_is_cancelled_leaves_no_transaction_behind() {
    const TIMES: u64 = 300;
    let backend = Postgres::start().await;
    let pool = PgPoolOptions::new().max_connections(1).connect(&url()).await.unwrap();
    let insert = format!("INSERT INTO {}.effects (text) VALUES ('x')", backend.schema);
    for n in 0..TIMES {
        // Dropped within half a millisecond: the BEGIN is on its way, or its answer is.
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
async fn a_request_that_waits_too_long_is_in_flight_and_its_transaction_lives() {
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
    // As after a restore: the rows' transactions are of another cluster, and so is the cursor.
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

/// Nothing listens at first; then a forwarder to the real server does, and later breaks every connection.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_relay_waits_for_a_database_that_is_away() {
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
    until("it delivers", async || recorder.count() == 1 && health.is_ready()).await;
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
        // The port may linger for a moment after the first forwarder.
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
async fn a_relay_carries_its_destinations_and_each_relay_all_of_them() {
    suite::visibility::a_relay_carries_its_destinations_and_each_relay_all_of_them::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_backlog_arrives_whole_and_in_order() {
    suite::visibility::a_backlog_arrives_whole_and_in_order::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_relay_that_dies_loses_nothing() {
    suite::crash::a_relay_that_dies_loses_nothing::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_carrier_that_fails_is_tried_again() {
    suite::crash::a_carrier_that_fails_is_tried_again::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_fatal_carrier_ends_the_relay() {
    suite::crash::a_fatal_carrier_ends_the_relay::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_successor_starts_at_once_after_a_shut_down_and_after_the_lease_otherwise() {
    suite::lease::a_successor_starts_at_once_after_a_shut_down_and_after_the_lease_otherwise::<Postgres>()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_relay_that_was_overtaken_is_fenced() {
    suite::lease::a_relay_that_was_overtaken_is_fenced::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn readiness_reads_the_lag_and_liveness_hears_the_loop() {
    suite::lease::readiness_reads_the_lag_and_liveness_hears_the_loop::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn at_most_one_of_many_relays() {
    suite::lease::at_most_one_of_many_relays::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_refused_message_parks_its_key_until_released() {
    suite::parking::a_refused_message_parks_its_key_until_released::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn what_was_read_before_the_refusal_is_parked_too() {
    suite::parking::what_was_read_before_the_refusal_is_parked_too::<Postgres>().await;
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
async fn nothing_is_parked_for_failures_that_pass() {
    suite::parking::nothing_is_parked_for_failures_that_pass::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn migrating_again_and_at_once_changes_nothing() {
    suite::migrations::migrating_again_and_at_once_changes_nothing::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_relay_without_tables_says_what_to_do() {
    suite::migrations::a_relay_without_tables_says_what_to_do::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_handler_that_fails_after_its_writes_has_its_effect_once() {
    suite::delivery::a_handler_that_fails_after_its_writes_has_its_effect_once::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_hopeless_key_is_parked_and_released_in_order_while_others_flow() {
    suite::delivery::a_hopeless_key_is_parked_and_released_in_order_while_others_flow::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn what_is_being_retried_comes_again_after_a_restart() {
    suite::delivery::what_is_being_retried_comes_again_after_a_restart::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_release_waits_for_what_is_on_the_way() {
    suite::delivery::a_release_waits_for_what_is_on_the_way::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn the_inbox_keeps_every_promise() {
    suite::conformance::inbox::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn the_outbox_keeps_every_promise() {
    suite::conformance::outbox::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn the_replies_keep_every_promise() {
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
async fn a_structured_event_is_decoded_and_known_again() {
    suite::once::a_structured_event_is_decoded_and_known_again::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn an_envelope_that_cannot_be_opened_is_parked() {
    suite::once::an_envelope_that_cannot_be_opened_is_parked::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_commit_after_a_failed_claim_is_refused() {
    suite::once::a_commit_after_a_failed_claim_is_refused::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_held_key_holds_up_nothing_and_resumes_by_itself() {
    suite::holds::a_held_key_holds_up_nothing_and_resumes_by_itself::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_hold_with_a_limit_ends_parked() {
    suite::holds::a_hold_with_a_limit_ends_parked::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn what_a_savepoint_took_back_is_not_relayed() {
    suite::peers::what_a_savepoint_took_back_is_not_relayed::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn ids_that_look_alike_are_different_messages() {
    suite::peers::ids_that_look_alike_are_different_messages::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_parked_message_that_is_deleted_holds_up_nothing() {
    suite::peers::a_parked_message_that_is_deleted_holds_up_nothing::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_relay_may_have_any_name() {
    suite::peers::a_relay_may_have_any_name::<Postgres>().await;
}

/// A role or a database whose defaults serve the application's own queries.
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

    async fn cover_only(&self, destinations: &'static [&'static str]) {
        self.0.cover_only(destinations).await;
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
    suite::lease::at_most_one_of_many_relays::<Strict>().await;
    suite::lease::a_relay_that_was_overtaken_is_fenced::<Strict>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn strict_settings_keep_each_effect_once() {
    suite::delivery::a_handler_that_fails_after_its_writes_has_its_effect_once::<Strict>().await;
    suite::parking::a_refused_message_parks_its_key_until_released::<Strict>().await;
    suite::peers::what_a_savepoint_took_back_is_not_relayed::<Strict>().await;
}

/// A migration changes a table under the statements that the application's connections have prepared.
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
    // The pool has one connection so far, which has forgotten the statement.
    attempt().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_reason_that_the_database_cannot_store_is_cut() {
    suite::peers::a_reason_that_the_database_cannot_store_is_cut::<Postgres>().await;
}

/// A switch-over under a name that still leads to the old primary: connections made then stay read-only, and those made
/// later are not.
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
