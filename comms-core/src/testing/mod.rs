//! Consumers under test, memory backends, and conformance suites for backends.
//!
//! A [`TestConsumer`] runs the handlers of an application as a consumer of production does, and records what happened.
//! With memory backends the tests need no database and no broker. A conformance suite checks the guarantees of a trait
//! that its signatures do not express, for an author of another backend.
//!
//! * **Consumers under test.** [`TestConsumer`] delivers a message, waits until it is settled, and has one method for
//!   each fault: duplicates, reordering, a crash before the commit or before the acknowledgement, a restart. A
//!   [`TestBroker`] runs several consumers, on a broker in memory or on another [`Transport`]. [`Calls`] and
//!   [`Published`] have the assertions.
//! * **Aggregates under test.** [`aggregate::given`] tests the decisions of an aggregate: events, a command, events.
//! * **Memory backends.** [`MemoryUnit`] is a database with an inbox, an outbox, stored replies and an event store. Its transactions
//!   are isolated, roll back, and wait for each other's locks. [`MemoryPublisher`] stores the published messages; a
//!   test configures its refusals, delays and failures. A [`FaultyUnit`] lets commits of any database fail.
//!   [`MemoryStore`](crate::idempotency::MemoryStore) is an idempotency store. `MemoryUnit` and `MemoryPublisher` store
//!   data without a bound.
//! * **Sagas under test.** A [`SagaTest`] gives inputs to one run of a [`saga`](crate::saga). An [`Exploration`] gives
//!   every input to every state that can be reached.
//! * **Conformance suites.** There is one for each trait: [`publisher`], [`inbox`], [`outbox`], [`replies`],
//!   [`event_store`] and [`idempotency`], and [`consumer`] for a [`Transport`]. Implement the fixture of the suite, which gives access to the
//!   backend and to its effects, and call `all` in a test. `all` checks every guarantee and reports each violated one
//!   with what was observed.
//! * **Time and randomness.** A [`Clock::manual`](crate::clock::Clock::manual) advances only when the test advances it.
//!   The randomness of [`Clock::seeded`](crate::clock::Clock::seeded) repeats for an equal seed.
//!   [`Clock::system`](crate::clock::Clock::system) follows tokio's paused time.
//!
//! A suite can show that a guarantee is violated. A suite cannot prove that the guarantee always holds. A suite for a
//! backend that does input and output needs a tokio runtime whose time is not paused.
//!
//! ```
//! use comms_core::{Scoped, event::Event};
//! use comms_core::testing::{DeliveryState, MemoryTx, MemoryUnit, TestConsumer};
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Paid { order: String }
//! # impl Event for Paid {
//! #     const TYPE: &'static str = "order.paid";
//! #     const VERSION: u32 = 1;
//! #     fn key(&self) -> String { self.order.clone() }
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let unit = MemoryUnit::new();
//! let handler = comms_core::transactional(unit.clone(), |paid: Paid, mut tx: Scoped<MemoryTx>| async move {
//!     tx.write(&format!("orders/{}", paid.order), "paid").await
//! });
//! let consumer = TestConsumer::builder("order-service").on("order.paid", handler).start().await?;
//! assert_eq!(consumer.deliver_event(&Paid { order: "7".into() }).await?, DeliveryState::Done);
//! assert_eq!(unit.row("orders/7").as_deref(), Some(&b"paid"[..]));
//! # Ok::<(), comms_core::Error>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod aggregate;
mod check;
pub mod consumer;
pub mod event_store;
mod faulty_unit;
mod harness;
pub mod idempotency;
pub mod inbox;
mod memory_publisher;
mod memory_unit;
pub mod outbox;
pub mod publisher;
pub mod replies;
mod saga;

pub use check::Broken;
pub use faulty_unit::{CommitFaults, FaultyUnit};
pub use harness::{
    Call, CallResult, Calls, ConsumerSetup, DeliveryState, Failure, MemoryTransport, Published, TestBroker,
    TestConsumer, TestConsumerBuilder, Transport,
};
pub use memory_publisher::MemoryPublisher;
pub use memory_unit::{MemoryTx, MemoryUnit};
pub use saga::{Exploration, Explored, SagaTest};

use std::future::Future;

use crate::{Error, UnitOfWork};

/// A database under test, with a table in which the suites write the effects of their transactions.
pub trait UnitFixture: Send + Sync {
    /// The type of the unit of work under test.
    type Unit: UnitOfWork;

    /// Returns a unit of work, of the same database at each call. The database need not be empty: the suites use unique
    /// names.
    fn unit(&self) -> Self::Unit;

    /// Inserts a row with `text` into a table of the fixture, in the transaction `tx`.
    ///
    /// # Errors
    /// Returns the error of the database. The suite reports every error, whatever its kind.
    fn write(
        &self,
        tx: &mut <Self::Unit as UnitOfWork>::Tx,
        text: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Returns the number of committed rows with `text`.
    ///
    /// # Errors
    /// Returns the error of the database. The suite reports every error, whatever its kind.
    fn count(&self, text: &str) -> impl Future<Output = Result<usize, Error>> + Send;
}

#[cfg(test)]
mod tests;
