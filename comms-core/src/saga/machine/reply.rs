//! Messages: which step awaits an event, and what its reply changes.

use std::any::Any;

use super::Machine;
use crate::{
    Error, Message,
    saga::{
        instance::{Action, StepStatus},
        reaction::Reply,
    },
};

impl<D: Clone> Machine<'_, D> {
    /// Gives the event of `message` to the first step that awaits it. Returns whether the event changed a step.
    pub(in crate::saga) fn message(&mut self, message: &Message) -> Result<bool, Error> {
        if self.saga.is_ended() {
            return Ok(false);
        }
        let plan = self.plan;
        for reader in &plan.readers {
            let Some(event) = (reader.read)(message)? else { continue };
            let is_own = (reader.id)(&*event).as_ref() == Some(&self.saga.id);
            if is_own && (0..plan.steps.len()).any(|index| self.event(index, &*event)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives an event to one step. The data changes only with the step.
    fn event(&mut self, index: usize, event: &dyn Any) -> bool {
        let Some(action) = self.awaited(index) else { return false };
        let plan = self.plan;
        for reaction in plan.steps[index].replies_to(action) {
            let mut data = self.saga.data.clone();
            let changed = match reaction.apply(&mut data, event) {
                Reply::Ignored => false,
                Reply::Done => self.done(index, action),
                Reply::Failed(reason) => self.failed(index, action, &reason),
            };
            if changed {
                self.saga.data = data;
                return true;
            }
        }
        false
    }

    /// Returns the action whose replies the step accepts.
    fn awaited(&self, index: usize) -> Option<Action> {
        let step = &self.saga.steps[index];
        let is_observed = self.plan.steps[index].command.is_none();
        match step.status {
            // The outcome becomes known before the compensation begins.
            StepStatus::Unknown => Some(Action::Execute),
            // The event of another service can come before the step's turn, or while the run goes back.
            StepStatus::Pending | StepStatus::Skipped if is_observed => Some(Action::Execute),
            _ => step.action(),
        }
    }

    fn done(&mut self, index: usize, action: Action) -> bool {
        match action {
            Action::Execute => self.settle(index, StepStatus::Done),
            Action::Compensate => self.settle(index, StepStatus::Compensated),
        }
        true
    }

    fn failed(&mut self, index: usize, action: Action, reason: &str) -> bool {
        let step = &self.saga.steps[index];
        let is_retried = action == Action::Compensate || self.plan.is_after_pivot(index);
        match step.status {
            StepStatus::Skipped => false,
            // Only an attempt in progress can fail. A second report of the failure changes nothing.
            StepStatus::Running | StepStatus::Compensating if is_retried && !step.waiting => {
                self.cancel_timer(index);
                self.attempt_failed(index, action, reason);
                true
            }
            _ if is_retried => false,
            _ => {
                self.fail(index, reason);
                true
            }
        }
    }
}
