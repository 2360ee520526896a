//! One entry of the list: the hold, and the rules for its reason and its log lines.

use std::{
    fmt::Display,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use tracing::Level;

use super::hold::Hold;
use crate::{Delivery, Error, ErrorKind};

/// The time between two log lines of a hold whose kind of error does not change.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Entry {
    pub(super) hold: Hold,
    pub(super) started: Instant,
    last_logged: Option<Instant>,
    /// Whether the reason is the refusal of a guard that did not begin the call.
    refused_by_guard: bool,
}

impl Entry {
    pub(super) fn new(delivery: &Delivery, since: SystemTime, started: Instant) -> Self {
        let hold = Hold {
            group: delivery.group.clone(),
            topic: delivery.message.topic().into(),
            key: delivery.message.key().map(Bytes::copy_from_slice),
            since,
            kind: ErrorKind::NotExecuted,
            reason: String::new(),
            attempts: 0,
        };
        Self { hold, started, last_logged: None, refused_by_guard: false }
    }

    /// Records the error of another attempt. Returns whether the hold is due for a log line: at its beginning, once a
    /// minute, and when the kind of the error changes.
    pub(super) fn record(&mut self, error: &Error, attempts: u32, now: Instant) -> bool {
        self.hold.attempts = attempts;
        let refused_by_guard = is_refused_by_guard(error);
        let mut changed = false;
        // A breaker that opened because of the cause would hide the cause: its refusal replaces no earlier reason.
        if self.last_logged.is_none() || !refused_by_guard {
            changed = self.hold.kind != error.kind || self.refused_by_guard;
            self.refused_by_guard = refused_by_guard;
            (self.hold.kind, self.hold.reason) = (error.kind, error.chain().to_string());
        }
        let interval_passed =
            self.last_logged.is_none_or(|at| now.saturating_duration_since(at) >= LOG_INTERVAL);
        let due = interval_passed || changed;
        if due {
            self.last_logged = Some(now);
        }
        due
    }

    pub(super) fn log(&self, origin: &dyn Display, now: Instant) {
        let Hold { group, reason, attempts, .. } = &self.hold;
        let seconds = now.saturating_duration_since(self.started).as_secs();
        match self.level() {
            Level::ERROR => tracing::error!(
                %origin, %group, attempts, seconds, error = %reason,
                "delivery held because of a deployment fault: repair the deployment, and the delivery continues"
            ),
            Level::WARN => tracing::warn!(
                %origin, %group, attempts, seconds, error = %reason,
                "delivery held until the cause of the error is gone"
            ),
            _ => tracing::debug!(
                %origin, %group, attempts, seconds, error = %reason,
                "delivery held because a guard refused the call"
            ),
        }
    }

    /// Returns the level of the log line.
    ///
    /// A guard's refusal is logged at level debug: a breaker logs its own transitions, and while it is open every
    /// delivery would add a warning.
    pub(super) const fn level(&self) -> Level {
        match self.hold.kind {
            ErrorKind::Misconfigured => Level::ERROR,
            _ if self.refused_by_guard => Level::DEBUG,
            _ => Level::WARN,
        }
    }
}

fn is_refused_by_guard(error: &Error) -> bool {
    error.rejection().is_some_and(|rejection| !rejection.guard.ended_attempt())
}
