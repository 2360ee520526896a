//! A checked definition: what the transitions and the diagram read.

use std::ops::Range;

use super::{
    instance::{Action, Instance, StepState, StepStatus},
    reaction::Reader,
    step::Step,
};
use crate::{
    Error, Message,
    context::key::{KEY_LIMIT, is_key},
};

pub(super) type Start<D> = Box<dyn Fn(&Message) -> Result<Option<(String, D)>, Error> + Send + Sync>;

pub(crate) struct Plan<D> {
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) start: Option<Start<D>>,
    pub(super) readers: Vec<Reader>,
    pub(crate) steps: Vec<Step<D>>,
    /// The indexes of the steps of each stage.
    pub(crate) stages: Vec<Range<usize>>,
    pub(crate) pivot: Option<usize>,
}

impl<D> Plan<D> {
    /// Returns whether the step comes after the pivot, so that it is never given up.
    pub(super) fn is_after_pivot(&self, index: usize) -> bool {
        self.pivot.is_some_and(|pivot| index > pivot)
    }

    /// Returns whether only a reply or an operator can decide about a step whose outcome is unknown.
    pub(super) fn is_held_if_unknown(&self, index: usize) -> bool {
        let is_pivot = self.pivot == Some(index);
        self.is_after_pivot(index) || (is_pivot && !self.steps[index].has_compensation())
    }

    /// Returns the first stage with a step that is not done.
    pub(super) fn current_stage(&self, steps: &[StepState]) -> Option<usize> {
        let is_done =
            |stage: &Range<usize>| steps[stage.clone()].iter().all(|s| s.status == StepStatus::Done);
        self.stages.iter().position(|stage| !is_done(stage))
    }

    /// Returns the last stage with a step that is being compensated, or whose compensation is held.
    pub(super) fn compensated_stage(&self, steps: &[StepState]) -> Option<usize> {
        let is_active = |step: &StepState| step.action() == Some(Action::Compensate);
        self.stages.iter().rposition(|stage| steps[stage.clone()].iter().any(is_active))
    }

    /// Checks that each command of a run with this id has a valid idempotency key.
    ///
    /// # Errors
    /// Returns `Invalid` if a key is longer than 255 bytes or has other than printable ASCII characters.
    pub(super) fn check_id(&self, id: &str) -> Result<(), Error> {
        let has_command = |action: Action| {
            self.steps
                .iter()
                .filter(move |step| step.command_of(action).is_some())
                .map(move |step| (step, action))
        };
        for (step, action) in [Action::Execute, Action::Compensate].into_iter().flat_map(has_command) {
            let key = format!("{}/{id}/{}/{action}", self.name, step.name);
            if !is_key(&key) {
                let text = format!(
                    "the id of a run of {} makes an invalid idempotency key of the step {}: the key {}/id/{}/{action} \
                     has {} bytes, but must have at most {KEY_LIMIT}, all printable ASCII characters",
                    self.name,
                    step.name,
                    self.name,
                    step.name,
                    key.len()
                );
                return Err(Error::invalid(text));
            }
        }
        Ok(())
    }

    /// Checks that the instance was made by this definition.
    ///
    /// # Errors
    /// Returns `Misconfigured` if the name, the version or the steps differ.
    pub(super) fn check(&self, instance: &Instance<D>) -> Result<(), Error> {
        let Instance { saga, version, id, steps, .. } = instance;
        let (name, own) = (&self.name, self.version);
        if (saga, *version) != (name, own) {
            let text =
                format!("the instance {id} of {saga} v{version} was given to the definition {name} v{own}");
            return Err(Error::misconfigured(text));
        }
        if !steps.iter().map(|step| &step.name).eq(self.steps.iter().map(|step| &step.name)) {
            let text = format!("the steps of {name} v{own} changed after the instance {id} was made");
            return Err(Error::misconfigured(format!("{text}: give the new steps a new version")));
        }
        Ok(())
    }
}
