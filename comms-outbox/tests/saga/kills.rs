//! A process that is killed at each of its calls, and started again.

use std::{os::unix::process::ExitStatusExt, process::Output, time::Duration};

use comms_core::{Outbox, UnitOfWork, clock::Clock, event::EventSource};

use super::{
    backend::{Database, Postgres, Sqlite},
    books,
    child::Task,
    orders::{Placed, Style},
    services::SERVICES,
};

const SIGKILL: i32 = 9;
/// Databases that are used at the same time.
const WORKERS: usize = 3;

/// Places orders in one transaction.
pub async fn place<D: Database>(database: &D, orders: &[String]) {
    let events = EventSource::new("shop", Clock::system());
    let messages: Vec<_> =
        orders.iter().map(|order| events.message(&Placed(order.clone())).unwrap()).collect();
    let unit = database.unit();
    let mut tx = unit.begin().await.unwrap();
    unit.enqueue(&mut tx, &messages).await.unwrap();
    unit.commit(tx).await.unwrap();
}

pub fn succeeded(output: &Output) -> bool {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let is_killed = output.status.signal() == Some(SIGKILL);
    assert!(is_killed || output.status.success() && text.contains("1 passed"), "{text}");
    !is_killed
}

/// Kills a process at the calls `first`, `first + step` and so on, until it ends before the call. Returns the number of
/// kills.
async fn worker<D: Database>(
    is_postgres: bool,
    style: Style,
    kind: &str,
    first: usize,
    step: usize,
) -> usize {
    let database = D::create().await;
    let mut task = Task {
        is_postgres,
        address: database.address(),
        style,
        limit: Duration::from_millis(150),
        processes: 1,
        process: 0,
        runs: 0,
        kill_at: first,
    };
    loop {
        let run = format!("{kind}-{}", task.kill_at);
        place(&database, std::slice::from_ref(&run)).await;
        task.runs += 1;
        let killed = task.clone();
        let ended = tokio::task::spawn_blocking(move || succeeded(&killed.run())).await.unwrap();
        if !ended {
            let next = Task { kill_at: 0, ..task.clone() };
            assert!(tokio::task::spawn_blocking(move || succeeded(&next.run())).await.unwrap());
        }
        books::check(&database.unit(), &run, &SERVICES).await;
        if ended {
            return task.runs - 1;
        }
        task.kill_at += step;
    }
}

/// `COMMS_SAGA_STRIDE` is the distance of the calls at which a process is killed: 3 on SQLite, and 5 on PostgreSQL, where
/// a process takes longer to connect. A handler makes about eight calls, so that every kind of call has its turn.
async fn kill_at_every_call<D: Database>(is_postgres: bool, style: Style) {
    let stride = super::number("COMMS_SAGA_STRIDE", if is_postgres { 5 } else { 3 }) as usize;
    let mut kills = 0;
    for kind in ["refused", "done"] {
        let workers =
            (0..WORKERS).map(|n| worker::<D>(is_postgres, style, kind, 1 + n * stride, WORKERS * stride));
        kills += futures::future::join_all(workers).await.into_iter().sum::<usize>();
    }
    println!("{kills} kills");
    assert!(kills * stride > 60, "{kills}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_every_call_loses_and_repeats_nothing_sqlite() {
    kill_at_every_call::<Sqlite>(false, Style::Orchestrated).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choreographed_process_killed_at_every_call_loses_and_repeats_nothing_sqlite() {
    kill_at_every_call::<Sqlite>(false, Style::Choreographed).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_process_killed_at_every_call_loses_and_repeats_nothing_postgres() {
    kill_at_every_call::<Postgres>(true, Style::Orchestrated).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_choreographed_process_killed_at_every_call_loses_and_repeats_nothing_postgres() {
    kill_at_every_call::<Postgres>(true, Style::Choreographed).await;
}
