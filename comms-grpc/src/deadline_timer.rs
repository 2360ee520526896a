//! The deadline of a response body.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use comms_core::clock::{Clock, Sleep};

/// A deadline whose timer is created when the call first waits. Most responses end without a wait.
pub(crate) struct DeadlineTimer {
    deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    clock: Clock,
}

impl DeadlineTimer {
    pub(crate) const fn new(deadline: Instant, clock: Clock) -> Self {
        Self { deadline, timer: None, clock }
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.clock.now() >= self.deadline
    }

    /// Resolves at the deadline.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(self.clock.sleep_until(self.deadline)));
        timer.as_mut().poll(cx)
    }
}
