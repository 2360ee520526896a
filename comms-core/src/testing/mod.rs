//! For tests: memory backends that keep their promises, and suites that check the promises of others.
//!
//! The problem: a handler that can only be tried against a database is tried too seldom, and a backend of one's own
//! (another broker, another database) keeps the traits' signatures long before it keeps their promises.
//!
//! * [`MemoryUnit`] is a database in memory with real transactions: staged writes, rollback on drop, waits between
//!   transactions, an inbox, an outbox and stored replies. [`MemoryPublisher`] remembers what it was given, and
//!   fails, waits and delays as it is told. [`MemoryStore`](crate::idempotency::MemoryStore) is an idempotency
//!   store. None of them outlives the test, and what they hold has no bound.
//! * [`publisher`], [`inbox`], [`outbox`], [`replies`], [`idempotency`]: one suite per trait. Implement its fixture
//!   (how to get at the backend, and how to see what it did), and call `all` in a test: it tries every promise,
//!   and names those that were broken.
//! * Time and randomness: [`Clock::manual`](crate::clock::Clock::manual) stands until it is told to advance and wakes who
//!   sleeps on it; [`Clock::seeded`](crate::clock::Clock::seeded) repeats its randomness by seed;
//!   [`Clock::system`](crate::clock::Clock::system) follows tokio's paused time.
//!
//! The suites are sets of trials, not proofs: they show a promise broken, never that it always holds. Those over
//! a backend with input and output need time that is not paused.
//!
//! ```
//! use comms_core::{Delivery, Message, Outbox, Scoped, clock::Clock, event::{Event, EventSource}, testing::{MemoryTx, MemoryUnit}};
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Paid { order: String }
//! # impl Event for Paid {
//! #     const TYPE: &'static str = "order.paid";
//! #     const VERSION: u32 = 1;
//! #     fn key(&self) -> String { self.order.clone() }
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let (unit, clock) = (MemoryUnit::new(), Clock::manual(std::time::Duration::ZERO));
//! let handler = comms_core::transactional(unit.clone(), |paid: Paid, mut tx: Scoped<MemoryTx>| async move {
//!     tx.write(&format!("orders/{}", paid.order), "paid").await
//! });
//! let message = EventSource::new("payment", clock.clone()).message(&Paid { order: "7".into() })?;
//! let delivery = Delivery::new(message, "order-service", "test");
//! comms_core::transport::BoxHandler::new(handler).handle(delivery).await?;
//! assert_eq!(unit.row("orders/7").as_deref(), Some(&b"paid"[..]));
//! # Ok::<(), comms_core::Error>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
pub mod idempotency;
pub mod inbox;
mod memory_publisher;
mod memory_unit;
pub mod outbox;
pub mod publisher;
pub mod replies;

pub use check::Broken;
pub use memory_publisher::MemoryPublisher;
pub use memory_unit::{MemoryTx, MemoryUnit};

use std::future::Future;

use crate::{Error, UnitOfWork};

/// A database under test, and a way to see what its transactions did: a transaction's type is the backend's.
pub trait UnitFixture: Send + Sync {
    /// What is tested.
    type Unit: UnitOfWork;

    /// The unit of work, always of the same database. The suites use names of their own each time: the
    /// database need not be empty.
    fn unit(&self) -> Self::Unit;

    /// Writes `text` in `tx`, into a table of the fixture's.
    ///
    /// # Errors
    /// The database's.
    fn write(
        &self,
        tx: &mut <Self::Unit as UnitOfWork>::Tx,
        text: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// How many writes of `text` have been committed.
    ///
    /// # Errors
    /// The database's.
    fn count(&self, text: &str) -> impl Future<Output = Result<usize, Error>> + Send;
}

#[cfg(test)]
mod tests;
