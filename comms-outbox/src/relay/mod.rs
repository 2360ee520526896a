//! The relay: reads committed outbox rows and publishes them.
//!
//! [`Relay`] has the promise and its limits.
//!
//! # Files, in the order of the data
//! - `store`: the types that a relay and a database exchange, and the trait that a backend implements; `call`: its time
//!   limits.
//! - `builder`, `context`: the settings of a relay; `run`: one session after the other; `start`, `plan`: where a
//!   session begins to read each topic.
//! - `track`, `tracks`: the readers of a session. The main track reads all topics at the relay's position; a topic that
//!   is not at that position has a *branch*.
//! - `in_flight`: the rows that are with the publisher.
//! - `fault`: why a topic is held; `parking`: the keys that are parked; `released`: the parked rows that are delivered
//!   after their release.
//! - `metrics`: the metrics of a relay.
//! - `session/`: begins with the lease, and moves rows from a page over the publisher to the stored position.

mod builder;
mod call;
mod context;
mod fault;
mod in_flight;
mod metrics;
mod parking;
mod plan;
mod released;
mod row;
mod run;
mod session;
mod start;
mod store;
mod track;
mod tracks;

pub use builder::RelayBuilder;
#[cfg(feature = "event-store")]
pub(crate) use call::READ_LIMIT;
#[cfg(any(feature = "event-store", feature = "saga"))]
pub(crate) use call::{CALL_LIMIT, limited};
pub(crate) use row::{Place, Row, RowBuffer, column, headers};
pub use run::Relay;
pub use start::Start;
#[cfg(feature = "event-store")]
pub(crate) use store::{CURSOR_OF_PROJECTION, Scan};
pub(crate) use store::{
    Changes, Filter, Lease, LeaseHolder, LeaseRequest, Log, Page, ParkedLanes, Position, Query, RecordedAt,
    RowToPark, Store, StoredBranch,
};
