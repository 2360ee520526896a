//! Throughput of the rebuild of a projection, compared with a plain loop on one connection, and the delay of a projection
//! that follows.
//!
//! Run it with `cargo bench -p comms-outbox --all-features --bench projection`. `COMMS_TEST_POSTGRES_URL` names a
//! PostgreSQL server, `COMMS_BENCH_EVENTS` the number of events (default 500,000), and `COMMS_BENCH_ROUNDS` the number of
//! rounds (default 3). The read model counts the events of each stream. The plain loop selects 1,000 events after the last
//! id, applies them with the same statement, and stores the id, in one transaction each.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "support/cpu.rs"]
mod cpu;

use std::{collections::HashMap, sync::Arc, time::Duration};

use comms_core::{
    Error, Headers, Message, MessageParts, Scoped, UnitOfWork,
    clock::Clock,
    event_sourcing::{Append, EventStore, Expected, Recorded, Stream},
};
use comms_outbox::{
    CommitSignal, Projection, ProjectionState,
    postgres::{EventFeed, PgUnit, Tables},
    sql_error,
};
use sqlx::{
    AssertSqlSafe, PgConnection, PgPool, Postgres, Row, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// The events of a stream.
const LENGTH: i64 = 20;
const PAGE: i64 = 1_000;

#[derive(Clone)]
struct Bench {
    pool: PgPool,
    tables: Tables,
    schema: Arc<str>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Ok(url) = std::env::var("COMMS_TEST_POSTGRES_URL") else {
            return println!("skipped: COMMS_TEST_POSTGRES_URL is not set");
        };
        let bench = Bench::start(&url).await;
        // `-- follow` or `-- rebuild` runs one of both.
        let only = |name: &str| std::env::args().skip(1).all(|arg| arg.starts_with('-') || arg == name);
        if only("follow") {
            bench.follow().await;
        }
        if only("rebuild") {
            bench.rebuild().await;
        }
        bench.execute("DROP SCHEMA {s} CASCADE").await;
    });
}

fn setting(name: &str, default: i64) -> i64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Returns the CPU time of the client and of the server for each event.
fn per_event(before: [Duration; 2], after: [Duration; 2], events: i64) -> String {
    let micros = |n: usize| (after[n] - before[n]).as_secs_f64() * 1e6 / events as f64;
    format!("{:.1} + {:.1} us", micros(0), micros(1))
}

impl Bench {
    async fn start(url: &str) -> Self {
        let schema = format!("bench_{}", Clock::system().uuid_v7().simple());
        let options = url.parse::<PgConnectOptions>().unwrap().application_name(&schema);
        let pool = PgPoolOptions::new().max_connections(16).min_connections(16);
        let pool = pool.connect_with(options).await.unwrap();
        let tables = Tables::in_schema(&schema).unwrap();
        tables.migrate(&pool).await.unwrap();
        let bench = Self { pool, tables, schema: schema.into() };
        bench.execute("CREATE TABLE {s}.counts (id bytea PRIMARY KEY, n bigint NOT NULL)").await;
        bench.execute("CREATE TABLE {s}.position (id bigint NOT NULL)").await;
        bench
    }

    fn text(&self, text: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(text.replace("{s}", &self.schema))
    }

    async fn execute(&self, text: &str) {
        sqlx::raw_sql(self.text(text)).execute(&self.pool).await.unwrap();
    }

    /// Returns the CPU time of this process, and that of the server's end of its connections.
    async fn cpu(&self) -> [Duration; 2] {
        let pids = self.text("SELECT pid FROM pg_stat_activity WHERE application_name = '{s}'");
        cpu::cpu(&sqlx::query_scalar(pids).fetch_all(&self.pool).await.unwrap())
    }

    async fn fill(&self, events: i64) {
        let headers: Headers =
            [("ce_type", "bench.v1"), ("ce_time", "2026-01-01T00:00:00Z")].into_iter().collect();
        let insert = "INSERT INTO {s}.comms_event (source, msg_id, topic, key, type, headers, payload, version, created_at)
            SELECT 'bench', n, 'bench', convert_to('stream-' || n / $3, 'UTF8'), 'bench.v1', $4, $5, n % $3 + 1, now()
            FROM generate_series($1::bigint, $2::bigint) n";
        for from in (0..events).step_by(5_000) {
            sqlx::query(self.text(insert))
                .bind(from)
                .bind(from + 4_999)
                .bind(LENGTH)
                .bind(headers.view().encoded())
                .bind(&[b'x'; 200][..])
                .execute(&self.pool)
                .await
                .unwrap();
        }
        self.execute("ANALYZE {s}.comms_event").await;
    }

    /// Adds the events of each stream to the read model.
    async fn count(&self, conn: &mut PgConnection, keys: impl Iterator<Item = Vec<u8>>) -> Result<(), Error> {
        let mut counts: HashMap<Vec<u8>, i64> = HashMap::new();
        for key in keys {
            *counts.entry(key).or_default() += 1;
        }
        let (keys, counts): (Vec<_>, Vec<_>) = counts.into_iter().unzip();
        let upsert = "INSERT INTO {s}.counts AS c SELECT * FROM unnest($1::bytea[], $2::bigint[])
            ON CONFLICT (id) DO UPDATE SET n = c.n + excluded.n";
        let query = sqlx::query(self.text(upsert)).bind(keys).bind(counts);
        query.execute(conn).await.map(drop).map_err(sql_error)
    }

    fn projection(&self, revision: u32, commits: CommitSignal) -> Projection<EventFeed> {
        let (bench, feed) = (self.clone(), EventFeed::new(self.pool.clone(), self.tables.clone()));
        let apply = move |events: Vec<Recorded>, mut tx: Scoped<Transaction<'static, Postgres>>| {
            let bench = bench.clone();
            async move {
                bench.count(&mut tx, events.iter().map(|event| event.message.key().unwrap().to_vec())).await
            }
        };
        Projection::builder(feed, "bench")
            .revision(revision)
            .commit_signal(commits)
            .apply(apply)
            .build()
            .unwrap()
    }

    async fn plain_loop(&self) {
        let select = "SELECT id, source, msg_id, topic, key, headers, payload, version, created_at
            FROM {s}.comms_event WHERE id > $1 ORDER BY id LIMIT $2";
        let mut last = 0;
        loop {
            let mut tx = self.pool.begin().await.unwrap();
            let query = sqlx::query(self.text(select)).bind(last).bind(PAGE);
            let rows = query.fetch_all(&mut *tx).await.unwrap();
            let Some(row) = rows.last() else { return };
            last = row.get::<i64, _>("id");
            self.count(&mut tx, rows.iter().map(|row| row.get("key"))).await.unwrap();
            let position = sqlx::query(self.text("UPDATE {s}.position SET id = $1")).bind(last);
            position.execute(&mut *tx).await.unwrap();
            tx.commit().await.unwrap();
        }
    }

    async fn rebuild(&self) {
        let (events, rounds) = (setting("COMMS_BENCH_EVENTS", 500_000), setting("COMMS_BENCH_ROUNDS", 3));
        self.execute("TRUNCATE {s}.comms_event").await;
        self.fill(events).await;
        let (clock, mut ratios) = (Clock::system(), Vec::new());
        for round in 1..=rounds {
            self.execute("TRUNCATE {s}.counts; TRUNCATE {s}.position; INSERT INTO {s}.position VALUES (0)")
                .await;
            let (start, cpu) = (clock.now(), self.cpu().await);
            self.plain_loop().await;
            let (plain, cpu_plain) = (clock.now() - start, per_event(cpu, self.cpu().await, events));
            self.check(events).await;
            self.execute("TRUNCATE {s}.counts").await;
            let projection = self.projection(u32::try_from(round + 1).unwrap(), CommitSignal::new());
            let handle = projection.handle();
            let (start, cpu) = (clock.now(), self.cpu().await);
            let done = async {
                while handle.status().state != ProjectionState::Live {
                    clock.sleep(Duration::from_millis(5)).await;
                }
            };
            projection.run(done).await.unwrap();
            let (took, cpu) = (clock.now() - start, per_event(cpu, self.cpu().await, events));
            self.check(events).await;
            let rate = |took: Duration| events as f64 / took.as_secs_f64();
            println!(
                "rebuild: plain loop {:.0}/s, CPU {cpu_plain}, projection {:.0}/s, CPU {cpu}",
                rate(plain),
                rate(took)
            );
            ratios.push(rate(took) / rate(plain));
        }
        ratios.sort_by(f64::total_cmp);
        println!("rebuild of {events} events: projection/plain loop {:.2}", ratios[ratios.len() / 2]);
    }

    /// Checks that each event is counted once.
    async fn check(&self, events: i64) {
        let sum = sqlx::query_scalar::<_, Option<i64>>(self.text("SELECT sum(n)::bigint FROM {s}.counts"));
        assert_eq!(sum.fetch_one(&self.pool).await.unwrap(), Some(events));
    }

    /// Appends 1,000 events a second for 21 s, and measures for every 20th the time from its commit until the projection
    /// has applied it. The first second is not counted: each connection then prepares its statements.
    async fn follow(&self) {
        const WRITERS: usize = 8;
        const WARM_UP: usize = 1_000 / WRITERS;
        let (unit, clock) = (PgUnit::new(self.pool.clone(), self.tables.clone()), Clock::system());
        let projection = self.projection(1, unit.commit_signal());
        let handle = projection.handle();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(projection.run(async { drop(stopped.await) }));
        let write = |writer: usize| {
            let (unit, tables, clock, handle) =
                (unit.clone(), self.tables.clone(), clock.clone(), handle.clone());
            tokio::spawn(async move {
                let (start, mut commits, mut delays) = (clock.now(), Vec::new(), Vec::new());
                for n in 0..21_000 / WRITERS {
                    let due = start + Duration::from_millis((n * WRITERS) as u64);
                    clock.sleep(due.saturating_duration_since(clock.now())).await;
                    let stream = Stream::new("bench", format!("{writer}-{n}"));
                    let id = format!("{writer}-{n}");
                    let event = MessageParts {
                        source: "follow",
                        id: &id,
                        payload: Some(&[b'x'; 200]),
                        ..Default::default()
                    };
                    let events = [stream.event(&Message::new(event))];
                    let mut tx = unit.begin().await.unwrap();
                    let append = Append {
                        stream: &stream,
                        expected: Expected::NoStream,
                        events: &events,
                        messages: &[],
                    };
                    unit.append(&mut tx, append).await.unwrap();
                    let written =
                        (n >= WARM_UP && n % 20 == 0).then_some(tables.written(&mut tx).await.unwrap());
                    let before = clock.now();
                    unit.commit(tx).await.unwrap();
                    let committed = clock.now();
                    if n >= WARM_UP {
                        commits.push(committed - before);
                    }
                    let Some(written) = written else { continue };
                    let (clock, handle) = (clock.clone(), handle.clone());
                    delays.push(tokio::spawn(async move {
                        handle.wait_for(written, Duration::from_secs(30)).await.unwrap();
                        clock.now() - committed
                    }));
                }
                let mut measured = Vec::new();
                for delay in delays {
                    measured.push(delay.await.unwrap());
                }
                (commits, measured)
            })
        };
        let (mut commits, mut delays) = (Vec::new(), Vec::new());
        for writer in (0..WRITERS).map(write).collect::<Vec<_>>() {
            let (commit, delay) = writer.await.unwrap();
            commits.extend(commit);
            delays.extend(delay);
        }
        let percentiles = |mut times: Vec<Duration>| {
            times.sort();
            let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e3;
            format!("p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms", at(50), at(95), at(99))
        };
        println!("1,000 appends/s: from commit to applied, {}", percentiles(delays));
        println!("1,000 appends/s: the commit of an append alone, {}", percentiles(commits));
        drop(stop);
        running.await.unwrap().unwrap();
    }
}
