//! The names of the states for people.

use super::{
    instance::{Instance, Phase},
    plan::Plan,
    step::Step,
};

pub(super) const STARTED: &str = "Started";
pub(super) const COMPLETED: &str = "Completed";
pub(super) const FAILED: &str = "Failed";

impl<D> Plan<D> {
    /// Returns the name of the state of `saga`.
    pub(super) fn label(&self, saga: &Instance<D>) -> String {
        match (saga.phase, self.compensated_stage(&saga.steps), self.current_stage(&saga.steps)) {
            (Phase::Failed, ..) => FAILED.to_owned(),
            (_, Some(stage), _) => self.compensating_label(stage),
            (_, None, Some(stage)) => self.running_label(stage),
            (_, None, None) => COMPLETED.to_owned(),
        }
    }

    /// Returns the name of the state in which a stage is running. A stage without a name keeps the preceding one.
    pub(super) fn running_label(&self, stage: usize) -> String {
        let default = |step: &Step<D>| step.done.is_none().then(|| step.name.clone());
        let labels = self.labels(stage, |step| step.running.clone().or_else(|| default(step)));
        labels
            .unwrap_or_else(|| stage.checked_sub(1).map_or(STARTED.to_owned(), |last| self.done_label(last)))
    }

    /// Returns the name of the state in which a stage is compensated.
    pub(super) fn compensating_label(&self, stage: usize) -> String {
        let default = |step: &Step<D>| format!("compensating {}", step.name);
        let label = |step: &Step<D>| {
            step.has_compensation().then(|| step.compensating.clone().unwrap_or_else(|| default(step)))
        };
        self.labels(stage, label).unwrap_or_default()
    }

    fn done_label(&self, stage: usize) -> String {
        self.labels(stage, |step| step.done.clone()).unwrap_or_else(|| self.running_label(stage))
    }

    /// Joins the names of the steps of a stage. Returns `None` if no step has one.
    fn labels(&self, stage: usize, label: impl Fn(&Step<D>) -> Option<String>) -> Option<String> {
        let labels: Vec<_> = self.steps[self.stages[stage].clone()].iter().filter_map(label).collect();
        (!labels.is_empty()).then(|| labels.join(" + "))
    }
}
