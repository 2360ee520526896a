//! The event streams, which the hub must be able to end by itself.
//!
//! The server of the connection polls the body of a stream only if it can write. A client that does not read would keep its
//! session for as long as the server keeps the connection.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError, Weak},
};

/// A stream whose server may stop polling it.
pub(crate) trait Stream: Send + Sync {
    /// Ends the session, and releases what it holds.
    fn abandon(&self);
}

/// The open streams, by the number of their connection.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<u64, Weak<dyn Stream>>>);

impl Streams {
    pub(crate) fn add(&self, connection: u64, stream: Weak<dyn Stream>) {
        self.lock().insert(connection, stream);
    }

    pub(super) fn remove(&self, connection: u64) {
        self.lock().remove(&connection);
    }

    /// Ends the stream of a connection, if it is one.
    pub(super) fn abandon(&self, connection: u64) {
        // The end of the session removes the stream from this list.
        let stream = self.lock().get(&connection).and_then(Weak::upgrade);
        if let Some(stream) = stream {
            stream.abandon();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<dyn Stream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
