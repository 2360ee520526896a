//! Which failures a sweep passes over, and when the loop repeats, pauses and ends.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use comms_core::{health::Health, shutdown::Shutdown};

use super::*;
use crate::platform::db::testing::TestDb;

static NO_TABLES: sqlx::migrate::Migrator = sqlx::migrate!("src/services/ad/migrations");
const SILENCE: Duration = Duration::from_secs(60);

async fn database() -> TestDb {
    TestDb::sqlite("ad_service", &NO_TABLES).await
}

/// Numbers from 0 that are all due, and the kind of failure of some of them.
struct Numbers {
    count: u32,
    failing: Vec<(u32, ErrorKind)>,
    settled: Mutex<Vec<u32>>,
}

impl Numbers {
    fn new(count: u32, failing: &[(u32, ErrorKind)]) -> Self {
        Self { count, failing: failing.to_vec(), settled: Mutex::default() }
    }
}

impl DueRows for Numbers {
    type Row = u32;

    async fn due(&self, after: Option<&u32>) -> Result<Vec<u32>, Error> {
        Ok((after.map_or(0, |after| after + 1)..self.count).take(PAGE as usize).collect())
    }

    async fn settle(&self, _: &mut Scoped<Tx>, row: &u32) -> Result<bool, Error> {
        match self.failing.iter().find(|(failing, _)| failing == row) {
            Some((_, kind)) => Err(Error::new(*kind, "a failure of the test")),
            None => {
                self.settled.lock().unwrap().push(*row);
                Ok(true)
            }
        }
    }
}

#[tokio::test]
async fn a_row_that_fails_is_passed_over() {
    let (db, heartbeat) = (database().await, Health::new().heartbeat("sweep", SILENCE));
    let failing = [ErrorKind::Internal, ErrorKind::Conflict, ErrorKind::Indeterminate, ErrorKind::NotFound];
    let failing: Vec<_> = (95..).zip(failing).collect();
    let rows = Numbers::new(2 * PAGE + 1, &failing);
    assert_eq!(settle_due(&db.db, &rows, &heartbeat).await.unwrap(), 197);
    let settled = rows.settled.lock().unwrap();
    assert!(settled.iter().copied().eq((0..95).chain(99..201)), "{settled:?}");
}

#[tokio::test]
async fn a_database_that_is_away_and_a_fatal_failure_end_the_sweep() {
    let (db, heartbeat) = (database().await, Health::new().heartbeat("sweep", SILENCE));
    for kind in [ErrorKind::NotExecuted, ErrorKind::Fatal] {
        let rows = Numbers::new(10, &[(4, kind)]);
        assert_eq!(settle_due(&db.db, &rows, &heartbeat).await.unwrap_err().kind, kind);
        assert_eq!(*rows.settled.lock().unwrap(), [0, 1, 2, 3]);
    }
}

/// A sweep that fails in its first turn.
struct FailsFirst {
    kind: ErrorKind,
    sweeps: Arc<AtomicUsize>,
}

impl Sweep for FailsFirst {
    async fn sweep(&self, _: &Heartbeat) -> Result<(), Error> {
        match self.sweeps.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Error::new(self.kind, "a failure of the test")),
            _ => Ok(()),
        }
    }
}

struct Bench {
    health: Health,
    clock: Clock,
    shutdown: Shutdown,
    sweeps: Arc<AtomicUsize>,
    _db: TestDb,
}

async fn start(pause: Duration, kind: ErrorKind) -> Bench {
    let (db, clock) = (database().await, Clock::manual(Duration::from_secs(1_800_000_000)));
    let (health, sweeps) = (Health::with_clock(clock.clone()), Arc::new(AtomicUsize::new(0)));
    let heartbeat = health.heartbeat("sweep", SILENCE);
    let turns = Turns { name: "sweep", pause, db: db.db.clone(), clock: clock.clone(), heartbeat };
    let sweep = FailsFirst { kind, sweeps: sweeps.clone() };
    let shutdown = Shutdown::new(Clock::system());
    shutdown.stage("loops").spawn("sweep", |signal| turns.run(sweep, signal));
    Bench { health, clock, shutdown, sweeps, _db: db }
}

impl Bench {
    /// Waits until the loop has swept `sweeps` times and waits on the clock.
    async fn swept(&self, sweeps: usize) {
        while self.sweeps.load(Ordering::Relaxed) < sweeps {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.sweeps.load(Ordering::Relaxed), sweeps);
    }
}

#[tokio::test]
async fn a_loop_waits_longer_after_a_sweep_that_failed_and_ends_at_the_shutdown() {
    let bench = start(Duration::from_secs(1), ErrorKind::NotExecuted).await;
    bench.swept(1).await;
    bench.clock.advance(RETRY - Duration::from_millis(1));
    bench.swept(1).await;
    bench.clock.advance(Duration::from_millis(1));
    bench.swept(2).await;
    bench.clock.advance(Duration::from_secs(1));
    bench.swept(3).await;
    assert!(bench.shutdown.end(Duration::from_secs(10), pending()).await.is_clean());
}

#[tokio::test]
async fn a_pause_that_is_longer_than_the_silence_does_not_fail_liveness() {
    let pause = SILENCE * 10;
    let bench = start(pause, ErrorKind::NotExecuted).await;
    bench.swept(1).await;
    bench.clock.advance(pause - Duration::from_millis(1));
    bench.swept(1).await;
    assert!(bench.health.is_live());
    bench.clock.advance(Duration::from_millis(1));
    bench.swept(2).await;
}

#[tokio::test]
async fn a_fatal_failure_ends_the_loop() {
    let bench = start(Duration::from_secs(1), ErrorKind::Fatal).await;
    bench.shutdown.failed().await;
    assert_eq!(bench.sweeps.load(Ordering::Relaxed), 1);
}
