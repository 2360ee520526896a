//! The PostgreSQL backend (14 or newer): one schema per service, qualified names, no session state, so that it
//! runs behind a pooler in transaction mode.
//!
//! The problem: ids become visible out of order, so a reader that remembers the last id loses rows; a reader
//! that waits for `xmin` stalls behind any old transaction. So the cursor is a whole snapshot, and a read is
//! the difference of two.
//!
//! Writers need `synchronous_commit` on: a commit that is visible before it is flushed could be delivered and
//! then lost in a crash. `enqueue` refuses when it is off.
//!
//! A pool that may meet a switch-over is made with [`writable`]: it keeps no connection to a server that takes no writes.

mod branches;
mod changes;
mod inbox;
mod lease;
mod migrate;
mod outbox;
mod parked;
mod pool;
mod read;
mod rebase;
mod replies;
mod row;
mod snapshot;
mod store;
mod tables;
mod unit;

pub use pool::writable;
pub use store::RelayStore;
pub use tables::Tables;
pub use unit::{PgUnit, begin, commit};
