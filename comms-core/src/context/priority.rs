//! How much a request matters when not all can be served.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Error;

/// How much a request matters when not all can be served: what is shed last, standard, first. Ordered so,
/// which makes `claimed.min(Priority::Standard)` the cap that a public edge sets.
///
/// ```
/// use comms_core::context::Priority;
/// assert!(Priority::Batch < Priority::Standard && Priority::Standard < Priority::Critical);
/// assert_eq!("critical".parse::<Priority>()?, Priority::Critical);
/// assert_eq!(Priority::of_header(b"whatever comes later"), Priority::Standard);
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Nobody waits for it: shed first.
    Batch,
    /// The default.
    #[default]
    Standard,
    /// Money or safety hangs on it: shed last.
    Critical,
}

impl Priority {
    const ALL: [Self; 3] = [Self::Batch, Self::Standard, Self::Critical];

    /// The header's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Standard => "standard",
            Self::Critical => "critical",
        }
    }

    /// Reads the header; what is not known is `Standard`, so that a level added later does no harm here.
    #[must_use]
    pub fn of_header(value: &[u8]) -> Self {
        Self::ALL.into_iter().find(|known| known.as_str().as_bytes() == value).unwrap_or_default()
    }
}

impl FromStr for Priority {
    type Err = Error;

    /// Strict, for configuration: a typing error must not become `standard`.
    ///
    /// # Errors
    /// `Invalid` for anything but `batch`, `standard`, `critical`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| Error::invalid("a priority is one of: batch, standard, critical"))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
