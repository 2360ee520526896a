//! A saga's definition and its transitions.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    effect::{TimerId, Transition},
    input::Input,
    instance::{Instance, Phase, StepState},
    labels::STARTED,
    machine::Machine,
    plan::Plan,
};
use crate::{Error, Message};

/// The steps of a saga with their commands, replies and compensations. Clones are cheap.
///
/// A definition is data with a name and a version. The transitions are pure functions: they read no clock, draw no
/// random number and do no input or output. The [module](super) describes the rules.
pub struct Definition<D>(pub(crate) Arc<Plan<D>>);

impl<D: Clone> Definition<D> {
    /// Starts a run with the id `id`: begins the first stage.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a command cannot be encoded, or the idempotency key
    /// `saga/id/step/action` of a command would not be one of 1 to 255 printable ASCII characters.
    pub fn start(&self, id: impl Into<String>, data: D) -> Result<Transition<D>, Error> {
        let id = id.into();
        self.0.check_id(&id)?;
        Machine::new(&self.0, self.instance(id, data)).finish(true)
    }

    /// Starts a run if `message` announces the event of [`DefinitionBuilder::start`](super::DefinitionBuilder::start).
    /// Returns `None` for any other message. A step that [observes](super::Step::observe) this event is settled by it.
    ///
    /// The caller must check that no run with this id exists: the start of a run is not idempotent, because a run with
    /// the same id may have ended already.
    ///
    /// # Errors
    /// Returns the errors of [`event::read`](crate::event::read) or [`Versions::read`](crate::event::Versions::read), and
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a command cannot be encoded, or the id is refused as by
    /// [`start`](Self::start).
    pub fn start_on(&self, message: &Message) -> Result<Option<Transition<D>>, Error> {
        let Some(start) = &self.0.start else { return Ok(None) };
        let Some((id, data)) = start(message)? else { return Ok(None) };
        self.0.check_id(&id)?;
        let mut machine = Machine::new(&self.0, self.instance(id, data));
        // The event comes only once, so that a step that observes it would wait in vain.
        machine.message(message)?;
        machine.finish(true).map(Some)
    }

    fn instance(&self, id: String, data: D) -> Instance<D> {
        Instance {
            saga: self.0.name.clone(),
            version: self.0.version,
            id,
            phase: Phase::Running,
            state: STARTED.to_owned(),
            steps: self.0.steps.iter().map(|step| StepState::new(&step.name)).collect(),
            cause: None,
            data,
        }
    }

    /// Returns the next state of `instance` after `input`, and the effects to commit with it.
    ///
    /// Repeated, late and foreign messages and timers are no errors: they return a transition that is not
    /// [`changed`](Transition::changed).
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if the instance was made by another
    /// definition, version or list of steps.
    ///
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a command cannot be encoded, or an operation is not
    /// possible: the run has ended, the pivot was sent before a cancel, nothing is held, or a step cannot have the
    /// forced result.
    ///
    /// Returns the errors of [`event::read`](crate::event::read) or [`Versions::read`](crate::event::Versions::read) for
    /// a message that cannot be read.
    pub fn transition(&self, instance: &Instance<D>, input: &Input<'_>) -> Result<Transition<D>, Error> {
        self.0.check(instance)?;
        let mut machine = Machine::new(&self.0, instance.clone());
        let changed = match input {
            Input::Message(message) => machine.message(message)?,
            Input::Timer(timer) => machine.timer(timer)?,
            Input::Operator(operation) => machine.operate(operation)?,
        };
        machine.finish(changed)
    }

    /// Returns the timers that `instance` must have, each with the whole wait of its attempt, as
    /// [`Effect::SetTimer`](super::Effect::SetTimer) has set them. A coordinator compares them with the stored timers, and
    /// sets a timer again that was lost.
    ///
    /// A run that has ended, and a held step, have none.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if the instance was made by another
    /// definition, version or list of steps.
    pub fn timers(&self, instance: &Instance<D>) -> Result<Vec<(TimerId, Duration)>, Error> {
        self.0.check(instance)?;
        Ok(Machine::new(&self.0, instance.clone()).timers())
    }
}

impl<D> Definition<D> {
    /// Returns the id of the run that `message` belongs to, or `None` if the message announces no event of this saga.
    ///
    /// # Errors
    /// Returns the errors of [`event::read`](crate::event::read) or [`Versions::read`](crate::event::Versions::read).
    pub fn correlate(&self, message: &Message) -> Result<Option<String>, Error> {
        for reader in &self.0.readers {
            if let Some(event) = (reader.read)(message)? {
                return Ok((reader.id)(&*event));
            }
        }
        Ok(None)
    }

    /// Returns whether `message` announces a reply that can come before its run has started: a reply of an
    /// [observed](super::Step::observe) step, if an event starts the run, because topics have no order between them. A reply
    /// to a command cannot, and an application that starts a run itself must do so before other services can react.
    ///
    /// # Errors
    /// Returns the errors of [`event::read`](crate::event::read) or [`Versions::read`](crate::event::Versions::read).
    pub fn observes(&self, message: &Message) -> Result<bool, Error> {
        if self.0.start.is_none() {
            return Ok(false);
        }
        let observed = self.0.steps.iter().filter(|step| step.command.is_none());
        let types: Vec<_> =
            observed.flat_map(|step| &step.replies).map(|reply| reply.reader.type_id).collect();
        for reader in self.0.readers.iter().filter(|reader| types.contains(&reader.type_id)) {
            if (reader.read)(message)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// Returns the names of the events that start a run or are replies, without versions.
    pub fn events(&self) -> impl Iterator<Item = &'static str> {
        self.0.readers.iter().map(|reader| reader.event)
    }
}

impl<D> Clone for Definition<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D> fmt::Debug for Definition<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Definition({} v{})", self.0.name, self.0.version)
    }
}
