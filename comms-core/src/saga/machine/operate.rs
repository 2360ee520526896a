//! Requests of an operator.

use super::Machine;
use crate::{
    Error,
    saga::{
        input::{ForcedStatus, Operation},
        instance::{Action, StepStatus},
    },
};

impl<D: Clone> Machine<'_, D> {
    /// Performs `operation`. Returns whether the operation changed the run.
    pub(in crate::saga) fn operate(&mut self, operation: &Operation) -> Result<bool, Error> {
        if self.saga.is_ended() {
            return Err(Error::invalid(format!("the run {} of {} has ended", self.saga.id, self.saga.saga)));
        }
        match operation {
            Operation::Cancel { reason } => self.cancel(reason),
            Operation::Retry => self.retry(),
            Operation::Force { step, status } => self.force(step, *status),
        }
    }

    fn cancel(&mut self, reason: &str) -> Result<bool, Error> {
        if self.saga.cause.is_some() {
            return Ok(false);
        }
        if let Some(pivot) =
            self.plan.pivot.filter(|pivot| self.saga.steps[*pivot].status != StepStatus::Pending)
        {
            let name = &self.plan.steps[pivot].name;
            return Err(Error::invalid(format!(
                "too late to cancel: the command of the pivot {name} was sent"
            )));
        }
        self.turn_back(None, reason);
        Ok(true)
    }

    fn retry(&mut self) -> Result<bool, Error> {
        let is_held = |index: &usize| self.saga.steps[*index].status == StepStatus::Held;
        let held: Vec<_> = (0..self.saga.steps.len()).filter(is_held).collect();
        if held.is_empty() {
            return Err(Error::invalid("nothing is held, so there is nothing to retry"));
        }
        for index in held {
            if let Some(action) = self.saga.steps[index].action() {
                // As many attempts again.
                let step = self.step(index);
                step.earlier_attempts = step.attempts_of(action);
                self.attempt(index, action)?;
            }
        }
        Ok(true)
    }

    fn force(&mut self, name: &str, forced: ForcedStatus) -> Result<bool, Error> {
        let Some(index) = self.saga.steps.iter().position(|step| step.name == name) else {
            return Err(Error::invalid(format!("{} has no step {name}", self.saga.saga)));
        };
        let step = &self.saga.steps[index];
        let is_executing = step.action() == Some(Action::Execute) || step.status == StepStatus::Unknown;
        let is_compensating = step.action() == Some(Action::Compensate);
        match forced {
            ForcedStatus::Done if is_executing => self.settle(index, StepStatus::Done),
            ForcedStatus::Failed if is_executing && !self.plan.is_after_pivot(index) => {
                self.fail(index, "an operator set the result");
            }
            ForcedStatus::Compensated if is_compensating => self.settle(index, StepStatus::Compensated),
            _ => {
                let status = step.status;
                let text = format!("the step {name} is {status:?}: it cannot be set to {forced:?}");
                return Err(Error::invalid(text));
            }
        }
        Ok(true)
    }
}
