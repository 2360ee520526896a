//! Why a set of events was refused when it was made.

use crate::Error;

/// Why a set of events or versions was refused when it was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Versions count from 1.
    #[error("{event}: version 0: versions count from 1")]
    VersionZero {
        /// [`Event::TYPE`](super::Event::TYPE).
        event: &'static str,
    },
    /// Two upcasters begin at the same version.
    #[error("{event}: two upcasters from version {from}: keep one")]
    DuplicateStep {
        /// [`Event::TYPE`](super::Event::TYPE).
        event: &'static str,
        /// Where both begin.
        from: u32,
    },
    /// A version between the oldest and the newest has no way on.
    #[error("{event}: no upcaster from version {from} to {}: older versions would stop there", from + 1)]
    Gap {
        /// [`Event::TYPE`](super::Event::TYPE).
        event: &'static str,
        /// The version without a step.
        from: u32,
    },
    /// An upcaster begins at the newest version or beyond.
    #[error("{event}: an upcaster from version {from}, but the newest is {newest}: raise Event::VERSION")]
    BeyondNewest {
        /// [`Event::TYPE`](super::Event::TYPE).
        event: &'static str,
        /// Where it begins.
        from: u32,
        /// [`Event::VERSION`](super::Event::VERSION).
        newest: u32,
    },
    /// An event type is registered twice.
    #[error("{event}: registered twice: one registration has all versions")]
    DuplicateEvent {
        /// [`Event::TYPE`](super::Event::TYPE).
        event: &'static str,
    },
}

impl From<SetupError> for Error {
    fn from(error: SetupError) -> Self {
        Self::invalid(error)
    }
}
