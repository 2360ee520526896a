//! The transitions of a run, without a clock, input or output.
//!
//! An input changes the status of a step: `reply.rs`, `timer.rs` and `operate.rs`. `advance.rs` then begins what follows
//! from the statuses: the next stage, the compensation of a stage, or the end. `attempt.rs` sends commands, and decides
//! what follows a failed attempt.

mod advance;
mod attempt;
mod operate;
mod reply;
mod timer;

use std::time::Duration;

use super::{
    effect::{Effect, TimerId, Transition},
    instance::{Cause, Instance, StepState, StepStatus},
    plan::Plan,
};
use crate::Error;

/// One transition in progress.
pub(super) struct Machine<'a, D> {
    plan: &'a Plan<D>,
    saga: Instance<D>,
    effects: Vec<Effect>,
}

impl<'a, D: Clone> Machine<'a, D> {
    pub(super) const fn new(plan: &'a Plan<D>, saga: Instance<D>) -> Self {
        Self { plan, saga, effects: Vec::new() }
    }

    /// Ends the transition. Begins what follows from the statuses if an input changed one.
    pub(super) fn finish(mut self, changed: bool) -> Result<Transition<D>, Error> {
        if changed {
            self.advance()?;
            self.saga.state = self.plan.label(&self.saga);
        }
        Ok(Transition { instance: self.saga, effects: self.effects, changed })
    }

    /// Returns the timers that the run must have, each with the whole wait of its attempt.
    pub(super) fn timers(&self) -> Vec<(TimerId, Duration)> {
        let timer = |(index, step)| current_timer(step).map(|timer| (timer, self.wait(index)));
        self.saga.steps.iter().enumerate().filter_map(timer).collect()
    }

    fn step(&mut self, index: usize) -> &mut StepState {
        &mut self.saga.steps[index]
    }

    /// Sets the status of a step that a reply or an operator settled, and cancels its timer.
    fn settle(&mut self, index: usize, status: StepStatus) {
        self.cancel_timer(index);
        let step = self.step(index);
        (step.status, step.waiting, step.reason) = (status, false, None);
    }

    fn cancel_timer(&mut self, index: usize) {
        if let Some(timer) = current_timer(&self.saga.steps[index]) {
            self.effects.push(Effect::CancelTimer(timer));
        }
    }

    /// Records that a step was not executed, and turns the run back.
    fn fail(&mut self, index: usize, reason: &str) {
        self.settle(index, StepStatus::Failed);
        self.step(index).reason = Some(reason.to_owned());
        let step = self.plan.steps[index].name.clone();
        self.turn_back(Some(step), reason);
    }

    /// Turns the run back, unless it goes back already. A step that waits for its next attempt is given up.
    fn turn_back(&mut self, step: Option<String>, reason: &str) {
        if self.saga.cause.is_some() {
            return;
        }
        self.saga.cause = Some(Cause { step, reason: reason.to_owned() });
        for index in 0..self.saga.steps.len() {
            if self.saga.steps[index].waiting {
                self.settle(index, StepStatus::Unknown);
            }
        }
    }
}

/// Returns the timer of a step, if one is set.
fn current_timer(step: &StepState) -> Option<TimerId> {
    let action = step.action().filter(|_| step.status != StepStatus::Held)?;
    Some(TimerId::of(&step.name, action, step.attempts_of(action), step.waiting))
}
