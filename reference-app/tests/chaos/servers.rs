//! Crashes of the broker and of the database.

use std::{process::Command, time::Duration};

use sqlx::{Connection, PgConnection};

use crate::{
    account::ORCHESTRATED,
    load::{self, Load},
    support::{Deployment, server},
};

const CRASHES: usize = 4;

/// Runs `scripts/services VERB NAME`.
async fn services(verb: &'static str, name: &'static str) {
    let script = server("COMMS_TEST_SERVICES");
    let done = tokio::task::spawn_blocking(move || Command::new(script).args([verb, name]).output().unwrap());
    let output = done.await.unwrap();
    assert!(output.status.success(), "{verb} {name}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn chaos_broker_killed() {
    let marketplace = load::marketplace(Deployment::Full, &[]).await;
    // The load lasts 72 s: a broker needs up to 30 s to restart, and several kills must happen during the load.
    let load = Load::start(&marketplace, 600, Duration::from_millis(120)).await;
    let mut kills = 0;
    while !load.is_finished() {
        tokio::time::sleep(Duration::from_secs(4)).await;
        services("kill", "kafka").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        services("restart", "kafka").await;
        kills += 1;
    }
    assert!(kills >= 2, "only {kills} kills happened during the load");
    load.check(&marketplace, &[ORCHESTRATED], "kafka killed and restarted", kills).await;
}

/// Crashes PostgreSQL by immediate shutdowns and SIGKILLs in turn. Before each crash but one, no orders are placed, and
/// there are only the relays' empty reads and rolled-back transactions, whose ids PostgreSQL may assign again after the
/// crash. The other crash comes while orders are placed, and its outage lasts longer than all attempts of a consumer:
/// no record may become a dead letter.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn chaos_database_crashed_after_idle_phases() {
    let few = [
        ("COMMS_CONSUMER__MAX_ATTEMPTS", "3"),
        ("COMMS_CONSUMER__BACKOFF", "50ms"),
        ("COMMS_CONSUMER__BACKOFF_CAP", "200ms"),
        // Several crashes in a minute: a breaker that is open for longer would refuse the orders before the next crash.
        ("COMMS_POLICIES__ORDER__BREAKER__MAX_OPEN_DURATION", "2s"),
    ];
    let marketplace = load::marketplace(Deployment::Full, &few).await;
    let load = Load::start(&marketplace, 500, Duration::from_millis(40)).await;
    for crashes in 0..CRASHES {
        load.progress(60).await;
        // The second crash comes while orders are placed.
        let long = crashes == 1;
        let idle = (!long).then(|| tokio::spawn(roll_back()));
        if idle.is_some() {
            load.pause();
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        services(if crashes % 2 == 0 { "abort" } else { "kill" }, "postgres").await;
        load.resume();
        // Three attempts with their backoff take less than a second.
        tokio::time::sleep(Duration::from_secs(if long { 8 } else { 1 })).await;
        services("restart", "postgres").await;
        if let Some(idle) = idle {
            assert!(idle.await.unwrap() > 20, "transactions were rolled back");
        }
        assert!(!load.is_finished(), "the load ended before crash {crashes}");
    }
    load.check(&marketplace, &[ORCHESTRATED], "postgres crashed and restarted", CRASHES).await;
}

/// Begins transactions with an id and rolls them back, until the server goes down. Returns their number.
async fn roll_back() -> usize {
    let mut connection = PgConnection::connect(&server("COMMS_TEST_POSTGRES_URL")).await.unwrap();
    for taken in 0.. {
        let rolled_back = sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id(); ROLLBACK");
        if rolled_back.execute(&mut connection).await.is_err() {
            return taken;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    0
}
