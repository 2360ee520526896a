//! The signal from a commit to the relays of the same process.

use tokio::sync::watch;

/// Notifies the relays of this process of a commit, so that they read at once instead of at the next poll.
///
/// Clones share the signal. Create one with the unit of work (`postgres::PgUnit`, `sqlite::SqliteUnit`), whose commits
/// notify it, and pass it to [`RelayBuilder::commit_signal`](crate::RelayBuilder::commit_signal). An application with a
/// custom unit of work calls [`notify`](Self::notify) after each commit.
///
/// The signal shortens the delay and gives no guarantee: a relay that misses it still polls.
///
/// ```
/// let signal = comms_outbox::CommitSignal::new();
/// let of_the_unit_of_work = signal.clone();
/// of_the_unit_of_work.notify();
/// ```
#[derive(Debug, Clone)]
pub struct CommitSignal(watch::Sender<()>);

impl CommitSignal {
    /// Creates a signal without receivers.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Notifies every relay that uses this signal. Never blocks; does nothing if there is none.
    pub fn notify(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

impl Default for CommitSignal {
    fn default() -> Self {
        Self::new()
    }
}
