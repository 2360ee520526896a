//! Projections: read models that follow the events of the event store.
//!
//! [`Projection`] has the promise and its limits.
//!
//! # Files, in the order of the data
//! - `feed`: the trait that a backend implements; `builder`, `context`: the settings.
//! - `run`: one session after the other; `session`: the lease, and the loop of a session.
//! - `reader`: pages of events, one ahead; `apply`: batches in transactions, and the search for an event that fails.
//! - `parked`: an event that cannot be applied; `status`: what is reported; `handle`: reads it, and waits.

mod apply;
mod builder;
mod context;
mod feed;
mod handle;
mod parked;
mod reader;
mod run;
mod session;
mod status;

pub use builder::ProjectionBuilder;
pub use feed::Feed;
pub use feed::Written;
pub(crate) use feed::{Checkpoint, Committed, Revisions, Stored, never_written};
pub use handle::ProjectionHandle;
pub(crate) use handle::{applied, no_live_revision, wait_within};
pub use parked::{ParkedEvent, ParkedEventState};
pub use run::Projection;
pub use status::{ProjectionState, ProjectionStatus};
