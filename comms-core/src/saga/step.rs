//! A step of a saga.

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    instance::{Action, Instance},
    reaction::{Reaction, Reply},
};
use crate::{
    Error,
    event::{Codec, Event, Json, type_name},
    resilience::{Backoff, RetryConfig},
};

/// The command of an attempt, before it has an identity.
pub(super) struct Encoded {
    pub(super) topic: &'static str,
    pub(super) event_type: String,
    pub(super) key: String,
    pub(super) payload: Bytes,
}

type MakeCommand<D> = Box<dyn Fn(&Instance<D>) -> Result<Encoded, Error> + Send + Sync>;

/// A step: a command to a participant with its replies, or an event of another service that is awaited.
///
/// All functions must be pure, because a coordinator may run a transition again. Every step needs a
/// [`time_limit`](Self::time_limit), so that no run is stuck without an alarm.
pub struct Step<D> {
    pub(crate) name: String,
    pub(super) command: Option<MakeCommand<D>>,
    pub(super) replies: Vec<Reaction<D>>,
    pub(super) compensation: Option<MakeCommand<D>>,
    pub(super) compensation_replies: Vec<Reaction<D>>,
    pub(super) topic: Option<String>,
    pub(super) time_limit: Duration,
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) is_pivot: bool,
    pub(super) running: Option<String>,
    pub(super) done: Option<String>,
    pub(super) compensating: Option<String>,
}

impl<D: 'static> Step<D> {
    /// Creates a step that sends the command that `command` makes of the instance. The name consists of ASCII letters,
    /// digits, `-`, `_` and `.`, and must stay the same: it is a part of the identity of commands and timers.
    #[must_use]
    pub fn command<C: Event + Serialize + DeserializeOwned>(
        name: impl Into<String>,
        command: impl Fn(&Instance<D>) -> C + Send + Sync + 'static,
    ) -> Self {
        Self { command: Some(making(command)), ..Self::observe(name) }
    }

    /// Creates a step that sends nothing and waits for an event of another service, as in a choreographed saga.
    ///
    /// The event counts from the start of the run, also before the step's turn, because topics have no order between
    /// them. The event that starts the run counts too. The step has one attempt. A run that goes back awaits the event of a
    /// step in progress until its time limit, because nothing can stop the other service.
    #[must_use]
    pub fn observe(name: impl Into<String>) -> Self {
        let RetryConfig { max_attempts, backoff, .. } = RetryConfig::default();
        Self {
            name: name.into(),
            command: None,
            replies: Vec::new(),
            compensation: None,
            compensation_replies: Vec::new(),
            topic: None,
            time_limit: Duration::ZERO,
            max_attempts,
            backoff,
            is_pivot: false,
            running: None,
            done: None,
            compensating: None,
        }
    }

    /// Adds a reply: `reply` returns what the event means for the step, and may store parts of the event in the data.
    #[must_use]
    pub fn reply<E: Event + Serialize + DeserializeOwned>(
        mut self,
        reply: impl Fn(&mut D, &E) -> Reply + Send + Sync + 'static,
    ) -> Self {
        self.replies.push(Reaction::new(reply));
        self
    }

    /// Sets the compensation: the command that undoes the step. A step without one has nothing to undo.
    ///
    /// The command is also sent if the outcome of the step is unknown. The data then lacks what a reply would have
    /// stored, and the participant must accept the compensation of an operation that it never executed, and refuse
    /// the operation afterwards.
    #[must_use]
    pub fn compensate<C: Event + Serialize + DeserializeOwned>(
        self,
        command: impl Fn(&Instance<D>) -> C + Send + Sync + 'static,
    ) -> Self {
        Self { compensation: Some(making(command)), ..self }
    }

    /// Adds a reply of the compensation. Without one the compensation is done when its command is committed.
    #[must_use]
    pub fn compensated_by<E: Event + Serialize + DeserializeOwned>(
        mut self,
        reply: impl Fn(&mut D, &E) -> Reply + Send + Sync + 'static,
    ) -> Self {
        self.compensation_replies.push(Reaction::new(reply));
        self
    }

    /// Sets the topic of the command and of the compensation. Default: [`Event::TYPE`] of each.
    ///
    /// With one topic and one key, the compensation of a step cannot overtake its command.
    #[must_use]
    pub fn topic(self, topic: impl Into<String>) -> Self {
        Self { topic: Some(topic.into()), ..self }
    }

    /// Sets the time limit of one attempt at the step or at its compensation, above zero. Required.
    #[must_use]
    pub fn time_limit(self, limit: Duration) -> Self {
        Self { time_limit: limit, ..self }
    }

    /// Sets the number of attempts in all and the wait between them, for the command and for the compensation. Default:
    /// five attempts and [`Backoff::default`]. An [observed](Self::observe) step has one attempt.
    ///
    /// A reply that reports a failure is final and ends the attempts, except after the pivot and of a compensation.
    #[must_use]
    pub fn attempts(self, max_attempts: u32, backoff: Backoff) -> Self {
        Self { max_attempts, backoff, ..self }
    }

    /// Makes the step the pivot: when it is done, the run only goes forward. Later steps are retried and then held, and
    /// nothing is compensated.
    ///
    /// A pivot whose outcome stays unknown is compensated if it has a compensation, and held otherwise.
    #[must_use]
    pub fn pivot(self) -> Self {
        Self { is_pivot: true, ..self }
    }

    /// Sets the name of the state while the step is running. Default: the name of the step, or the preceding state if
    /// the step has a [`done`](Self::done) name.
    #[must_use]
    pub fn running(self, label: impl Into<String>) -> Self {
        Self { running: Some(label.into()), ..self }
    }

    /// Sets the name of the state after the step, which is visible while the next stage has no name of its own.
    #[must_use]
    pub fn done(self, label: impl Into<String>) -> Self {
        Self { done: Some(label.into()), ..self }
    }

    /// Sets the name of the state while the step is compensated. Default: `compensating` and the name of the step.
    #[must_use]
    pub fn compensating(self, label: impl Into<String>) -> Self {
        Self { compensating: Some(label.into()), ..self }
    }
}

impl<D> Step<D> {
    /// Returns the function that makes the command of `action`.
    pub(super) fn command_of(&self, action: Action) -> Option<&MakeCommand<D>> {
        match action {
            Action::Execute => self.command.as_ref(),
            Action::Compensate => self.compensation.as_ref(),
        }
    }

    /// Returns the replies to `action`.
    pub(super) fn replies_to(&self, action: Action) -> &[Reaction<D>] {
        match action {
            Action::Execute => &self.replies,
            Action::Compensate => &self.compensation_replies,
        }
    }

    pub(crate) const fn has_compensation(&self) -> bool {
        self.compensation.is_some()
    }

    /// Returns whether a reply ends `action`.
    pub(crate) fn has_reply(&self, action: Action) -> bool {
        !self.replies_to(action).is_empty()
    }

    /// Returns how often `action` is attempted before the step is given up or held.
    pub(crate) fn max_attempts_of(&self, action: Action) -> u32 {
        if self.command_of(action).is_none() { 1 } else { self.max_attempts }
    }
}

fn making<D: 'static, C: Event + Serialize + DeserializeOwned>(
    command: impl Fn(&Instance<D>) -> C + Send + Sync + 'static,
) -> MakeCommand<D> {
    Box::new(move |instance| {
        let command = command(instance);
        Ok(Encoded {
            topic: C::TYPE,
            event_type: type_name::<C>(),
            key: command.key(),
            payload: Json.encode(&command)?,
        })
    })
}

impl<D> fmt::Debug for Step<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Step({})", self.name)
    }
}
