//! SIGKILL of the processes of the system.

use std::time::Duration;

use crate::{
    account::{CHOREOGRAPHED, ORCHESTRATED},
    load::{self, Load},
    support::Deployment,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "kills processes for a minute; run scripts/test"]
async fn chaos_processes_killed_embedded() {
    killed_in_a_loop(Deployment::Embedded, ORCHESTRATED, 400, 14).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn chaos_processes_killed_full_by_role() {
    killed_in_a_loop(Deployment::FullByRole, ORCHESTRATED, 400, 14).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "kills processes for half a minute; run scripts/test"]
async fn chaos_processes_killed_choreographed_embedded() {
    killed_in_a_loop(Deployment::Embedded, CHOREOGRAPHED, 200, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn chaos_processes_killed_choreographed_full_by_role() {
    killed_in_a_loop(Deployment::FullByRole, CHOREOGRAPHED, 200, 6).await;
}

/// Kills the processes at least `kills` times while `orders` orders are placed.
async fn killed_in_a_loop(deployment: Deployment, saga: &str, orders: usize, kills: usize) {
    let choreographed = if saga == CHOREOGRAPHED { "true" } else { "false" };
    let mut marketplace =
        load::marketplace(deployment, &[("COMMS_ORDER__CHOREOGRAPHED", choreographed)]).await;
    let load = Load::start(&marketplace, orders, Duration::from_millis(30)).await;
    let mut killed = 0;
    // Kills the processes in turn, at varying moments of their work, for as long as orders are placed.
    while killed < kills || !load.is_finished() {
        tokio::time::sleep(Duration::from_millis(700 + 173 * (killed as u64 % 7))).await;
        let victim = killed % marketplace.processes.len();
        let process = &mut marketplace.processes[victim];
        process.kill();
        process.spawn();
        killed += 1;
        if killed >= kills && load.acknowledged() + 50 >= orders {
            break;
        }
    }
    marketplace.ready().await;
    load.check(&marketplace, &[saga], &format!("{deployment:?}, {saga}, processes killed"), killed).await;
}
