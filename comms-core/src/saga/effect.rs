//! The result of a transition: the next state and the effects that a coordinator commits with it.

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::instance::{Action, Instance};
use crate::{Message, MessageParts, event::EventSource, wire};

/// The result of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition<D> {
    /// The next state.
    pub instance: Instance<D>,
    /// The effects, in their order. A coordinator commits them in one transaction with the instance.
    pub effects: Vec<Effect>,
    /// Whether the input changed the instance. If not, there are no effects and nothing to commit: the input was a
    /// duplicate, came too late, or belongs to another run.
    pub changed: bool,
}

/// What a coordinator does after a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Send a command to a participant.
    Send(Command),
    /// Return the timer as [`Input::Timer`](super::Input::Timer) after the duration.
    SetTimer(TimerId, Duration),
    /// Delete the timer. A coordinator may leave it: a timer that is not current changes nothing.
    CancelTimer(TimerId),
    /// Notify an operator: the step is held.
    Alarm {
        /// The step.
        step: String,
        /// The reason in words.
        reason: String,
    },
}

/// The command of one attempt at a step or its compensation.
///
/// Both identities follow from the run, the step and the attempt, so that a transition that is repeated after a crash
/// sends the same message again. An inbox discards the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// The step.
    pub step: String,
    /// Whether the command executes or compensates the step.
    pub action: Action,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The id of the message: `saga/instance/step/action/attempt`. A new attempt has a new id, so that the participant's
    /// inbox lets it pass and the participant replies again.
    pub id: String,
    /// The key under which the participant executes the operation at most once, equal for all attempts:
    /// `saga/instance/step/action`. The header `idempotency-key` of the message.
    pub idempotency_key: String,
    /// The topic.
    pub topic: String,
    /// The type of the command on the wire, such as `payment.request.v1`.
    pub event_type: String,
    /// The ordering key.
    pub key: String,
    /// The command in JSON.
    pub payload: Bytes,
}

impl Command {
    /// Returns the message that carries the command, with the name, the clock and the current context of `source`.
    ///
    /// ```
    /// # use comms_core::{Error, clock::Clock, event::{Event, EventSource}, saga::{Definition, Effect, Step}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Ship { order: String }
    /// # impl Event for Ship {
    /// #     const TYPE: &'static str = "ship";
    /// #     const VERSION: u32 = 1;
    /// #     fn key(&self) -> String { self.order.clone() }
    /// # }
    /// # fn main() -> Result<(), Error> {
    /// # let step = Step::<()>::command("shipping", |saga| Ship { order: saga.id.clone() })
    /// #     .reply::<Ship>(|_, _| comms_core::saga::Reply::Done).time_limit(Duration::from_secs(5));
    /// # let definition = Definition::builder("order", 1).step(step).build()?;
    /// let transition = definition.start("7", ())?;
    /// let Some(Effect::Send(command)) = transition.effects.first() else { unreachable!() };
    /// let message = command.message(&EventSource::new("order-service", Clock::system()));
    /// assert_eq!((message.topic(), message.id()), ("ship", "order/7/shipping/execute/1"));
    /// assert_eq!(message.headers().text("idempotency-key"), Some("order/7/shipping/execute"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn message(&self, source: &EventSource) -> Message {
        let mut headers = source.headers(&self.event_type, "application/json");
        headers.append(wire::IDEMPOTENCY_KEY, &self.idempotency_key);
        Message::new(MessageParts {
            source: source.name(),
            id: &self.id,
            topic: &self.topic,
            key: Some(self.key.as_bytes()),
            headers: headers.view(),
            payload: Some(&self.payload),
        })
    }
}

/// The name of a timer, unique within a run: `step/action/attempt/limit` for the time limit of an attempt, and
/// `step/action/attempt/retry` for the wait before the next one.
///
/// A step has at most one current timer. A timer of an earlier attempt, or one that fires twice, changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimerId(String);

impl TimerId {
    pub(crate) fn of(step: &str, action: Action, attempt: u32, waiting: bool) -> Self {
        let kind = if waiting { "retry" } else { "limit" };
        Self(format!("{step}/{action}/{attempt}/{kind}"))
    }

    /// Returns the name as text, for a column of a table.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for TimerId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
