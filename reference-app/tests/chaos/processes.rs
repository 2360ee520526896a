//! SIGKILL of the processes of the system.

use std::time::Duration;

use crate::{
    load::Load,
    support::{Deployment, Marketplace},
};

const ORDERS: usize = 1_000;
const KILLS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "kills processes for a minute; run scripts/test"]
async fn chaos_processes_killed_embedded() {
    killed_in_a_loop(Deployment::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn chaos_processes_killed_full_by_role() {
    killed_in_a_loop(Deployment::FullByRole).await;
}

async fn killed_in_a_loop(deployment: Deployment) {
    let mut marketplace = Marketplace::start(deployment).await;
    let load = Load::start(&marketplace, ORDERS, Duration::from_millis(30));
    let mut kills = 0;
    // Kills the processes in turn, at varying moments of their work, for as long as orders are placed.
    while kills < KILLS || !load.is_finished() {
        tokio::time::sleep(Duration::from_millis(700 + 173 * (kills as u64 % 7))).await;
        let victim = kills % marketplace.processes.len();
        let process = &mut marketplace.processes[victim];
        process.kill();
        process.spawn();
        kills += 1;
        if kills >= KILLS && load.acknowledged() + 50 >= ORDERS {
            break;
        }
    }
    marketplace.ready().await;
    load.check(&marketplace, &format!("{deployment:?}, processes killed"), kills).await;
}
