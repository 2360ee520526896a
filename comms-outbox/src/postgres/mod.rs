//! The PostgreSQL backend (version 14 or newer): one schema per service.
//!
//! All names are qualified and no statement relies on session state, so that the backend works behind a pooler in
//! transaction mode.
//!
//! The problem: ids become visible in another order than they were given out. A reader that stores the last id loses
//! rows, and a reader that waits for `xmin` stalls behind any old transaction. So the cursor is a whole snapshot, and a
//! read returns the difference of two snapshots.
//!
//! Writers need `synchronous_commit` on. With `off`, a commit is visible before it is flushed, so a message could be
//! delivered whose transaction a crash then loses. [`Tables::enqueue`] refuses in that case.
//!
//! For a database with switch-overs, create the pool with [`writable`]. Such a pool closes connections to a server that
//! accepts no writes.

mod branches;
mod changes;
#[cfg(feature = "event-store")]
mod event_read;
#[cfg(feature = "event-store")]
mod events;
#[cfg(feature = "event-store")]
mod feed;
mod inbox;
mod lease;
mod migrate;
mod outbox;
mod parked;
mod pool;
#[cfg(feature = "event-store")]
mod projections;
mod read;
mod rebase;
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
mod snapshot;
#[cfg(feature = "event-store")]
mod snapshots;
mod store;
mod tables;
mod unit;

#[cfg(feature = "event-store")]
pub use feed::EventFeed;
pub use pool::writable;
pub use store::RelayStore;
pub use tables::Tables;
pub use unit::{PgUnit, begin, commit};
