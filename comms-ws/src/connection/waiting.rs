//! The connections whose queue is not empty.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Connection;

/// A list of connections that does not keep them alive.
pub(crate) type WeakConnections = Vec<Weak<Connection>>;

/// The connections whose queue is not empty, so that those whose socket takes nothing are found.
#[derive(Default)]
pub(crate) struct WaitingList(Mutex<WeakConnections>);

impl WaitingList {
    pub(super) fn push(&self, connection: &Arc<Connection>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(connection));
    }

    /// Removes the connections for which `keep` returns `false`, and those that do not exist any more. The list is not locked
    /// while `keep` runs.
    pub(crate) fn retain(&self, keep: impl Fn(&Arc<Connection>) -> bool) {
        let mut connections = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        connections.retain(|connection| connection.upgrade().is_some_and(|connection| keep(&connection)));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).append(&mut connections);
    }
}
