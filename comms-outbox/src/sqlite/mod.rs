//! The SQLite backend: one file per service.
//!
//! SQLite has one writer at a time, so ids become visible in their order, and the cursor is the last id. Units of work
//! begin with `BEGIN IMMEDIATE`: a transaction that reads first and writes later would fail if another transaction
//! wrote in between. The transactions of a [`SqliteUnit`] queue in the process instead of in SQLite's busy loop, and so do
//! all writers with a pool of one connection. What survives a power failure depends on `synchronous` (use `FULL` in WAL
//! mode).

mod branches;
mod changes;
#[cfg(feature = "event-store")]
mod event_read;
#[cfg(feature = "event-store")]
mod events;
#[cfg(feature = "event-store")]
mod feed;
mod inbox;
mod migrate;
mod outbox;
mod parked;
#[cfg(feature = "event-store")]
mod projections;
mod read;
mod replies;
mod row;
#[cfg(feature = "saga")]
mod saga;
#[cfg(feature = "saga")]
mod saga_early;
#[cfg(feature = "saga")]
mod saga_read;
#[cfg(feature = "saga")]
mod saga_timers;
#[cfg(feature = "saga")]
mod saga_unit;
#[cfg(feature = "event-store")]
mod snapshots;
mod store;
mod tables;
mod tx;
mod unit;

#[cfg(feature = "event-store")]
pub use feed::EventFeed;
pub use store::RelayStore;
pub use tables::Tables;
pub use tx::{SqliteTx, begin, commit};
pub use unit::SqliteUnit;
