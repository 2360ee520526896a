//! The settings that only a local consumer has.

use std::time::Duration;

use super::LocalConsumerBuilder;
use crate::CommitSignal;

/// Settings that only a local consumer has.
impl LocalConsumerBuilder {
    /// Sets the owner of the lease, which must be unique among the running processes. Default: a random name.
    ///
    /// The same owner takes the lease again at once. With the default, the successor of a process that was killed waits
    /// until the lease has expired.
    pub fn owner(self, owner: impl Into<String>) -> Self {
        Self { owner: Some(owner.into()), ..self }
    }

    /// Sets the length of the lease: how long the other members of the group wait after this one has crashed. Default
    /// 5 s, 300 ms to 1 h.
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Sets the signal that units of work of this process send after a commit, so that a message is read at once.
    /// Default: a signal without a sender, so that messages are found by polling.
    pub fn commit_signal(self, commit_signal: CommitSignal) -> Self {
        Self { commit_signal, ..self }
    }

    /// Sets the longest pause between two reads while there are no new messages. Default 50 ms.
    pub fn poll_interval(self, poll_interval: Duration) -> Self {
        Self { poll_interval, ..self }
    }

    /// Sets the least pause between two attempts of a message that is parked as held. Default 5 s. Each held message
    /// adds 5 ms, and a longer `retry_after` of the failure extends the pause, up to 5 min.
    pub fn hold_retry(self, wait: Duration) -> Self {
        self.subscriber(|subscriber| subscriber.hold_retry(wait))
    }

    /// Sets how many keys may be parked or held before the health component is degraded. Default 0.
    pub fn parked_limit(self, keys: usize) -> Self {
        Self { parked_limit: keys, ..self }
    }
}
