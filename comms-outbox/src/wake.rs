//! The bell between a commit and the relays of the same process.

use tokio::sync::watch;

/// Rung after a commit, so that a relay in this process sleeps no longer than needed. Clones share it.
///
/// A hint, never a promise: a relay that hears nothing still polls. The units of work of this crate ring
/// theirs; an application with a unit of work of its own rings it after its commit.
///
/// ```
/// let wake = comms_outbox::Wake::new();
/// let rung_by_the_unit = wake.clone();
/// rung_by_the_unit.ring();
/// ```
#[derive(Debug, Clone)]
pub struct Wake(watch::Sender<()>);

impl Wake {
    /// A bell that nobody listens to yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Wakes every relay that has this bell. Costs a few nanoseconds where none has.
    pub fn ring(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

impl Default for Wake {
    fn default() -> Self {
        Self::new()
    }
}
