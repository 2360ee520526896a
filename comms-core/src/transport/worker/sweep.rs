//! One timer for the time limits of all pending attempts.

use std::{future::Future, task::Context, time::Instant};

use super::{Worker, running::Work};

impl Worker {
    /// Starts the timer of the time limits if it does not run. It runs already if an earlier attempt is pending, whose
    /// deadline is earlier.
    pub(super) fn watch(&mut self, deadline: Option<Instant>) {
        if self.sweep.is_none()
            && let Some(deadline) = deadline
        {
            self.sweep = Some(Box::pin(self.shared.processor.clock.sleep_until(deadline)));
        }
    }

    /// Ends the attempts whose time limit has passed, when the timer fires. Returns whether it fired.
    pub(super) fn sweep(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.sweep else { return false };
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        let now = self.shared.processor.clock.now();
        let mut next: Option<Instant> = None;
        for (running, waker) in self.running.iter_mut() {
            if let Work::Attempt(pending) = &mut running.work {
                if pending.expire(now) {
                    waker.wake_by_ref();
                }
                next = next.into_iter().chain(pending.deadline()).min();
            }
        }
        let batch = self.batches.as_mut().and_then(|batches| batches.expire(now));
        next = next.into_iter().chain(batch).min();
        self.sweep = None;
        self.watch(next);
        true
    }
}
