//! Certificates and authorities that are read again while the process runs.
//!
//! `mod.rs` keeps what is in use, and decides about each reading. `source.rs` reads the files. `task.rs` is the loop.

mod source;
mod task;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use comms_core::{BoxError, Error, clock::Clock, telemetry};
use tokio::task::AbortHandle;

pub(super) use source::{Secret, Source};
use source::{fingerprint, names, read_all};

/// The default interval between two readings.
pub(super) const INTERVAL: Duration = Duration::from_secs(30);
/// The minimum interval. A shorter one would be a busy loop.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// What is loaded from sources: an identity or authorities.
pub(super) trait Material: fmt::Debug + Sized + Send + Sync + 'static {
    /// The label `material` of the metric, and the name in logs.
    const NAME: &'static str;

    /// Loads the content of all sources, in their order. The text of an error is the same at each time, so that it is
    /// logged once, and has no secret.
    fn load(files: &[Secret], clock: &Clock) -> Result<Self, BoxError>;

    /// Returns the loaded names, for logs.
    fn describe(&self) -> String;

    /// Called once at each interval.
    fn observe(&self, _: &Clock) {}
}

/// What is in use, and what was read last.
pub(super) struct Reloader<T> {
    sources: Vec<Source>,
    interval: Duration,
    hasher: RandomState,
    state: Mutex<Option<State<T>>>,
    task: Mutex<Option<AbortHandle>>,
}

struct State<T> {
    value: Arc<T>,
    /// The hash of the content of `value`.
    loaded: u64,
    /// The hash of the last reading, if it was not equal to the one before. A file may be half written.
    unsettled: Option<u64>,
    /// The hash of the reason why the last reading had no result.
    failed: Option<u64>,
    /// The hash of the last refused content and of its reason, or of the failure of the last reading.
    refused: Option<u64>,
}

impl<T> State<T> {
    fn new(value: T, loaded: u64) -> Self {
        Self { value: Arc::new(value), loaded, unsettled: None, failed: None, refused: None }
    }
}

impl<T: Material> Reloader<T> {
    pub(super) fn new(sources: Vec<Source>) -> Self {
        let (state, task) = (Mutex::new(None), Mutex::new(None));
        Self { sources, interval: INTERVAL, hasher: RandomState::new(), state, task }
    }

    /// Returns a reloader of the same sources that has loaded nothing.
    pub(super) fn with_interval(&self, interval: Duration) -> Self {
        let mut other = Self::new(self.sources.clone());
        other.interval = interval.max(MIN_INTERVAL);
        other
    }

    /// Loads the sources, if no clone has, and starts the task that reads them again, unless it runs. The task ends when
    /// the last clone is dropped. Blocks for the file system.
    ///
    /// # Errors
    /// Returns `Misconfigured` if the sources cannot be loaded.
    pub(super) fn start(self: &Arc<Self>, clock: &Clock) -> Result<(), Error> {
        let mut state = lock(&self.state);
        if state.is_none() {
            let text = || format!("TLS {}: {}", T::NAME, names(&self.sources));
            let files = read_all(&self.sources);
            let loaded = fingerprint(&self.hasher, &files);
            let files = files.map_err(|e| Error::misconfigured(e).context(text()))?;
            let value = T::load(&files, clock).map_err(|e| Error::misconfigured(e).context(text()))?;
            tracing::info!(material = T::NAME, loaded = value.describe(), "loaded for TLS");
            value.observe(clock);
            *state = Some(State::new(value, loaded));
        }
        drop(state);
        let mut running = lock(&self.task);
        // The task of a runtime that ended is replaced.
        if running.as_ref().is_none_or(AbortHandle::is_finished) {
            let task = task::run(Arc::downgrade(self), clock.clone(), self.interval);
            *running = Some(tokio::spawn(task).abort_handle());
        }
        Ok(())
    }

    /// Returns what is in use. Returns `None` before [`start`](Self::start).
    pub(super) fn current(&self) -> Option<Arc<T>> {
        lock(&self.state).as_ref().map(|state| state.value.clone())
    }

    /// Observes what is in use.
    fn observe(&self, clock: &Clock) {
        if let Some(value) = self.current() {
            value.observe(clock);
        }
    }

    /// Decides about the result of a reading: uses it if it is equal to the one before, or keeps what is in use.
    fn apply(&self, files: Result<Vec<Secret>, String>, clock: &Clock) {
        let mut state = lock(&self.state);
        let Some(state) = state.as_mut() else { return };
        let read = fingerprint(&self.hasher, &files);
        let before = state.unsettled.replace(read);
        state.failed = None;
        if read == state.loaded {
            (state.refused, state.unsettled) = (None, None);
            state.value.observe(clock);
            return;
        }
        if before != Some(read) {
            state.value.observe(clock);
            return;
        }
        match files.map_err(BoxError::from).and_then(|files| T::load(&files, clock)) {
            Ok(value) => {
                tracing::info!(material = T::NAME, loaded = value.describe(), "replaced for TLS");
                count::<T>("loaded");
                *state = State::new(value, read);
            }
            // The same content is loaded again at each interval, because a certificate may become valid.
            Err(error) => {
                let error = error.to_string();
                self.report_refusal(state, self.hasher.hash_one((read, &error)), &error);
            }
        }
        state.value.observe(clock);
    }

    /// Records that a reading had no result, and reports the second of two in a row. The result of the reading before stays:
    /// one that takes longer than the interval has its result at the next, and two equal ones would never be in a row.
    fn report_failure(&self, reason: &str, clock: &Clock) {
        let mut state = lock(&self.state);
        let Some(state) = state.as_mut() else { return };
        let failed = self.hasher.hash_one(reason);
        if state.failed.replace(failed) == Some(failed) {
            self.report_refusal(state, failed, reason);
        }
        state.value.observe(clock);
    }

    /// Logs and counts a refusal, unless the last refusal was equal.
    fn report_refusal(&self, state: &mut State<T>, refused: u64, error: &str) {
        if state.refused.replace(refused) == Some(refused) {
            return;
        }
        let (source, in_use) = (names(&self.sources), state.value.describe());
        tracing::warn!(material = T::NAME, source, error, in_use, "not replaced for TLS: repair the files");
        count::<T>("refused");
    }
}

impl<T> Drop for Reloader<T> {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// Prints the sources, and no key.
impl<T> fmt::Debug for Reloader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.sources).finish()
    }
}

fn count<T: Material>(outcome: &'static str) {
    metrics::counter!(telemetry::TLS_RELOADS, "material" => T::NAME, "outcome" => outcome).increment(1);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
