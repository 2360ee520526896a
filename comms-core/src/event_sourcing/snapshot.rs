//! Snapshots: encoded states that shorten a load.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::event::{Codec, Json};

/// The encoded state of a stream at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The form of `state`. A reader discards a snapshot of another schema.
    pub schema: u32,
    /// The version of the last event that the state contains.
    pub version: u64,
    /// The encoded state.
    pub state: Bytes,
}

/// When a [`Repository`](super::Repository) stores snapshots, and how it encodes them.
///
/// A snapshot contains nothing that the events do not contain. A snapshot of another schema, or one that does not
/// decode, is discarded, and the next one replaces it. Give the schema another number with each change of the state's
/// type or of `evolve`.
pub struct Snapshots<A> {
    pub(super) codec: Arc<dyn Codec<A>>,
    pub(super) schema: u32,
    pub(super) every: u64,
}

impl<A: Serialize + DeserializeOwned> Snapshots<A> {
    /// Stores the state as JSON, with the number `schema`, every 100 events.
    #[must_use]
    pub fn json(schema: u32) -> Self {
        Self::of(Json, schema)
    }
}

impl<A> Snapshots<A> {
    /// Stores the state in the encoding of `codec`, with the number `schema`, every 100 events.
    #[must_use]
    pub fn of(codec: impl Codec<A>, schema: u32) -> Self {
        Self { codec: Arc::new(codec), schema, every: 100 }
    }

    /// Sets the number of events after which a new snapshot is stored. Default: 100. With 0 snapshots are read and not
    /// stored.
    #[must_use]
    pub fn every(self, events: u64) -> Self {
        Self { every: events, ..self }
    }
}

impl<A: 'static> Snapshots<A> {
    /// Returns whether a snapshot at `version` is due after one at `last`, which is 0 without one.
    pub(super) const fn is_due(&self, last: u64, version: u64) -> bool {
        self.every > 0 && version >= last.saturating_add(self.every)
    }

    /// Encodes the state. A state that does not encode gets no snapshot, and the command still succeeds.
    pub(super) fn encode(&self, state: &A, version: u64) -> Option<Snapshot> {
        match self.codec.encode(state) {
            Ok(state) => Some(Snapshot { schema: self.schema, version, state }),
            Err(error) => {
                tracing::warn!(error = %error.chain(), "the state of an aggregate cannot be encoded as a snapshot");
                None
            }
        }
    }

    /// Decodes a snapshot of this schema.
    pub(super) fn decode(&self, snapshot: &Snapshot) -> Option<A> {
        if snapshot.schema != self.schema {
            return None;
        }
        match self.codec.decode(&snapshot.state) {
            Ok(state) => Some(state),
            Err(error) => {
                tracing::warn!(error = %error.chain(), "a snapshot does not decode and is discarded");
                None
            }
        }
    }
}

impl<A> Clone for Snapshots<A> {
    fn clone(&self) -> Self {
        Self { codec: self.codec.clone(), ..*self }
    }
}

impl<A> std::fmt::Debug for Snapshots<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshots(schema {}, every {} events)", self.schema, self.every)
    }
}
