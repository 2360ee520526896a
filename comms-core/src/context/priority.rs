//! The priority of a request.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The priority of a request under overload: requests of a lower priority are to be shed first.
///
/// Priorities are ordered, so a public edge can cap the priority of a client with `claimed.min(Priority::Standard)`.
///
/// ```
/// use comms_core::context::Priority;
/// assert!(Priority::Batch < Priority::Standard && Priority::Standard < Priority::Critical);
/// assert_eq!("critical".parse::<Priority>()?, Priority::Critical);
/// assert_eq!(Priority::of_header(b"unknown"), Priority::Standard);
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Background work without a waiting caller: shed first.
    Batch,
    /// The priority of a request without the header: shed after `Batch`. The default.
    #[default]
    Standard,
    /// Work on which money or safety depends: shed last.
    Critical,
}

impl Priority {
    const ALL: [Self; 3] = [Self::Batch, Self::Standard, Self::Critical];

    /// Returns the header value: `batch`, `standard` or `critical`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Standard => "standard",
            Self::Critical => "critical",
        }
    }

    /// Parses the header value. An unknown value is `Standard`, so that a peer may send a level that this version does
    /// not have.
    #[must_use]
    pub fn of_header(value: &[u8]) -> Self {
        Self::ALL.into_iter().find(|priority| priority.as_str().as_bytes() == value).unwrap_or_default()
    }
}

impl FromStr for Priority {
    type Err = Error;

    /// Parses a priority strictly, for configuration: a misspelled value is an error and not `Standard`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for any text other than `batch`, `standard` and
    /// `critical`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|priority| priority.as_str() == text);
        found.ok_or_else(|| Error::invalid("the priority must be batch, standard or critical"))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
