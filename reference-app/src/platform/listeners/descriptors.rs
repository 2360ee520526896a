//! File descriptors of the process, and how many connections a listener may have of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most connections of one listener, however many descriptors there are.
const MOST: usize = 12_000;
/// The fewest connections of one listener.
const FEWEST: usize = 16;
/// Descriptors for databases, Kafka, files, the admin listener and outgoing connections, at least.
const RESERVE: usize = 192;

/// Raises the soft limit of open files to the hard one, logs the result, and returns the soft limit. `None`: unlimited.
///
/// A limit that cannot be raised is logged and stays as it is.
pub fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        tracing::info!(descriptors = current, "the limit of open files");
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            tracing::info!(before = current, descriptors = maximum, "the limit of open files was raised");
            maximum
        }
        Err(error) => {
            tracing::warn!(descriptors = current, %error, "the limit of open files cannot be raised");
            current
        }
    }
}

/// The share of each listener in the descriptors of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Connections of one listener at a time: 16 to 12,000.
    pub connections: usize,
}

impl Budget {
    /// Divides `limit` descriptors among `listeners`, after a quarter of them, and at least 192, is set aside for databases,
    /// Kafka, files and the admin listener.
    #[must_use]
    pub fn of(limit: Option<u64>, listeners: usize) -> Self {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let reserve = RESERVE.max(limit / 4);
        let connections = limit.saturating_sub(reserve) / listeners.max(1);
        Self { connections: connections.clamp(FEWEST, MOST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_share_what_the_rest_leaves() {
        let share = |limit, listeners| Budget::of(limit, listeners).connections;
        assert_eq!(share(Some(1_024), 4), 192);
        assert_eq!(share(Some(1_024), 1), 768);
        assert_eq!(share(Some(1_048_576), 4), 12_000);
        assert_eq!(share(None, 4), 12_000);
        assert_eq!(share(Some(20_000), 0), 12_000);
        assert_eq!(share(Some(64), 4), 16);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let got = raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert!(got == current && current == maximum);
    }
}
