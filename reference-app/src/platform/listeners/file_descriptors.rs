//! The file descriptors of the process, and the number of connections derived from them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The highest number of connections per listener, regardless of the descriptors available.
const MAX_CONNECTIONS: usize = 12_000;
/// The lowest number of connections per listener.
const MIN_CONNECTIONS: usize = 16;
/// The minimum of descriptors reserved for databases, Kafka, files, the admin listener and outgoing connections.
const MIN_RESERVE: usize = 192;

/// Raises the soft limit of open files to the hard limit and logs the result. Returns the soft limit, or `None` if it
/// is unlimited.
///
/// If the limit cannot be raised, logs a warning and keeps the current limit.
pub fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        tracing::info!(descriptors = current, "limit of open files");
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            tracing::info!(before = current, descriptors = maximum, "raised the limit of open files");
            maximum
        }
        Err(error) => {
            tracing::warn!(descriptors = current, %error, "cannot raise the limit of open files");
            current
        }
    }
}

/// The number of connections that each listener may hold, derived from the file descriptors of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionBudget {
    /// The highest number of simultaneous connections of one listener: 16 to 12,000.
    pub connections: usize,
}

impl ConnectionBudget {
    /// Divides `limit` descriptors among `listeners`. A quarter of the descriptors, and at least 192, is reserved for
    /// databases, Kafka, files and the admin listener. `None` means an unlimited number of descriptors.
    #[must_use]
    pub fn divide(limit: Option<u64>, listeners: usize) -> Self {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let reserve = MIN_RESERVE.max(limit / 4);
        let connections = limit.saturating_sub(reserve) / listeners.max(1);
        Self { connections: connections.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_share_the_descriptors_left_after_the_reserve() {
        let share = |limit, listeners| ConnectionBudget::divide(limit, listeners).connections;
        assert_eq!(share(Some(1_024), 4), 192);
        assert_eq!(share(Some(1_024), 1), 768);
        assert_eq!(share(Some(1_048_576), 4), 12_000);
        assert_eq!(share(None, 4), 12_000);
        assert_eq!(share(Some(20_000), 0), 12_000);
        assert_eq!(share(Some(64), 4), 16);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_limit() {
        let got = raise_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert!(got == current && current == maximum);
    }
}
