//! Event sourcing: the state of an entity is the result of its events, which are stored in a stream.
//!
//! # The problem
//! A table has the last state of an entity. The reasons for that state, and the states before it, are lost. An audit
//! log beside the table is written by other code than the table, so the two differ sooner or later.
//!
//! # The promise
//! The state is computed from the events. An [`Aggregate`] decides which events a command causes, and evolves by them.
//! An [`EventStore`] appends the events to the [`Stream`] of the entity in the caller's transaction, and refuses an
//! append that another one preceded. A [`Repository`] joins both.
//! - An append is stored as a whole, if and only if its transaction commits, together with its messages for the outbox.
//! - The versions of a stream are 1, 2, 3 and so on, without gaps. Of two appends at one version one fails with
//!   [`Conflict`](crate::ErrorKind::Conflict).
//! - An append that is repeated with the same message ids writes nothing.
//! - The state at an earlier version or time can be loaded.
//!
//! The promise does not cover an order between streams, and nothing outside the transaction.
//!
//! # The parts
//! - A stored event is a [`Message`](crate::Message): its topic is the category of the aggregate, and its key is the id
//!   of the stream. A stored event has an identity, a trace, a correlation id and a version, as every other event has.
//! - An [`EventSet`] encodes the events of an aggregate and reads them back; [`one_of`] shortens the implementation.
//! - A [`Snapshot`] is an encoded state, so that a load reads few events. It may be lost at any time.
//! - An [`Audit`] names the principal that caused an event, and the reason.
//!
//! `comms_core::testing::aggregate` tests an aggregate without a store, and `comms_core::testing::event_store` tests a
//! store (feature `testing`).
//!
//! ```
//! # #[cfg(not(feature = "testing"))] fn main() {}
//! # #[cfg(feature = "testing")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), comms_core::Error> {
//! use comms_core::{Error, Message, clock::Clock, event::{Event, EventSource}, testing::MemoryUnit};
//! use comms_core::event_sourcing::{Aggregate, EventSet, Repository, one_of};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Deposited { cents: u64 }
//! impl Event for Deposited {
//!     const TYPE: &'static str = "account.deposited";
//!     const VERSION: u32 = 1;
//!     fn key(&self) -> String { String::new() } // The repository sets the id of the stream.
//! }
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Withdrawn { cents: u64 }
//! impl Event for Withdrawn {
//!     const TYPE: &'static str = "account.withdrawn";
//!     const VERSION: u32 = 1;
//!     fn key(&self) -> String { String::new() }
//! }
//!
//! enum AccountEvent { Deposited(Deposited), Withdrawn(Withdrawn) }
//! impl EventSet for AccountEvent {
//!     fn message(&self, source: &EventSource) -> Result<Message, Error> {
//!         match self {
//!             Self::Deposited(event) => source.message(event),
//!             Self::Withdrawn(event) => source.message(event),
//!         }
//!     }
//!     fn decode(message: &Message) -> Result<Self, Error> {
//!         one_of(message).event(Self::Deposited).event(Self::Withdrawn).decode()
//!     }
//! }
//!
//! #[derive(Clone)]
//! enum Command { Deposit(u64), Withdraw(u64) }
//! #[derive(Default)]
//! struct Account { cents: u64 }
//! impl Aggregate for Account {
//!     const CATEGORY: &'static str = "account";
//!     type Command = Command;
//!     type Event = AccountEvent;
//!     fn decide(&self, command: Command) -> Result<Vec<AccountEvent>, Error> {
//!         match command {
//!             Command::Deposit(cents) => Ok(vec![AccountEvent::Deposited(Deposited { cents })]),
//!             Command::Withdraw(cents) if cents > self.cents => Err(Error::invalid("the balance is too low")),
//!             Command::Withdraw(cents) => Ok(vec![AccountEvent::Withdrawn(Withdrawn { cents })]),
//!         }
//!     }
//!     fn evolve(&mut self, event: &AccountEvent) {
//!         match event {
//!             AccountEvent::Deposited(event) => self.cents += event.cents,
//!             AccountEvent::Withdrawn(event) => self.cents -= event.cents,
//!         }
//!     }
//! }
//!
//! let accounts = Repository::<Account, _>::new(MemoryUnit::new(), EventSource::new("bank", Clock::system()));
//! accounts.run("a-1", Command::Deposit(500)).await?;
//! let account = accounts.run("a-1", Command::Withdraw(200)).await?;
//! assert_eq!((account.state.cents, account.version), (300, 2));
//! assert!(accounts.run("a-1", Command::Withdraw(400)).await.is_err());
//! # Ok(()) }
//! ```

mod aggregate;
mod append;
mod audit;
mod event_set;
mod read;
mod repository;
mod snapshot;
mod store;
mod stream;

pub use aggregate::Aggregate;
pub use append::{Append, Appended, Expected, VersionConflict};
pub use audit::{Audit, AuthType};
pub use event_set::{EventSet, OneOf, one_of};
pub use read::{Direction, Read, Recorded};
pub use repository::{At, Executed, Loaded, Repository};
pub use snapshot::{Snapshot, Snapshots};
pub use store::EventStore;
pub use stream::Stream;

#[cfg(test)]
mod tests;
