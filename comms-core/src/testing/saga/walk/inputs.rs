//! The inputs that are tried in a state.

use crate::{
    Message,
    saga::{Action, Definition, ForcedStatus, Input, Instance, Operation, StepStatus, TimerId},
};

/// An input, by the number of its event.
pub(super) enum Try {
    Event(usize),
    Timer(TimerId),
    Operation(Operation),
}

impl Try {
    pub(super) fn input<'a>(&self, events: &'a [Message]) -> Input<'a> {
        match self {
            Self::Event(number) => Input::Message(&events[*number]),
            Self::Timer(timer) => Input::Timer(timer.clone()),
            Self::Operation(operation) => Input::Operator(operation.clone()),
        }
    }

    pub(super) fn name(&self, events: &[Message]) -> String {
        match self {
            Self::Event(number) => events[*number].event_type().unwrap_or_default().to_owned(),
            Self::Timer(timer) => format!("timer {timer}"),
            Self::Operation(operation) => format!("{operation:?}"),
        }
    }
}

/// Returns every event, every timer that was ever set, and the operations.
pub(super) fn of<D>(definition: &Definition<D>, events: usize, instance: &Instance<D>) -> Vec<Try> {
    let mut tries: Vec<_> = (0..events).map(Try::Event).collect();
    for step in &instance.steps {
        for action in [Action::Execute, Action::Compensate] {
            for attempt in 1..=step.attempts_of(action) {
                let timer = |waiting| Try::Timer(TimerId::of(&step.name, action, attempt, waiting));
                tries.extend([false, true].map(timer));
            }
        }
    }
    tries.push(Try::Operation(Operation::Cancel { reason: "cancelled".into() }));
    let states = instance.steps.iter().zip(&definition.0.steps);
    let held: Vec<_> = states.filter(|(state, _)| state.status == StepStatus::Held).collect();
    // One retry of each hold, so that the search ends.
    let is_first = held.iter().all(|(state, step)| {
        state.action().is_some_and(|action| state.attempts_of(action) <= step.max_attempts_of(action))
    });
    if is_first && !held.is_empty() {
        tries.push(Try::Operation(Operation::Retry));
    }
    for (state, _) in held {
        for status in [ForcedStatus::Done, ForcedStatus::Failed, ForcedStatus::Compensated] {
            tries.push(Try::Operation(Operation::Force { step: state.name.clone(), status }));
        }
    }
    tries
}
