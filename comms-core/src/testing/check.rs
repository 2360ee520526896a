//! How a suite says which promise was broken.

use std::{
    fmt::{self, Debug},
    future::Future,
    time::Duration,
};

use crate::{Error, clock::Clock};

/// The longest time one promise is tried for.
const LIMIT: Duration = Duration::from_secs(60);
/// How long something that must wait is watched waiting.
pub(super) const WATCHED: Duration = Duration::from_millis(200);

/// What a backend did not keep. Its `Debug` is its text, so that an `unwrap` in a test reads well.
#[derive(Clone, PartialEq, Eq)]
pub struct Broken(String);

impl Broken {
    pub(super) const fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Broken {
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
        Self(format!("the backend failed: {}", error.chain()))
    }
}

impl From<tokio::task::JoinError> for Broken {
    fn from(error: tokio::task::JoinError) -> Self {
        Self(format!("a task of the trial ended badly: {error}"))
    }
}

/// The promise is kept if it `holds`.
pub(super) fn ensure(holds: bool, promise: &str) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(promise.to_owned())) }
}

/// The promise is kept if it was `found` as `expected`.
pub(super) fn ensure_eq<T: Debug + PartialEq>(found: T, expected: T, promise: &str) -> Result<(), Broken> {
    ensure(found == expected, &format!("{promise}\n    found    {found:?}\n    expected {expected:?}"))
}

/// A name that no other trial has, in no run.
pub(super) fn unique(what: &str) -> String {
    format!("{what}-{}", Clock::system().uuid_v7())
}

/// Trials of one trait.
pub(super) struct Suite {
    name: &'static str,
    broken: Vec<String>,
}

impl Suite {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, broken: Vec::new() }
    }

    /// Tries `promise`; one that hangs is broken.
    pub(super) async fn check(&mut self, promise: &str, trial: impl Future<Output = Result<(), Broken>>) {
        let broken = match Clock::system().timeout(LIMIT, trial).await {
            Ok(Ok(())) => return,
            Ok(Err(Broken(text))) => text,
            Err(_) => format!("no end within {LIMIT:?}: a deadlock, or a wait that nobody ends"),
        };
        self.broken.push(format!("\n- {promise}: {broken}"));
    }

    pub(super) fn end(self) -> Result<(), Broken> {
        let Self { name, broken } = self;
        ensure(broken.is_empty(), &format!("{name} breaks {} promises:{}", broken.len(), broken.concat()))
    }
}
