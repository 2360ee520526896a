//! What follows from the statuses of the steps.

use super::Machine;
use crate::{
    Error,
    saga::instance::{Action, Phase, StepStatus},
};

impl<D: Clone> Machine<'_, D> {
    /// Begins everything that can begin, and sets the phase.
    pub(super) fn advance(&mut self) -> Result<(), Error> {
        let phase = match self.saga.cause {
            None => self.go_forward()?,
            Some(_) => self.go_back()?,
        };
        let is_held = self.saga.steps.iter().any(|step| step.status == StepStatus::Held);
        self.saga.phase = if is_held { Phase::Held } else { phase };
        Ok(())
    }

    /// Begins the pending steps of the first stage that is not done.
    fn go_forward(&mut self) -> Result<Phase, Error> {
        let Some(stage) = self.plan.current_stage(&self.saga.steps) else { return Ok(Phase::Completed) };
        for index in self.plan.stages[stage].clone() {
            if self.saga.steps[index].status == StepStatus::Pending {
                self.attempt(index, Action::Execute)?;
            }
        }
        Ok(Phase::Running)
    }

    /// Compensates the stages in reverse order. Begins only when no step is running, and continues with a stage only
    /// when the later one is compensated.
    fn go_back(&mut self) -> Result<Phase, Error> {
        if self.saga.steps.iter().any(|step| step.action() == Some(Action::Execute)) {
            return Ok(Phase::Compensating);
        }
        for step in &mut self.saga.steps {
            if step.status == StepStatus::Pending {
                step.status = StepStatus::Skipped;
            }
        }
        let plan = self.plan;
        for (number, stage) in plan.stages.iter().enumerate().rev() {
            for index in stage.clone() {
                if self.must_be_compensated(index) {
                    self.attempt(index, Action::Compensate)?;
                }
            }
            // An observed event can execute a step while an earlier stage is compensated. The step does not wait for it.
            if plan.compensated_stage(&self.saga.steps) >= Some(number) {
                return Ok(Phase::Compensating);
            }
        }
        Ok(Phase::Failed)
    }

    fn must_be_compensated(&self, index: usize) -> bool {
        let may_be_executed = matches!(self.saga.steps[index].status, StepStatus::Done | StepStatus::Unknown);
        may_be_executed && self.plan.steps[index].has_compensation()
    }
}
