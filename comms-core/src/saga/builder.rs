//! The builder of a definition, and its checks.

use std::{any::TypeId, collections::BTreeSet, fmt, ops::Range, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    definition::Definition,
    instance::Action,
    plan::Plan,
    reaction::{Reader, identifying, reading},
    setup_error::SetupError,
    step::Step,
};
use crate::event::{Event, Versions};

type MakeData<D> = Box<dyn Fn(&dyn std::any::Any) -> Option<D> + Send + Sync>;

/// Builds a [`Definition`]. The stages run in the order of the calls.
pub struct DefinitionBuilder<D> {
    name: String,
    version: u32,
    start: Option<(Reader, MakeData<D>)>,
    /// Names both events if a second one was set to start a run.
    second_start: Option<[&'static str; 2]>,
    /// Replace how an event is read or correlated, in this order.
    overrides: Vec<Override>,
    steps: Vec<Step<D>>,
    stages: Vec<Range<usize>>,
}

struct Override {
    type_id: TypeId,
    event: &'static str,
    change: Box<dyn Fn(&mut Reader)>,
}

impl<D: 'static> Definition<D> {
    /// Returns a builder. The name consists of ASCII letters, digits, `-`, `_` and `.`. Change the version, from 1, with
    /// every change of the steps: a running instance stays on its version ([`Definitions`](super::Definitions)).
    #[must_use]
    pub fn builder(name: impl Into<String>, version: u32) -> DefinitionBuilder<D> {
        let (overrides, steps, stages) = (Vec::new(), Vec::new(), Vec::new());
        let (name, start, second_start) = (name.into(), None, None);
        DefinitionBuilder { name, version, start, second_start, overrides, steps, stages }
    }
}

impl<D: 'static> DefinitionBuilder<D> {
    /// Sets the event that starts a run, and the function that makes the data of it. Without one, an application starts
    /// runs with [`Definition::start`].
    #[must_use]
    pub fn start<E: Event + Serialize + DeserializeOwned>(
        self,
        data: impl Fn(&E) -> D + Send + Sync + 'static,
    ) -> Self {
        let make: MakeData<D> = Box::new(move |event| event.downcast_ref().map(&data));
        let second_start = self.start.as_ref().map(|(first, _)| [first.event, E::TYPE]).or(self.second_start);
        Self { start: Some((Reader::json::<E>(), make)), second_start, ..self }
    }

    /// Sets how the id of the run is found in an event. Default: [`Event::key`].
    #[must_use]
    pub fn correlate<E: Event>(self, id: impl Fn(&E) -> String + Send + Sync + 'static) -> Self {
        let id = identifying(id);
        self.changing::<E>(move |reader| reader.id = id.clone())
    }

    /// Reads an event in the versions and the encoding of `versions`. Default: JSON of the newest version.
    #[must_use]
    pub fn versions<E: Event>(self, versions: Versions<E>) -> Self {
        let read = reading(move |message| versions.read(message));
        self.changing::<E>(move |reader| reader.read = read.clone())
    }

    /// Adds a stage of one step.
    #[must_use]
    pub fn step(self, step: Step<D>) -> Self {
        self.parallel([step])
    }

    /// Adds a stage whose steps run at the same time. The next stage begins when all are done. If one fails, the others
    /// are awaited, and then the stage is compensated.
    #[must_use]
    pub fn parallel(mut self, steps: impl IntoIterator<Item = Step<D>>) -> Self {
        let start = self.steps.len();
        self.steps.extend(steps);
        self.stages.push(start..self.steps.len());
        self
    }

    /// Checks the steps and builds the definition.
    ///
    /// # Errors
    /// Returns the [`SetupError`] of the first rule that the definition breaks.
    pub fn build(mut self) -> Result<Definition<D>, SetupError> {
        self.check()?;
        let pivot = self.pivot()?;
        let replies =
            self.steps.iter().flat_map(|step| step.replies.iter().chain(&step.compensation_replies));
        let all = self.start.iter().map(|(reader, _)| reader).chain(replies.map(|reply| &reply.reader));
        let mut seen = BTreeSet::new();
        let mut readers: Vec<_> = all.filter(|reader| seen.insert(reader.type_id)).cloned().collect();
        for Override { type_id, event, change } in &self.overrides {
            let reader = readers.iter_mut().find(|reader| reader.type_id == *type_id);
            change(reader.ok_or(SetupError::UnusedEvent(event))?);
        }
        let start =
            self.start.take().zip(readers.first().cloned()).map(|((_, make), reader)| starting(reader, make));
        let Self { name, version, steps, stages, .. } = self;
        Ok(Definition(Arc::new(Plan { name, version, start, readers, steps, stages, pivot })))
    }

    fn changing<E: Event>(mut self, change: impl Fn(&mut Reader) + 'static) -> Self {
        let change = Box::new(change);
        self.overrides.push(Override { type_id: TypeId::of::<E>(), event: E::TYPE, change });
        self
    }

    fn check(&self) -> Result<(), SetupError> {
        if self.version == 0 {
            return Err(SetupError::VersionZero);
        }
        if let Some([first, second]) = self.second_start {
            return Err(SetupError::TwoStarts(first, second));
        }
        if self.stages.is_empty() || self.stages.iter().any(Range::is_empty) {
            return Err(SetupError::NoStep);
        }
        let names = self.steps.iter().map(|step| &step.name);
        if let Some(name) = names.chain([&self.name]).find(|name| !is_name(name)) {
            return Err(SetupError::Name(name.clone()));
        }
        let mut names = BTreeSet::new();
        match self.steps.iter().find(|step| !names.insert(&step.name)) {
            Some(step) => Err(SetupError::DuplicateStep(step.name.clone())),
            None => self.steps.iter().try_for_each(check_step),
        }
    }

    fn pivot(&self) -> Result<Option<usize>, SetupError> {
        let mut pivots = self.steps.iter().enumerate().filter(|(_, step)| step.is_pivot);
        let Some((index, pivot)) = pivots.next() else { return Ok(None) };
        let name = pivot.name.clone();
        if let Some((_, second)) = pivots.next() {
            return Err(SetupError::TwoPivots(name, second.name.clone()));
        }
        if pivot.command.is_none() {
            return Err(SetupError::ObservedPivot(name));
        }
        if !self.stages.contains(&(index..index + 1)) {
            return Err(SetupError::ParallelPivot(name));
        }
        match self.steps[index + 1..].iter().find(|step| step.has_compensation()) {
            Some(step) => Err(SetupError::CompensationAfterPivot(step.name.clone())),
            None => Ok(Some(index)),
        }
    }
}

fn check_step<D>(step: &Step<D>) -> Result<(), SetupError> {
    let name = || step.name.clone();
    if !step.has_reply(Action::Execute) {
        return Err(SetupError::NoReply(name()));
    }
    if step.time_limit.is_zero() {
        return Err(SetupError::NoTimeLimit(name()));
    }
    if step.max_attempts == 0 {
        return Err(SetupError::NoAttempts(name()));
    }
    if !step.has_compensation() && step.has_reply(Action::Compensate) {
        return Err(SetupError::NoCompensation(name()));
    }
    Ok(())
}

fn starting<D: 'static>(reader: Reader, make: MakeData<D>) -> super::plan::Start<D> {
    Box::new(move |message| {
        let Some(event) = (reader.read)(message)? else { return Ok(None) };
        Ok((reader.id)(&*event).zip(make(&*event)))
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl<D> fmt::Debug for DefinitionBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DefinitionBuilder({} v{}, steps {:?})", self.name, self.version, self.steps)
    }
}
