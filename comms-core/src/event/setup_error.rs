//! The error of a faulty set of versions or events.

use crate::Error;

/// Why [`VersionsBuilder::build`](super::VersionsBuilder::build) or [`Registry::register`](super::Registry::register)
/// refused its input. Converts into an [`Error`] of [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// An upcaster starts at version 0. Versions start at 1.
    #[error("{event}: an upcaster starts at version 0: versions start at 1")]
    VersionZero {
        /// The event's name, [`Event::TYPE`](super::Event::TYPE).
        event: &'static str,
    },
    /// Two upcasters start at the same version.
    #[error("{event}: two upcasters start at version {from}: keep one of them")]
    DuplicateStep {
        /// The event's name, [`Event::TYPE`](super::Event::TYPE).
        event: &'static str,
        /// The version at which both upcasters start.
        from: u32,
    },
    /// A version between the oldest and the newest one has no upcaster.
    #[error("{event}: no upcaster from version {from} to {}: add it, or older versions cannot be read", from + 1)]
    Gap {
        /// The event's name, [`Event::TYPE`](super::Event::TYPE).
        event: &'static str,
        /// The version without an upcaster.
        from: u32,
    },
    /// An upcaster starts at the newest version or above it.
    #[error(
        "{event}: an upcaster starts at version {from}, but the newest version is {newest}: raise Event::VERSION"
    )]
    BeyondNewest {
        /// The event's name, [`Event::TYPE`](super::Event::TYPE).
        event: &'static str,
        /// The version at which the upcaster starts.
        from: u32,
        /// The newest version, [`Event::VERSION`](super::Event::VERSION).
        newest: u32,
    },
    /// An event is registered twice.
    #[error("{event}: registered twice: register all versions together, once")]
    DuplicateEvent {
        /// The event's name, [`Event::TYPE`](super::Event::TYPE).
        event: &'static str,
    },
}

impl From<SetupError> for Error {
    fn from(error: SetupError) -> Self {
        Self::invalid(error)
    }
}
