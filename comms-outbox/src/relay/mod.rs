//! The relay: reads committed outbox rows and publishes them.
//!
//! The problem: rows become visible in another order than they were written. A process or a database server may crash
//! after a publish and before the position is stored. Two processes may both believe that they are the only relay. A
//! topic may be refused, and one message that cannot be handled may stand before thousands of others.
//!
//! The promise:
//! - Every committed row is delivered at least once, with the same identity each time. A row that was rolled back is
//!   never delivered. This holds over crashes, promotions and restores of the database.
//! - Rows of one (topic, key) are delivered in the order in which their transactions followed one another. An older
//!   transaction that is still open delays no other row.
//! - One relay of a name reads at a time. It holds a lease by the database's clock, and every write names a fencing
//!   token that the database draws.
//! - A row that the publisher refuses because of its content is *parked* with the reason. Later rows of its key are
//!   parked behind it until [`release`](crate::postgres::Tables::release). Other keys continue.
//! - A topic that the publisher refuses as a whole (it does not exist, this process may not write to it) is *held* with
//!   the reason. It has a separate position, is attempted again with a growing backoff, and joins the other topics
//!   when the cause is gone. Other topics continue, and none of their messages is delivered twice.
//! - The cursor stores the topics that it covers, so that a change of [`RelayBuilder::topics`] skips no row.
//!
//! Limits of the promise:
//! - Two transactions that write one key at the same time have no order to keep.
//! - A publisher that has several messages of a key in flight when the first is refused may have delivered the later
//!   ones (a Kafka producer may; the [`Subscriber`](crate::Subscriber) does not).
//! - After a failure the rows of a key behind the failed one are published again, so a consumer may see 1, 2, 1, 2.
//! - A process that is stopped for longer than its lease still delivers the messages that it had handed to the
//!   publisher.
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
mod run;
mod session;
mod start;
mod store;
mod track;
mod tracks;

pub use builder::RelayBuilder;
pub use run::Relay;
pub use start::Start;
pub(crate) use store::{
    Changes, Filter, Lease, LeaseHolder, LeaseRequest, Page, ParkedLanes, Position, Query, Row, RowToPark,
    Store, StoredBranch,
};
