//! The coordinator of sagas: stores their runs, and drives them with messages and timers.
//!
//! # The problem
//! [`comms_core::saga`] has pure transitions. Each run has to be stored, to get its messages and timers, and to send its
//! commands. A coordinator that stores the state and sends the command in two steps loses one of them in a crash. Two
//! processes that handle a timer and a reply at the same time overwrite each other. A lost timer leaves an order unfinished
//! for ever, unseen.
//!
//! # The promise
//! - One transaction per input: the claim of the message in the inbox, the next state of the run with its revision, the
//!   commands in the outbox, the timers, the application's writes
//!   ([`on_transition`](CoordinatorBuilder::on_transition)), and a line of the log. A crash at any point leaves all of
//!   it or nothing.
//! - Any number of processes handle messages and timers at the same time: the row lock of the run gives each input one
//!   effect. There is no lease, and no process waits for another that crashed.
//! - A message that comes twice, late, or for no run changes nothing. The event of an
//!   [observed](comms_core::saga::Step::observe) step that comes before its run is kept, and given to the run in the
//!   transaction that starts it.
//! - A run that fails (its version is not registered, its data does not decode, a function fails or panics) stops no other
//!   run: its timer is postponed with a backoff, its message is held or dead-lettered by the consumer, and both are reported.
//! - A run that has not ended has a timer, or is held with an alarm. A sweep sets a timer again that is missing, and
//!   reports held runs and runs whose version is not registered: a log line, a gauge, and degraded readiness.
//! - Timers are due by the database's clock.
//!
//! # What breaks the promise
//! - What breaks the promise of [`comms_core::saga`], such as a participant that executes an idempotency key twice.
//! - Another isolation level of PostgreSQL than READ COMMITTED, the default, and SERIALIZABLE: an event that comes before
//!   its run could be kept and never given to it.
//! - Rows of `comms_saga` or `comms_saga_timer` that another program writes. The deletion of all timers of a run is
//!   repaired; that of one of several is not.
//! - A saga of which no version is registered: its messages are skipped as foreign ones. Keep every version registered
//!   until `Tables::saga_counts` does not list it any more.
//! - During a deployment a process without the new version postpones timers of the new runs by up to the longest backoff.
//! - Effects of `on_transition` outside the transaction may be repeated.
//!
//! # Example
//! An order that is paid by another service:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "sqlite")] {
//! use std::time::Duration;
//! use comms_core::{UnitOfWork, clock::Clock, event::{Event, EventSource}};
//! use comms_core::saga::{Definition, Definitions, Phase, Reply, Step};
//! use comms_outbox::{saga::{Coordinator, RunId}, sqlite, sqlx};
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Pay { order: String }
//! # impl Event for Pay {
//! #     const TYPE: &'static str = "payment.pay";
//! #     const VERSION: u32 = 1;
//! #     fn key(&self) -> String { self.order.clone() }
//! # }
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Paid { order: String }
//! # impl Event for Paid {
//! #     const TYPE: &'static str = "payment.paid";
//! #     const VERSION: u32 = 1;
//! #     fn key(&self) -> String { self.order.clone() }
//! # }
//!
//! let payment = Step::<()>::command("payment", |saga| Pay { order: saga.id.clone() })
//!     .reply::<Paid>(|_, _| Reply::Done)
//!     .time_limit(Duration::from_millis(20))
//!     .attempts(1, comms_core::resilience::Backoff::default());
//! let order = Definition::builder("order", 1).step(payment).build()?;
//! let definitions = Definitions::new().register(order.clone())?;
//!
//! let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
//! let tables = sqlite::Tables::new();
//! tables.migrate(&pool).await?;
//! let unit = sqlite::SqliteUnit::new(pool.clone(), tables.clone());
//! let events = EventSource::new("order-service", Clock::system());
//! let coordinator = Coordinator::builder(unit.clone(), events, definitions).build()?;
//! // A consumer calls this for every topic on which replies come.
//! let handler = coordinator.handler();
//! # drop(handler);
//!
//! let mut tx = unit.begin().await?;
//! assert!(coordinator.start(&mut tx, &order, "7", ()).await?);
//! unit.commit(tx).await?;
//!
//! // No reply comes: the timer ends the run.
//! let run = RunId::new("order", "7");
//! let ended = async {
//!     loop {
//!         let mut conn = pool.acquire().await.expect("a connection");
//!         let stored = tables.saga_run(&mut conn, &run).await.expect("a run").expect("it was started");
//!         if stored.phase == Phase::Failed {
//!             break;
//!         }
//!         drop(conn);
//!         Clock::system().sleep(Duration::from_millis(5)).await;
//!     }
//! };
//! coordinator.run(ended).await?;
//! let timeline = tables.saga_timeline(&mut *pool.acquire().await?, &run).await?.expect("a run");
//! assert_eq!(timeline.log.len(), 2, "{}", serde_json::to_string_pretty(&timeline)?);
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # Source layout, in the order of the data
//! - `coordinator.rs` starts runs and performs operations, `handle.rs` handles messages, and `timers.rs` handles timers.
//! - `progress.rs` gives inputs to the locked runs of a transaction, and writes their changes through `store.rs`;
//!   `writes.rs` makes the rows.
//! - `change.rs` is a change and its line in the log; `timeline.rs` is read by operators; `report.rs` has metrics, logs and
//!   readiness.

mod builder;
mod change;
mod context;
mod coordinator;
mod handle;
mod inner;
mod progress;
mod report;
mod run;
mod store;
mod timeline;
mod timers;
pub(crate) mod writes;

pub use builder::CoordinatorBuilder;
pub use change::{LogLine, LoggedEffect, RunChange, RunInput};
pub use coordinator::Coordinator;
pub(crate) use run::phase;
pub use run::{DueRuns, LockedRun, RunCount, RunId, StoredRun, StoredTimer, Swept};
pub use store::SagaStore;
pub use timeline::{RunFilter, Timeline, TimelineTimer};
pub(crate) use writes::Writes;

/// The most messages that are kept for a run that has not started.
pub(crate) const EARLY_LIMIT: i64 = 100;

pub(crate) fn too_many_early(run: &RunId) -> comms_core::Error {
    let text = format!(
        "{EARLY_LIMIT} messages wait for the run {run}, which has not started: start it, or delete them"
    );
    comms_core::Error::invalid(text)
}
