//! The timer future of both clocks.

use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::manual::Manual;
use tokio::task::unconstrained;

/// A thousand years: the wait on a manual clock if the deadline would be out of the range of [`Instant`].
const FAR_FUTURE: Duration = Duration::from_secs(1_000 * 365 * 86_400);

pin_project! {
    /// A future that resolves at a point in time of a [`Clock`](super::Clock), created by
    /// [`Clock::sleep`](super::Clock::sleep) or [`Clock::sleep_until`](super::Clock::sleep_until).
    ///
    /// A loop can reuse one timer:
    ///
    /// ```
    /// # async fn idle(mut messages: tokio::sync::mpsc::Receiver<u8>) {
    /// use comms_core::clock::Clock;
    /// use std::{pin::pin, time::Duration};
    /// let limit = Duration::from_secs(30);
    /// let mut idle = pin!(Clock::system().sleep(limit));
    /// loop {
    ///     tokio::select! {
    ///         message = messages.recv() => match message {
    ///             Some(_) => idle.as_mut().reset(limit),
    ///             None => break,
    ///         },
    ///         () = idle.as_mut() => break, // no message within 30 s
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use = "a sleep does nothing unless it is polled"]
    pub struct Sleep { #[pin] kind: Kind }
}

pin_project! {
    #[project = KindProj]
    enum Kind {
        System { #[pin] timer: tokio::time::Sleep },
        Manual { clock: Arc<Manual>, until: Instant, id: u64 },
    }

    impl PinnedDrop for Kind {
        fn drop(this: Pin<&mut Self>) {
            if let KindProj::Manual { clock, id, .. } = this.project() {
                clock.end_sleep(*id);
            }
        }
    }
}

impl Sleep {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(super) fn system(duration: Duration) -> Self {
        Self { kind: Kind::System { timer: tokio::time::sleep(duration) } }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(super) fn system_until(deadline: Instant) -> Self {
        Self { kind: Kind::System { timer: tokio::time::sleep_until(deadline.into()) } }
    }

    pub(super) fn manual(clock: Arc<Manual>, duration: Duration) -> Self {
        let until = after(&clock, duration);
        Self::manual_until(clock, until)
    }

    pub(super) fn manual_until(clock: Arc<Manual>, until: Instant) -> Self {
        let id = clock.new_sleep();
        Self { kind: Kind::Manual { clock, until, id } }
    }

    /// Restarts the timer: it resolves once `duration` has passed from now, also if it had resolved before.
    ///
    /// The task must poll the timer again, or it is not woken at the new time.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn reset(self: Pin<&mut Self>, duration: Duration) {
        match self.project().kind.project() {
            KindProj::System { timer } => {
                let now = tokio::time::Instant::now();
                timer.reset(now.checked_add(duration).unwrap_or_else(|| now + FAR_FUTURE));
            }
            KindProj::Manual { clock, until, .. } => *until = after(clock, duration),
        }
    }
}

fn after(clock: &Manual, duration: Duration) -> Instant {
    let now = clock.now();
    now.checked_add(duration).unwrap_or_else(|| now + FAR_FUTURE)
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.project().kind.project() {
            // Not subject to tokio's cooperative budget: a time limit must also end a task that has used up its budget.
            KindProj::System { timer } => pin!(unconstrained(timer)).poll(cx),
            KindProj::Manual { clock, until, id } => clock.poll_sleep(*id, *until, cx),
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep")
    }
}
