//! Timers: the end of an attempt without a reply, and the end of a backoff.

use super::{Machine, current_timer};
use crate::{Error, saga::effect::TimerId};

impl<D: Clone> Machine<'_, D> {
    /// Returns whether `timer` is the current one of a step, and then ends the attempt or begins the next one.
    pub(in crate::saga) fn timer(&mut self, timer: &TimerId) -> Result<bool, Error> {
        let is_current = |step: &_| current_timer(step).as_ref() == Some(timer);
        let Some(index) = self.saga.steps.iter().position(is_current) else { return Ok(false) };
        let step = &self.saga.steps[index];
        let Some(action) = step.action() else { return Ok(false) };
        if step.waiting {
            self.attempt(index, action)?;
        } else {
            let (attempts, limit) = (step.attempts_of(action), self.plan.steps[index].time_limit);
            let reason = format!("no reply within {limit:?}, attempt {attempts}");
            self.attempt_failed(index, action, &reason);
        }
        Ok(true)
    }
}
