//! One hold: its entry in the list, and the guard that takes it out again.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tracing::Level;

use super::{Hold, Holds};
use crate::{Delivery, Error, ErrorKind};

/// How often a hold is logged.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// What tells one delivery from another: a message on two topics is two deliveries.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) group: Arc<str>,
    pub(super) topic: Arc<str>,
    source: Arc<str>,
    id: Arc<str>,
}

impl Identity {
    pub(super) fn of(delivery: &Delivery) -> Self {
        let message = &delivery.message;
        Self {
            group: delivery.group.clone(),
            topic: message.topic.clone(),
            source: message.source.clone(),
            id: message.id.clone(),
        }
    }
}

pub(super) struct Entry {
    pub(super) hold: Hold,
    pub(super) began: Instant,
    logged: Option<Instant>,
    /// Whether the reason is a guard that refused to begin a call.
    by_guard: bool,
}

impl Entry {
    pub(super) fn new(delivery: &Delivery, since: SystemTime, began: Instant) -> Self {
        let hold = Hold {
            group: delivery.group.clone(),
            topic: delivery.message.topic.clone(),
            key: delivery.message.key.clone(),
            since,
            kind: ErrorKind::NotExecuted,
            reason: String::new(),
            attempts: 0,
        };
        Self { hold, began, logged: None, by_guard: false }
    }

    /// Takes the error of another attempt. Returns whether the hold is to be logged: at its beginning, once a minute, and
    /// when another kind of error comes.
    pub(super) fn renew(&mut self, error: &Error, attempts: u32, now: Instant) -> bool {
        self.hold.attempts = attempts;
        let mut changed = false;
        let by_guard = is_refused_by_guard(error);
        if self.logged.is_none() || !by_guard {
            changed = self.hold.kind != error.kind || self.by_guard;
            self.by_guard = by_guard;
            (self.hold.kind, self.hold.reason) = (error.kind, error.chain().to_string());
        }
        let due = self.logged.is_none_or(|at| now.saturating_duration_since(at) >= LOGGED_EVERY) || changed;
        if due {
            self.logged = Some(now);
        }
        due
    }

    pub(super) fn log(&self, origin: &str, now: Instant) {
        let Hold { group, reason, attempts, .. } = &self.hold;
        let seconds = now.saturating_duration_since(self.began).as_secs();
        match self.level() {
            Level::ERROR => {
                tracing::error!(origin, %group, attempts, seconds, error = %reason, "delivery held: a deployment fault");
            }
            Level::WARN => {
                tracing::warn!(origin, %group, attempts, seconds, error = %reason, "delivery held")
            }
            _ => {
                tracing::debug!(origin, %group, attempts, seconds, error = %reason, "delivery held by a guard")
            }
        }
    }

    /// A guard that refuses is debug output: a breaker logs its own transitions, and while it is open every delivery that
    /// comes would be a warning.
    pub(super) const fn level(&self) -> Level {
        match self.hold.kind {
            ErrorKind::Misconfigured => Level::ERROR,
            _ if self.by_guard => Level::DEBUG,
            _ => Level::WARN,
        }
    }
}

/// A breaker that opened because of the cause hides it: such a refusal replaces no earlier reason.
fn is_refused_by_guard(error: &Error) -> bool {
    error.rejection().is_some_and(|rejection| !rejection.guard.ended_attempt())
}

/// A hold of a delivery that is in hand, made by [`Holds::register`]. Dropping it takes the delivery off the list.
pub struct HoldGuard {
    holds: Holds,
    pub(super) identity: Identity,
    pub(super) began: Instant,
    /// When the processor took the delivery in hand.
    taken: Instant,
    /// How many attempts have ended in this hold.
    pub(crate) attempts: u32,
    stays: bool,
}

impl HoldGuard {
    pub(super) const fn begin(holds: Holds, identity: Identity, now: Instant) -> Self {
        Self { holds, identity, began: now, taken: now, attempts: 0, stays: false }
    }

    pub(super) const fn again(holds: Holds, identity: Identity, entry: &Entry, now: Instant) -> Self {
        let (began, attempts) = (entry.began, entry.hold.attempts);
        Self { holds, identity, began, taken: now, attempts, stays: false }
    }

    /// How long the delivery has been held, also by earlier calls that handed it back.
    pub(crate) fn lasted(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// How long this processor has waited with the delivery since it was taken in hand.
    pub(crate) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.taken)
    }

    /// Leaves the delivery on the list: it was handed back, and comes again.
    pub(crate) fn stay(mut self) {
        self.stays = true;
    }
}

impl fmt::Debug for HoldGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldGuard").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

impl Drop for HoldGuard {
    fn drop(&mut self) {
        if !self.stays {
            self.holds.remove(&self.identity);
        }
    }
}
