//! Rounds of writing, a crash, and continuing.

use sqlx::{PgPool, postgres::PgConnectOptions};

use crate::{
    cluster::{Cluster, Folder},
    forwarder::Forwarder,
    ledger::Ledger,
    oracle::{Oracle, end_prepared},
    relays::Relays,
    rng::Rng,
    writers::{Mode, Writers, sql, tables},
};

/// Returns the number of rounds of a test: `COMMS_CRASH_ROUNDS`, or a small default.
pub fn rounds(default: u32) -> u32 {
    let given = std::env::var("COMMS_CRASH_ROUNDS");
    given.map_or(default, |text| text.parse().expect("COMMS_CRASH_ROUNDS is a number"))
}

/// Returns a generator with the seed `COMMS_CRASH_SEED`, or with a seed that is printed. The timing of the processes
/// varies.
pub fn rng() -> Rng {
    let given = std::env::var("COMMS_CRASH_SEED");
    let random = || u64::try_from(Rng::from_entropy().below(1_000_000)).unwrap();
    let seed = given.map_or_else(|_| random(), |text| text.parse().expect("COMMS_CRASH_SEED is a number"));
    println!("COMMS_CRASH_SEED={seed}");
    Rng::new(seed)
}

/// Returns a cluster with the outbox tables and one table of the application.
pub async fn outbox(folder: &Folder) -> Cluster {
    let cluster = Cluster::create(folder, "first").await;
    let pool = PgPool::connect_with(cluster.options()).await.unwrap();
    tables().migrate(&pool).await.unwrap();
    pool.close().await;
    sql(&mut cluster.connect().await, "CREATE TABLE other (n int)").await.unwrap();
    cluster
}

/// A server with its writers, its relays and the oracle.
pub struct World {
    pub cluster: Cluster,
    pub writers: Writers,
    pub relays: Relays,
    pub forwarder: Forwarder,
    pub ledger: Ledger,
    pub oracle: Oracle,
    pub rng: Rng,
}

impl World {
    /// The relays reach the server, or the pooler in front of it, by `access`, through a forwarder.
    pub async fn start(cluster: Cluster, access: PgConnectOptions, relays: usize, rng: Rng) -> Self {
        let ledger = Ledger::default();
        let forwarder = Forwarder::to(access.get_port()).await;
        let relays = Relays::start(relays, access.port(forwarder.port), &ledger);
        let writers = Writers::start(cluster.port, &rng);
        Self { cluster, writers, relays, forwarder, ledger, oracle: Oracle::default(), rng }
    }

    /// Writes, crashes the server while its writers go on, and checks what the relays have delivered.
    pub async fn crash(&mut self) {
        self.write().await;
        if self.rng.chance(0.1) {
            let index = self.rng.below(self.relays.running.len());
            self.relays.replace(index, self.rng.chance(0.5)).await;
        }
        let xid = self.cluster.next_xid().await;
        let how = *self.rng.pick(&["server killed", "process killed", "immediate shutdown"]);
        *self.oracle.crashes.entry(how).or_default() += 1;
        // In half of the rounds the relays continue after the writers, so that their next read has new rows.
        let late = self.rng.chance(0.5).then(|| self.forwarder.hold());
        match how {
            "server killed" => self.cluster.kill(),
            "process killed" => self.cluster.kill_child(&self.rng).await,
            _ => self.cluster.stop_immediately().await,
        }
        self.writers.set(Mode::Everything);
        if how != "process killed" {
            tokio::time::sleep(self.rng.millis(0.0, 50.0)).await;
            self.cluster.start(&[]);
        }
        self.cluster.up().await;
        self.oracle.reused += u32::from(self.cluster.recovered_xid() < xid);
        if let Some(target) = late {
            tokio::time::sleep(self.rng.millis(0.0, 100.0)).await;
            self.forwarder.switch(target);
        }
        self.go_on(xid, 0.6).await;
    }

    /// Writes of every kind, followed in most rounds by a phase in which nothing is flushed.
    pub async fn write(&mut self) {
        self.writers.set(Mode::Everything);
        tokio::time::sleep(self.rng.millis(50.0, 350.0)).await;
        if !self.rng.chance(0.75) {
            return;
        }
        self.writers.set_and_wait(*self.rng.pick(&[Mode::Unflushed, Mode::Idle])).await;
        if self.rng.chance(0.8) {
            self.cluster.stop_wal_writer();
        }
        tokio::time::sleep(self.rng.millis(5.0, 150.0)).await;
    }

    /// Continues in the surviving history, and checks. Ends `share` of the prepared transactions.
    pub async fn go_on(&mut self, xid: u64, share: f64) {
        tokio::time::sleep(self.rng.millis(50.0, 300.0)).await;
        self.writers.set_and_wait(Mode::Paused).await;
        let mut conn = self.cluster.connect().await;
        self.oracle.prepared += end_prepared(&mut conn, share, &self.rng).await;
        self.oracle.quiet(&mut conn, &mut self.relays, &self.ledger, xid).await;
        self.oracle.check(&mut conn, &self.ledger).await;
    }

    /// Ends every transaction that is still prepared, and checks the counts.
    pub async fn finish(mut self, test: &str) {
        self.go_on(0, 1.0).await;
        self.oracle.judge(test, &self.ledger);
    }
}
