//! The time limits of one connection, derived from its [`Activity`].

use std::time::{Duration, Instant};

use comms_core::clock::Clock;

use super::{
    ListenerConfig, Protocols,
    activity::{Activity, Count},
};

/// How long an HTTP/2 peer without a request in flight may take to answer the GOAWAY at shutdown.
const GOAWAY_TIMEOUT: Duration = Duration::from_millis(500);
/// Longer than any connection lives, and short enough to calculate with.
pub(super) const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// What ends at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// A request head, or the HTTP/2 handshake.
    Head,
    /// The time between two requests of an HTTP/1 connection.
    Idle,
    /// Nothing moved while something was owed.
    Progress,
    /// The connection reached its age.
    Age,
    /// The peer did not answer the GOAWAY.
    Goaway,
    /// Requests in flight ran on for as long as they may.
    Drain,
}

/// A time and what ends then.
pub(super) type Due = (Instant, Limit);

/// Since when a count stands still.
#[derive(Debug, Default)]
struct Still {
    steps: u32,
    since: Option<Instant>,
}

impl Still {
    /// Since when `count` is as it is, while `holds`. The clock is read when something changed.
    fn since(&mut self, count: &Count, holds: bool, clock: &Clock) -> Option<Instant> {
        if !holds {
            self.since = None;
            return None;
        }
        let steps = count.steps();
        if self.since.is_none() || self.steps != steps {
            (self.steps, self.since) = (steps, Some(clock.now()));
        }
        self.since
    }
}

/// The limits of a connection.
pub(super) struct Watch {
    clock: Clock,
    head_timeout: Duration,
    idle_timeout: Duration,
    progress_timeout: Duration,
    /// Whether a handler that waits for a request body is owed it. A gRPC stream without messages is usual.
    awaits_uploads: bool,
    age: Option<Instant>,
    /// Until when the connection drains.
    drain: Option<Instant>,
    /// Whether the listener ends.
    ending: bool,
    /// The calls, while there is none.
    idle: Still,
    /// The calls, while the head of the next one is owed.
    heads: Still,
    chunks: Still,
    writes: Still,
    uploads: Still,
}

impl Watch {
    pub(super) fn new(config: &ListenerConfig, clock: Clock) -> Self {
        let accepted = clock.now();
        // Spread, so that peers that came together do not come again together.
        let spread = 0.9 + 0.2 * clock.random_unit();
        Self {
            head_timeout: config.head_timeout,
            idle_timeout: config.idle_timeout,
            progress_timeout: config.progress_timeout,
            awaits_uploads: config.protocols == Protocols::Http,
            age: config.max_connection_age.map(|age| accepted + age.min(YEAR).mul_f64(spread)),
            drain: None,
            ending: false,
            idle: Still { steps: 0, since: Some(accepted) },
            heads: Still { steps: 0, since: Some(accepted) },
            chunks: Still::default(),
            writes: Still::default(),
            uploads: Still::default(),
            clock,
        }
    }

    /// Lets the requests in flight run on for `limit`, because the listener ends.
    pub(super) fn end(&mut self, limit: Duration) {
        self.ending = true;
        self.drain(limit);
    }

    /// Lets the requests in flight run on for `limit`, or for what is left of an earlier drain.
    pub(super) fn drain(&mut self, limit: Duration) {
        let until = self.clock.now() + limit.min(YEAR);
        self.age = None;
        self.drain = Some(self.drain.map_or(until, |earlier| earlier.min(until)));
    }

    /// Whether a draining connection can be closed without loss.
    pub(super) fn is_over(&self, activity: &Activity) -> bool {
        // An HTTP/2 connection ends by itself, when the peer has seen the GOAWAY.
        self.drain.is_some() && !activity.is_http2() && activity.is_idle() && !activity.lingers()
    }

    /// The limit that ends first. It is read again whenever the connection has made a step.
    pub(super) fn due(&mut self, activity: &Activity) -> Option<Due> {
        let Self { clock, .. } = self;
        let http2 = activity.is_http2();
        // An HTTP/2 connection without a request is no fault; it has to end only while it drains.
        let quiet = activity.is_idle() && (!http2 || self.ending);
        let begun = quiet && !http2 && !activity.is_between();
        let head = self.heads.since(&activity.calls, begun, clock);
        let quiet = self.idle.since(&activity.calls, quiet, clock);
        let idle = quiet.filter(|_| !http2 && !begun);
        let chunks = self.chunks.since(&activity.chunks, activity.chunks.open() > 0, clock);
        let writes = self.writes.since(&activity.writes, activity.writes.open() > 0, clock);
        let waiting = activity.uploads.open();
        let uploads = self.awaits_uploads && waiting > 0 && waiting == activity.calls.open();
        let uploads = self.uploads.since(&activity.uploads, uploads, clock);
        let drain = self.drain.map(|until| match quiet.map(|since| since + GOAWAY_TIMEOUT) {
            Some(goaway) if goaway < until => (goaway, Limit::Goaway),
            _ => (until, Limit::Drain),
        });
        let head = head.and_then(|since| since.checked_add(self.head_timeout));
        let idle = idle.and_then(|since| since.checked_add(self.idle_timeout));
        let progress = [chunks, writes, uploads].into_iter().flatten().min();
        let progress = progress.and_then(|since| since.checked_add(self.progress_timeout));
        [
            head.map(|at| (at, Limit::Head)),
            idle.map(|at| (at, Limit::Idle)),
            progress.map(|at| (at, Limit::Progress)),
            self.age.map(|at| (at, Limit::Age)),
            drain,
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }
}
