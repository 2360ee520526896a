//! The trait that a backend implements for projections, and the types that both exchange.

use std::{fmt, str::FromStr, sync::Arc};

use comms_core::{Error, UnitOfWork, async_trait};

use super::ParkedEvent;
use crate::relay::{CURSOR_OF_PROJECTION, LeaseHolder, Position, Store};

/// The transaction of a projection.
pub(crate) type Tx<F> = <<F as Feed>::Unit as UnitOfWork>::Tx;

/// The events of an event store. Sealed: implemented by `postgres::EventFeed` and `sqlite::EventFeed`.
#[async_trait]
pub trait Feed: Send + Sync + 'static {
    /// The unit of work of the projection.
    type Unit: UnitOfWork;

    /// Begins a transaction, in which a renewal of the lease does not make the checkpoint fail.
    async fn begin(&self) -> Result<Tx<Self>, Error>;

    /// Returns the reader of the events, with lease and cursor.
    fn store(&self) -> Arc<dyn Store>;

    /// Whether the lease can be renewed while a transaction of the projection is open.
    fn renews_during_transaction(&self) -> bool;

    /// Sets the end of the lease, and leaves the position unchanged. Returns `false` if the session has ended.
    async fn renew(&self, holder: &LeaseHolder) -> Result<bool, Error>;

    /// Writes the position in `tx`, and commits. Returns `false`, and rolls back, if the session has ended.
    async fn commit(&self, tx: Tx<Self>, checkpoint: &Checkpoint<'_>) -> Result<bool, Error>;

    /// Returns the stored state of a revision.
    async fn load(&self, name: &str, revision: u32) -> Result<Stored, Error>;

    /// Stores that the projection is parked at `event`. Returns `false` if the session has ended.
    async fn park(&self, holder: &LeaseHolder, event: &ParkedEvent) -> Result<bool, Error>;

    /// Returns the id of the last event.
    async fn last_id(&self) -> Result<i64, Error>;

    /// Returns whether the events of the transaction are applied by `revisions`.
    async fn is_applied(&self, revisions: Revisions<'_>, written: Written) -> Result<bool, Error>;

    /// Returns the events that are committed now.
    async fn committed(&self) -> Result<Committed, Error>;

    /// Returns whether the events of `committed` are applied by `revisions`.
    async fn are_applied(&self, revisions: Revisions<'_>, committed: &Committed) -> Result<bool, Error>;
}

/// The revisions of a projection that a query of this program may read: the live one, or `own` if none or a higher one is
/// live.
#[derive(Debug, Clone, Copy)]
pub struct Revisions<'a> {
    pub(crate) name: &'a str,
    pub(crate) own: u32,
}

/// The events that were committed at a moment: a snapshot of PostgreSQL, or the id of the last event of SQLite.
#[derive(Debug)]
pub struct Committed(pub(crate) String);

/// What a projection writes in the transaction of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint<'a> {
    pub(crate) holder: &'a LeaseHolder,
    pub(crate) position: &'a Position,
    pub(crate) name: &'a str,
    pub(crate) revision: u32,
    /// The revision becomes the live one.
    pub(crate) go_live: bool,
    /// The parked event is applied.
    pub(crate) unpark: bool,
}

/// The stored state of a projection.
#[derive(Debug)]
pub struct Stored {
    /// The highest revision that was the live one.
    pub(crate) highest_live: Option<u32>,
    /// The event at which the revision is parked, and the events that an operator has skipped.
    pub(crate) events: Vec<ParkedEvent>,
}

/// Returns the name of the cursor of a projection.
pub(crate) fn cursor(name: &str, revision: u32) -> String {
    format!("{CURSOR_OF_PROJECTION}{name}:{revision}")
}

/// A transaction that has appended events, for [`ProjectionHandle::wait_for`](super::ProjectionHandle::wait_for).
///
/// `Tables::written` of the backend returns it inside the transaction. The text form ([`fmt::Display`] and [`FromStr`])
/// can be handed to a client, which presents it with its next query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written(pub(crate) i64);

/// Returns the error of a transaction that has not committed, or does not exist.
pub(crate) fn never_written(written: Written) -> Error {
    Error::invalid(format!("no transaction {written} has committed in this database"))
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Written {
    type Err = Error;

    /// Parses the text form.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the text is not a number.
    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse().map(Self).map_err(|_| Error::invalid("not the text form of a written transaction"))
    }
}
