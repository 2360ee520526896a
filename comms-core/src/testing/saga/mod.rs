//! Sagas under test: one run step by step, and all runs of a definition.
//!
//! A [`SagaTest`] gives events, timers and operations to one run, and asserts its state and the commands that it sends.
//! An [`Exploration`] gives every input to every state that can be reached, and checks the promises of
//! [`saga`](crate::saga) in each.

mod explore;
mod explored;
mod rules;
mod walk;

pub use explore::Exploration;
pub use explored::Explored;

use serde::{Serialize, de::DeserializeOwned};

use super::harness::fail::{fail, numbered};
use crate::{
    Error,
    clock::Clock,
    event::{Event, EventSource},
    saga::{Command, Definition, Effect, Input, Instance, Operation, Phase, TimerId, Transition},
};

/// One run of a saga under test.
///
/// ```
/// use comms_core::{saga::{Definition, Phase, Reply, Step}, testing::SagaTest};
/// # use comms_core::event::Event;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Ship { order: String }
/// # impl Event for Ship {
/// #     const TYPE: &'static str = "ship";
/// #     const VERSION: u32 = 1;
/// #     fn key(&self) -> String { self.order.clone() }
/// # }
/// # let limit = std::time::Duration::from_secs(5);
/// let step = Step::<()>::command("shipping", |saga| Ship { order: saga.id.clone() })
///     .reply::<Ship>(|_, _| Reply::Done)
///     .time_limit(limit);
/// let definition = Definition::builder("order", 1).step(step).build()?;
/// SagaTest::start(&definition, "7", ())
///     .assert_sent(&["execute shipping"])
///     .event(&Ship { order: "7".into() })
///     .assert_phase(Phase::Completed);
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SagaTest<D> {
    definition: Definition<D>,
    last: Transition<D>,
    history: Vec<String>,
}

impl<D: Clone> SagaTest<D> {
    /// Starts a run.
    ///
    /// # Panics
    /// Panics if the definition refuses to start.
    #[must_use]
    #[track_caller]
    pub fn start(definition: &Definition<D>, id: &str, data: D) -> Self {
        let last = definition.start(id, data).unwrap_or_else(|error| fail(&error.chain().to_string()));
        Self { definition: definition.clone(), last, history: Vec::new() }
    }

    /// Continues a run from `instance`.
    #[must_use]
    pub fn given(definition: &Definition<D>, instance: Instance<D>) -> Self {
        let last = Transition { instance, effects: Vec::new(), changed: false };
        Self { definition: definition.clone(), last, history: Vec::new() }
    }

    /// Gives an event to the run.
    ///
    /// # Panics
    /// Panics if the run returns an error.
    #[track_caller]
    pub fn event<E: Event + Serialize + DeserializeOwned>(&mut self, event: &E) -> &mut Self {
        let message = peers().message(event).unwrap_or_else(|error| fail(&error.chain().to_string()));
        self.input(E::TYPE.to_owned(), &Input::Message(&message))
    }

    /// Lets a timer fire, such as `payment/execute/1/limit`. A timer that is not current changes nothing.
    ///
    /// # Panics
    /// Panics if the run returns an error.
    #[track_caller]
    pub fn timer(&mut self, id: &str) -> &mut Self {
        self.input(format!("timer {id}"), &Input::Timer(TimerId::from(id.to_owned())))
    }

    /// Performs an operation.
    ///
    /// # Panics
    /// Panics if the run refuses the operation.
    #[track_caller]
    pub fn operate(&mut self, operation: Operation) -> &mut Self {
        self.input(format!("{operation:?}"), &Input::Operator(operation))
    }

    /// Returns the error with which the run refuses an operation.
    ///
    /// # Panics
    /// Panics if the run performs the operation.
    #[track_caller]
    pub fn refused(&mut self, operation: Operation) -> Error {
        let result = self.definition.transition(&self.last.instance, &Input::Operator(operation.clone()));
        match result {
            Ok(_) => self.fail(&format!("{operation:?} is refused")),
            Err(error) => error,
        }
    }

    #[track_caller]
    fn input(&mut self, name: String, input: &Input<'_>) -> &mut Self {
        self.history.push(name);
        match self.definition.transition(&self.last.instance, input) {
            Ok(transition) => self.last = transition,
            Err(error) => self.fail(&format!("no error: {}", error.chain())),
        }
        self
    }
}

impl<D> SagaTest<D> {
    /// Returns the instance.
    #[must_use]
    pub const fn instance(&self) -> &Instance<D> {
        &self.last.instance
    }

    /// Returns the effects of the last input.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.last.effects
    }

    /// Checks the name of the state.
    ///
    /// # Panics
    /// Panics if the state has another name.
    #[track_caller]
    pub fn assert_state(&mut self, state: &str) -> &mut Self {
        self.check(self.last.instance.state == state, &format!("the state {state}"))
    }

    /// Checks the phase.
    ///
    /// # Panics
    /// Panics if the run is in another phase.
    #[track_caller]
    pub fn assert_phase(&mut self, phase: Phase) -> &mut Self {
        self.check(self.last.instance.phase == phase, &format!("the phase {phase:?}"))
    }

    /// Checks the commands that the last input sent, in order, each as `execute` or `compensate` and the name of the
    /// step.
    ///
    /// # Panics
    /// Panics if the commands differ.
    #[track_caller]
    pub fn assert_sent(&mut self, commands: &[&str]) -> &mut Self {
        let is_equal = sent(&self.last).map(describe).eq(commands.iter().copied());
        self.check(is_equal, &format!("the commands {commands:?}"))
    }

    /// Checks that the last input notified an operator of these steps, and of no other.
    ///
    /// # Panics
    /// Panics if the steps differ.
    #[track_caller]
    pub fn assert_alarms(&mut self, steps: &[&str]) -> &mut Self {
        let alarm = |effect: &Effect| match effect {
            Effect::Alarm { step, .. } => Some(step.clone()),
            _ => None,
        };
        let is_equal = self.last.effects.iter().filter_map(alarm).eq(steps.iter().copied());
        self.check(is_equal, &format!("alarms of {steps:?}"))
    }

    /// Checks that the last input changed nothing.
    ///
    /// # Panics
    /// Panics if the run changed.
    #[track_caller]
    pub fn assert_unchanged(&mut self) -> &mut Self {
        self.check(!self.last.changed, "no change")
    }

    #[track_caller]
    fn check(&mut self, holds: bool, expected: &str) -> &mut Self {
        if !holds {
            self.fail(expected);
        }
        self
    }

    #[track_caller]
    fn fail(&self, expected: &str) -> ! {
        let Instance { state, phase, steps, .. } = &self.last.instance;
        let (history, effects) = (numbered(self.history.iter().cloned()), &self.last.effects);
        let steps: Vec<_> = steps.iter().map(|step| (&step.name, step.status)).collect();
        fail(&format!(
            "expected {expected}\nobserved {state} ({phase:?}), steps {steps:?}\neffects of the last input: \
             {effects:#?}\ninputs:\n{history}"
        ))
    }
}

/// Returns the source of the events of other services.
fn peers() -> EventSource {
    EventSource::new("peers", Clock::system())
}

fn sent<D>(transition: &Transition<D>) -> impl Iterator<Item = &Command> {
    transition.effects.iter().filter_map(|effect| match effect {
        Effect::Send(command) => Some(command),
        _ => None,
    })
}

fn describe(command: &Command) -> String {
    format!("{} {}", command.action, command.step)
}
