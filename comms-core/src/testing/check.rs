//! Runs the checks of a suite and reports the violated guarantees.

use std::{
    fmt::{self, Debug, Display},
    future::Future,
    time::Duration,
};

use crate::{Error, clock::Clock};

/// The time limit of one check.
const CHECK_LIMIT: Duration = Duration::from_secs(60);
/// How long a check observes that an operation which must wait does not complete.
pub(super) const OBSERVED_WAIT: Duration = Duration::from_millis(200);

/// The guarantees that a backend violated, each with what was observed.
///
/// `Debug` and `Display` print the same text, so that the message of an `unwrap` in a test is readable.
#[derive(Clone, PartialEq, Eq)]
pub struct Broken(String);

impl Broken {
    /// Makes the report of one violated guarantee.
    pub(super) fn new(guarantee: &str, observed: impl Display) -> Self {
        Self(format!("{guarantee}\n    observed: {observed}"))
    }
}

impl Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self(format!("the backend or the fixture returned an error: {}", error.chain()))
    }
}

impl From<tokio::task::JoinError> for Broken {
    fn from(error: tokio::task::JoinError) -> Self {
        Self(format!("a task of the check did not complete: {error}"))
    }
}

/// Returns [`Broken`] with `guarantee` and `observed` unless `holds`.
pub(super) fn ensure(holds: bool, guarantee: &str, observed: impl Display) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken::new(guarantee, observed)) }
}

/// Returns [`Broken`] with `guarantee` and both values unless `observed` equals `expected`.
pub(super) fn ensure_eq<T: Debug + PartialEq>(
    observed: T,
    expected: T,
    guarantee: &str,
) -> Result<(), Broken> {
    let report = || format!("{guarantee}\n    expected: {expected:?}\n    observed: {observed:?}");
    if observed == expected { Ok(()) } else { Err(Broken(report())) }
}

/// Returns a name that is unique across checks and runs.
pub(super) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Clock::system().uuid_v7())
}

/// The checks of one trait, run one after the other.
pub(super) struct Suite {
    name: &'static str,
    checks: usize,
    violations: Vec<String>,
}

impl Suite {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, checks: 0, violations: Vec::new() }
    }

    /// Runs the check of `guarantee`. A check that exceeds the time limit is a violation.
    pub(super) async fn check(&mut self, guarantee: &str, check: impl Future<Output = Result<(), Broken>>) {
        self.checks += 1;
        let violation = match Clock::system().timeout(CHECK_LIMIT, check).await {
            Ok(Ok(())) => return,
            Ok(Err(Broken(text))) => text,
            Err(_) => {
                format!(
                    "the check did not finish within {CHECK_LIMIT:?}: a deadlock, or a wait without an end"
                )
            }
        };
        self.violations.push(format!("\n- {guarantee}: {violation}"));
    }

    /// Returns [`Broken`] with all violations, if there are any.
    pub(super) fn finish(self) -> Result<(), Broken> {
        let Self { name, checks, violations } = self;
        if violations.is_empty() {
            return Ok(());
        }
        let (count, list) = (violations.len(), violations.concat());
        Err(Broken(format!("{name} violates {count} of {checks} guarantees:{list}")))
    }
}
