//! The time limits of one connection, derived from its [`Activity`].

use std::time::{Duration, Instant};

use comms_core::clock::Clock;

use super::{
    activity::{Activity, ProgressCounter},
    config::{ListenerConfig, Protocols},
};

/// The time that an HTTP/2 peer without a request in flight has to complete its handshake at shutdown, to answer the GOAWAY,
/// and to close a connection that this side has closed.
pub(super) const GOAWAY_TIMEOUT: Duration = Duration::from_millis(500);
/// The maximum of every time limit. It is longer than any connection lives, and can be added to an instant without
/// overflow.
pub(super) const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A time limit of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// The time for a request head, or for the HTTP/2 handshake.
    Head,
    /// The time between two requests of an HTTP/1 connection.
    Idle,
    /// The time without progress on pending data.
    Progress,
    /// The age of the connection.
    Age,
    /// The time for the answer to the GOAWAY.
    Goaway,
    /// The time for requests in flight on a draining connection.
    Drain,
}

/// The watchdog of one connection.
pub(super) struct Watchdog {
    clock: Clock,
    head_timeout: Duration,
    idle_timeout: Duration,
    progress_timeout: Duration,
    /// Whether a request body that a handler waits for counts as pending data. A gRPC stream without messages is usual.
    limits_uploads: bool,
    max_age_at: Option<Instant>,
    /// The end of the drain of this connection.
    drain_until: Option<Instant>,
    /// Whether the listener shuts down.
    shutting_down: bool,
    /// The time without a request in flight.
    idle: StallTimer,
    /// The time for which the head of the next request is pending.
    head: StallTimer,
    chunks: StallTimer,
    writes: StallTimer,
    uploads: StallTimer,
    /// Since when a connection of HTTP/2 only discards what the peer still sends.
    lingers_since: Option<Instant>,
}

impl Watchdog {
    pub(super) fn new(config: &ListenerConfig, accepted: Instant, clock: Clock) -> Self {
        // Spread by 10%, so that peers that connected together do not reconnect together.
        let spread = 0.9 + 0.2 * clock.random_unit();
        Self {
            head_timeout: config.head_timeout,
            idle_timeout: config.idle_timeout,
            progress_timeout: config.progress_timeout,
            limits_uploads: config.protocols == Protocols::Http,
            max_age_at: config.max_connection_age.map(|age| accepted + age.min(YEAR).mul_f64(spread)),
            drain_until: None,
            shutting_down: false,
            idle: StallTimer { steps: 0, since: Some(accepted) },
            head: StallTimer { steps: 0, since: Some(accepted) },
            chunks: StallTimer::default(),
            writes: StallTimer::default(),
            uploads: StallTimer::default(),
            lingers_since: None,
            clock,
        }
    }

    /// Starts the drain because the listener shuts down. Requests in flight may continue for `limit`.
    pub(super) fn shut_down(&mut self, limit: Duration) {
        self.shutting_down = true;
        self.drain(limit);
    }

    /// Starts the drain. Requests in flight may continue for `limit`, or for the rest of an earlier drain.
    pub(super) fn drain(&mut self, limit: Duration) {
        let now = self.clock.now();
        let until = now + limit.min(YEAR);
        // The time for the answer to a GOAWAY begins.
        self.idle.since = self.idle.since.map(|_| now);
        self.max_age_at = None;
        self.drain_until = Some(self.drain_until.map_or(until, |earlier| earlier.min(until)));
    }

    /// Returns whether a draining connection can be closed without loss.
    pub(super) fn can_close(&self, activity: &Activity) -> bool {
        // An HTTP/2 connection ends by itself, after the peer has received the GOAWAY.
        let is_http2 = activity.is_http2() || activity.awaits_http2();
        self.drain_until.is_some() && !is_http2 && activity.is_idle() && !activity.is_lingering()
    }

    /// Returns the limit that expires first, and its time. The result is valid until the connection is polled again.
    pub(super) fn next_limit(&mut self, activity: &Activity) -> Option<(Instant, Limit)> {
        let Self { clock, .. } = self;
        let http2 = activity.is_http2();
        // An HTTP/2 connection without a request is limited only while the listener shuts down.
        let is_idle = activity.is_idle() && (!http2 || self.shutting_down);
        let awaits_head = is_idle && !http2 && !activity.is_between_requests();
        let head_since = self.head.stalled_since(&activity.requests, awaits_head, clock);
        let idle_since = self.idle.stalled_since(&activity.requests, is_idle, clock);
        let between_requests_since = idle_since.filter(|_| !http2 && !awaits_head);

        let chunks_pending = activity.chunks.open() > 0;
        let chunks_since = self.chunks.stalled_since(&activity.chunks, chunks_pending, clock);
        let write_blocked = activity.blocked_writes.open() > 0;
        let writes_since = self.writes.stalled_since(&activity.blocked_writes, write_blocked, clock);
        let uploads = activity.uploads.open();
        let all_await_uploads = self.limits_uploads && uploads > 0 && uploads == activity.requests.open();
        let uploads_since = self.uploads.stalled_since(&activity.uploads, all_await_uploads, clock);
        let stalled_since = [chunks_since, writes_since, uploads_since].into_iter().flatten().min();

        let lingers = http2 && activity.is_lingering();
        let linger = lingers.then(|| *self.lingers_since.get_or_insert_with(|| clock.now()));
        let drain = self.drain_until.map(|until| match idle_since.map(|since| since + GOAWAY_TIMEOUT) {
            Some(goaway) if goaway < until => (goaway, Limit::Goaway),
            _ => (until, Limit::Drain),
        });
        let expiry = |since: Option<Instant>, timeout, limit| {
            since.and_then(|since| since.checked_add(timeout)).map(|at| (at, limit))
        };
        [
            expiry(head_since, self.head_timeout, Limit::Head),
            expiry(between_requests_since, self.idle_timeout, Limit::Idle),
            expiry(stalled_since, self.progress_timeout, Limit::Progress),
            expiry(linger, GOAWAY_TIMEOUT, Limit::Goaway),
            self.max_age_at.map(|at| (at, Limit::Age)),
            drain,
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }
}

/// Measures the time for which a condition has held without progress.
#[derive(Debug, Default)]
struct StallTimer {
    steps: u32,
    since: Option<Instant>,
}

impl StallTimer {
    /// Returns the time of the last progress of `counter` while `condition` held, or `None` if `condition` does not
    /// hold. The clock is read only if something changed.
    fn stalled_since(
        &mut self,
        counter: &ProgressCounter,
        condition: bool,
        clock: &Clock,
    ) -> Option<Instant> {
        if !condition {
            self.since = None;
            return None;
        }
        let steps = counter.steps();
        if self.since.is_none() || self.steps != steps {
            (self.steps, self.since) = (steps, Some(clock.now()));
        }
        self.since
    }
}
