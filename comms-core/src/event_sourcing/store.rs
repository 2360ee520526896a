//! The event store.

use std::future::Future;

use super::{Append, Appended, Read, Recorded, Snapshot, Stream};
use crate::{Error, UnitOfWork};

/// Stores events in streams, in the caller's transaction.
///
/// The versions of a stream are 1, 2, 3 and so on, without gaps. Of concurrent appends that expect the same version one
/// commits. A transaction in which a method has failed must be rolled back.
///
/// Check an implementation with the conformance suite `comms_core::testing::event_store::all` (feature `testing`).
pub trait EventStore: UnitOfWork {
    /// Appends events to a stream, and writes messages to the outbox, in the transaction `tx`.
    ///
    /// The append is identified by its events: if all of them, by source and id, are in the stream already, one after
    /// the other and behind the expected version, an earlier append has stored them. The result is then
    /// [`Appended::repeated`], and nothing is written, neither events nor messages.
    ///
    /// An append with [`Expected::Any`](super::Expected::Any) waits for another such append to the same stream, and
    /// does not fail because of it. An append without events checks the version and writes the messages.
    ///
    /// # Errors
    /// Returns [`Conflict`](crate::ErrorKind::Conflict) with a [`VersionConflict`](super::VersionConflict) if the
    /// stream does not have the expected version, or if a concurrent append commits first. Returns `Conflict` if an
    /// event is stored already and the append is not a repetition. Returns [`Invalid`](crate::ErrorKind::Invalid) if an
    /// event belongs to another stream, two events have the same identity, or a limit of the backend is exceeded. A
    /// statement that the database refuses has the kind that the backend gives it, as in
    /// [`Outbox::enqueue`](crate::Outbox::enqueue).
    fn append(
        &self,
        tx: &mut Self::Tx,
        append: Append<'_>,
    ) -> impl Future<Output = Result<Appended, Error>> + Send;

    /// Returns one page of the stream as `tx` sees it: the events that `read` selects, in its order.
    ///
    /// A page has at least one event if there is one to read. [`Read::next`] returns the read of the next page. A
    /// stream without events has an empty page.
    ///
    /// # Errors
    /// Returns [`Internal`](crate::ErrorKind::Internal) if a stored row does not decode. A statement that the database
    /// refuses has the kind that the backend gives it.
    fn read(
        &self,
        tx: &mut Self::Tx,
        stream: &Stream,
        read: Read,
    ) -> impl Future<Output = Result<Vec<Recorded>, Error>> + Send;

    /// Returns the snapshot of the stream.
    ///
    /// # Errors
    /// A statement that the database refuses has the kind that the backend gives it.
    fn snapshot(
        &self,
        tx: &mut Self::Tx,
        stream: &Stream,
    ) -> impl Future<Output = Result<Option<Snapshot>, Error>> + Send;

    /// Stores the snapshot of the stream in the transaction `tx`, in place of an earlier one. A snapshot of the same
    /// schema and a higher version stays.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if a limit of the backend is exceeded. A statement that the
    /// database refuses has the kind that the backend gives it.
    fn save_snapshot(
        &self,
        tx: &mut Self::Tx,
        stream: &Stream,
        snapshot: &Snapshot,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}
