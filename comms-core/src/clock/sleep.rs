//! A wait on either clock.

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

/// A thousand years.
const FAR: Duration = Duration::from_secs(1_000 * 365 * 86_400);

pin_project! {
    /// A wait on a [`Clock`](super::Clock), made by [`Clock::sleep`](super::Clock::sleep).
    #[must_use = "a wait does nothing unless it is polled"]
    pub struct Sleep { #[pin] kind: Kind }
}

pin_project! {
    #[project = KindProj]
    enum Kind {
        System { #[pin] timer: tokio::time::Sleep },
        Manual { clock: Arc<Manual>, until: Instant },
    }
}

impl Sleep {
    pub(super) fn system(duration: Duration) -> Self {
        Self { kind: Kind::System { timer: tokio::time::sleep(duration) } }
    }

    pub(super) fn manual(clock: Arc<Manual>, duration: Duration) -> Self {
        // As far as it goes: nobody waits that long.
        let until = clock.now();
        let until = until.checked_add(duration).unwrap_or(until + FAR);
        Self { kind: Kind::Manual { clock, until } }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.project().kind.project() {
            // Without tokio's budget: a limit must hold also for work that has used it up.
            KindProj::System { timer } => pin!(unconstrained(timer)).poll(cx),
            KindProj::Manual { clock, until } => clock.poll_sleep(*until, cx),
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep")
    }
}
