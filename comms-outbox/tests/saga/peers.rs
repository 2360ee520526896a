//! Two processes with a coordinator each, which get the same events and timers, and are killed at random moments.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use super::{
    backend::{Database, Postgres, Sqlite},
    books,
    child::Task,
    kills::{place, succeeded},
    orders::Style,
    rng::Rng,
    services::SERVICES,
};

/// Runs a process to its end, and kills it up to `kills` times. Returns the number of kills.
fn supervise(task: &Task, kills: usize, rng: &Rng) -> usize {
    for done in 0..kills {
        let mut child = start(task);
        let killed_at = Instant::now() + rng.millis(50.0, 900.0);
        while child.try_wait().unwrap().is_none() && Instant::now() < killed_at {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        if succeeded(&child.wait_with_output().unwrap()) {
            return done;
        }
    }
    assert!(succeeded(&start(task).wait_with_output().unwrap()));
    kills
}

fn start(task: &Task) -> Child {
    task.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// `COMMS_SAGA_RUNS` is the number of runs, `COMMS_SAGA_KILLS` the number of kills of each process. `COMMS_SAGA_SEED`
/// repeats the times of the kills, but not the timing of the processes.
async fn two_processes<D: Database>(is_postgres: bool, style: Style) {
    let seed = super::number("COMMS_SAGA_SEED", std::process::id());
    println!("COMMS_SAGA_SEED={seed}");
    let rng = Rng::new(seed.into());
    let (runs, kills) =
        (super::number("COMMS_SAGA_RUNS", 200), super::number("COMMS_SAGA_KILLS", 6) as usize);
    let database = D::create().await;
    let kind = |n: u32| if n.is_multiple_of(3) { "refused" } else { "done" };
    let orders: Vec<_> = (0..runs).map(|n| format!("{}-{n}", kind(n))).collect();
    place(&database, &orders).await;
    let task = |process| Task {
        is_postgres,
        address: database.address(),
        style,
        limit: Duration::from_secs(3),
        processes: 2,
        process,
        runs: orders.len(),
        kill_at: 0,
    };
    let supervised = [0, 1].map(|process| {
        let (task, rng) = (task(process), rng.fork());
        tokio::task::spawn_blocking(move || supervise(&task, kills, &rng))
    });
    let mut killed = 0;
    for process in supervised {
        killed += process.await.unwrap();
    }
    println!("{killed} kills");
    assert!(killed > 0 || kills == 0);
    for run in &orders {
        books::check(&database.unit(), run, &SERVICES).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_have_one_effect_each_sqlite() {
    two_processes::<Sqlite>(false, Style::Orchestrated).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_choreographed_processes_have_one_effect_each_sqlite() {
    two_processes::<Sqlite>(false, Style::Choreographed).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn two_processes_have_one_effect_each_postgres() {
    two_processes::<Postgres>(true, Style::Orchestrated).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn two_choreographed_processes_have_one_effect_each_postgres() {
    two_processes::<Postgres>(true, Style::Choreographed).await;
}
