//! SIGKILL of the broker and of the database under the system.

use std::{process::Command, time::Duration};

use crate::{
    load::Load,
    support::{Marketplace, Shape, server},
};

const ORDERS: usize = 1_000;

/// `scripts/services VERB NAME`.
async fn services(verb: &'static str, name: &'static str) {
    let script = server("COMMS_TEST_SERVICES");
    let done = tokio::task::spawn_blocking(move || Command::new(script).args([verb, name]).output().unwrap());
    let output = done.await.unwrap();
    assert!(output.status.success(), "{verb} {name}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn killed_and_restarted(name: &'static str, away: Duration) {
    let marketplace = Marketplace::start(Shape::Full).await;
    // Fifty seconds: a broker takes up to fifteen to come back, and several kills are to fall into it.
    let load = Load::start(&marketplace, ORDERS, Duration::from_millis(50));
    let mut kills = 0;
    while !load.is_finished() {
        tokio::time::sleep(Duration::from_secs(4)).await;
        services("kill", name).await;
        tokio::time::sleep(away).await;
        services("restart", name).await;
        kills += 1;
    }
    assert!(kills >= 2, "{kills} kills fell into the load");
    load.judge(&marketplace, &format!("{name} killed and restarted"), kills).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn chaos_broker_killed() {
    killed_and_restarted("kafka", Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn chaos_database_killed() {
    killed_and_restarted("postgres", Duration::from_secs(2)).await;
}
