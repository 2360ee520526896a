//! The search through all states of a definition.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    explore::Explored,
    rules::{self, Node},
};
use crate::{
    Error, ErrorKind, Message,
    saga::{
        Action, Definition, Effect, Input, Instance, Operation, Outcome, Phase, StepStatus, TimerId,
        Transition,
    },
    testing::{Broken, check::ensure},
};

/// An input, by the number of its event.
#[derive(Debug)]
enum Try {
    Event(usize),
    Timer(TimerId),
    Operation(Operation),
}

pub(super) struct Walk<'a, D> {
    definition: &'a Definition<D>,
    events: Vec<Message>,
    max_states: usize,
    explored: Explored,
    /// The number of paths from each visited state to an end.
    paths: BTreeMap<String, u128>,
    /// The inputs that lead to the current state.
    trail: Vec<String>,
    /// What an event has brought about: a step, and whether it was executed or compensated.
    reached: HashSet<(String, Action)>,
}

impl<'a, D: Clone + Serialize + DeserializeOwned> Walk<'a, D> {
    pub(super) fn new(definition: &'a Definition<D>, events: Vec<Message>, max_states: usize) -> Self {
        let (explored, paths, trail) = (Explored::default(), BTreeMap::new(), Vec::new());
        Self { definition, events, max_states, explored, paths, trail, reached: HashSet::new() }
    }

    pub(super) fn run(mut self, start: Transition<D>) -> Result<Explored, Broken> {
        let node = self.next(None, start)?;
        self.explored.paths = self.visit(&node)?;
        rules::all_steps_end(self.definition, &self.reached)?;
        Ok(self.explored)
    }

    /// Visits a state and all that follow it. Returns the number of paths to an end.
    ///
    /// The search ends because every change brings a step forward or counts an attempt, and attempts are bounded.
    fn visit(&mut self, node: &Node<D>) -> Result<u128, Broken> {
        let key = key(&node.instance)?;
        if let Some(paths) = self.paths.get(&key) {
            return Ok(*paths);
        }
        self.explored.count(node.instance.phase);
        ensure(self.explored.states <= self.max_states, "there are at most `max_states` states", "more")?;
        let mut paths: u128 = u128::from(node.instance.is_ended());
        for attempt in self.tries(&node.instance) {
            self.trail.push(self.name(&attempt));
            if let Some(next) = self.apply(node, &attempt)? {
                self.explored.transitions += 1;
                paths = paths.saturating_add(self.visit(&next)?);
            }
            self.trail.pop();
        }
        self.check(paths > 0, "every run ends", &node.instance)?;
        self.paths.insert(key, paths);
        Ok(paths)
    }

    /// Returns the inputs to try: every event, every timer that was ever set, and the operations.
    fn tries(&self, instance: &Instance<D>) -> Vec<Try> {
        let mut tries: Vec<_> = (0..self.events.len()).map(Try::Event).collect();
        for (step, action) in
            instance.steps.iter().flat_map(|s| [(s, Action::Execute), (s, Action::Compensate)])
        {
            let timers = (1..=step.attempts_of(action)).flat_map(|attempt| {
                [false, true].map(|waiting| TimerId::of(&step.name, action, attempt, waiting))
            });
            tries.extend(timers.map(Try::Timer));
        }
        tries.push(Try::Operation(Operation::Cancel { reason: "cancelled".into() }));
        let held = instance.steps.iter().zip(&self.definition.0.steps);
        let held: Vec<_> = held.filter(|(state, _)| state.status == StepStatus::Held).collect();
        // One retry of each hold, so that the search ends.
        let is_first = held.iter().all(|(state, step)| {
            state.action().is_some_and(|action| state.attempts_of(action) <= step.max_attempts_of(action))
        });
        if is_first && !held.is_empty() {
            tries.push(Try::Operation(Operation::Retry));
        }
        for (state, _) in held {
            for outcome in [Outcome::Done, Outcome::Failed, Outcome::Compensated] {
                tries.push(Try::Operation(Operation::Force { step: state.name.clone(), outcome }));
            }
        }
        tries
    }

    /// Returns the next state, or `None` if the input changes nothing.
    fn apply(&mut self, node: &Node<D>, attempt: &Try) -> Result<Option<Node<D>>, Broken> {
        let input = match attempt {
            Try::Event(number) => Input::Message(&self.events[*number]),
            Try::Timer(timer) => Input::Timer(timer.clone()),
            Try::Operation(operation) => Input::Operator(operation.clone()),
        };
        let transition = match (attempt, self.definition.transition(&node.instance, &input)) {
            (Try::Operation(Operation::Cancel { .. } | Operation::Force { .. }), Err(e))
                if e.kind == ErrorKind::Invalid =>
            {
                return Ok(None);
            }
            (_, transition) => transition?,
        };
        let again = self.definition.transition(&node.instance, &input)?;
        let is_equal =
            again.effects == transition.effects && json(&again.instance)? == json(&transition.instance)?;
        self.check(is_equal, "a repeated transition is the same", &node.instance)?;
        let is_current = matches!(attempt, Try::Timer(timer) if node.timers.contains(timer));
        let is_retry = matches!(attempt, Try::Operation(Operation::Retry));
        let must_change = is_current || is_retry;
        self.check(
            transition.changed || !must_change,
            "a current timer and a retry change the run",
            &node.instance,
        )?;
        if !transition.changed {
            let is_equal =
                json(&transition.instance)? == json(&node.instance)? && transition.effects.is_empty();
            self.check(is_equal, "an input that changes nothing has no effect", &node.instance)?;
            return Ok(None);
        }
        let may_change = is_current || !matches!(attempt, Try::Timer(_));
        self.check(may_change, "a timer that is not current changes nothing", &node.instance)?;
        if matches!(attempt, Try::Event(_)) {
            self.reach(&node.instance, &transition.instance);
        }
        let mut timers = node.timers.clone();
        if let Try::Timer(timer) = attempt {
            timers.remove(timer);
        }
        self.next(Some(Node { instance: node.instance.clone(), timers }), transition).map(Some)
    }

    /// Checks a transition from `before`, whose fired timer is removed, and returns the state behind it.
    fn next(&self, before: Option<Node<D>>, transition: Transition<D>) -> Result<Node<D>, Broken> {
        let stored = json(&transition.instance)?;
        let instance: Instance<D> = serde_json::from_value(stored.clone()).map_err(Error::invalid)?;
        self.check(json(&instance)? == stored, "an instance survives its JSON form", &instance)?;
        let (before, mut timers) = match before {
            Some(node) => (Some(node.instance), node.timers),
            None => (None, BTreeSet::new()),
        };
        for effect in &transition.effects {
            match effect {
                Effect::SetTimer(id, _) => {
                    self.check(timers.insert(id.clone()), "a timer is set once", &instance)?
                }
                Effect::CancelTimer(id) => {
                    self.check(timers.remove(id), "a cancelled timer was set", &instance)?
                }
                Effect::Send(_) | Effect::Alarm { .. } => {}
            }
        }
        let node = Node { instance, timers };
        for (holds, promise) in rules::of(self.definition, before.as_ref(), &node, &transition.effects) {
            self.check(holds, promise, &node.instance)?;
        }
        Ok(node)
    }

    fn reach(&mut self, before: &Instance<D>, after: &Instance<D>) {
        for (before, after) in before.steps.iter().zip(&after.steps) {
            match after.status {
                status if status == before.status => {}
                StepStatus::Done => drop(self.reached.insert((after.name.clone(), Action::Execute))),
                StepStatus::Compensated => {
                    drop(self.reached.insert((after.name.clone(), Action::Compensate)))
                }
                _ => {}
            }
        }
    }

    fn name(&self, attempt: &Try) -> String {
        match attempt {
            Try::Event(number) => self.events[*number].event_type().unwrap_or_default().to_owned(),
            Try::Timer(timer) => format!("timer {timer}"),
            Try::Operation(operation) => format!("{operation:?}"),
        }
    }

    fn check(&self, holds: bool, promise: &str, instance: &Instance<D>) -> Result<(), Broken> {
        if holds {
            return Ok(());
        }
        let steps: Vec<_> =
            instance.steps.iter().map(|step| format!("{} {:?}", step.name, step.status)).collect();
        let (phase, steps, trail) = (instance.phase, steps.join(", "), self.trail.join(", "));
        Err(Broken::new(promise, format!("{phase:?} with {steps}, after: start, {trail}")))
    }
}

impl Explored {
    fn count(&mut self, phase: Phase) {
        self.states += 1;
        match phase {
            Phase::Completed => self.completed += 1,
            Phase::Failed => self.failed += 1,
            Phase::Held => self.held += 1,
            Phase::Running | Phase::Compensating => {}
        }
    }
}

/// Returns the instance without what does not decide about the next states.
fn key<D: Clone + Serialize>(instance: &Instance<D>) -> Result<String, Error> {
    let mut instance = instance.clone();
    for step in &mut instance.steps {
        let action = step.action();
        step.reason = None;
        step.attempts = if action == Some(Action::Execute) { step.attempts } else { 0 };
        step.compensations = if action == Some(Action::Compensate) { step.compensations } else { 0 };
    }
    if let Some(cause) = &mut instance.cause {
        cause.reason.clear();
    }
    Ok(json(&instance)?.to_string())
}

fn json<D: Serialize>(instance: &Instance<D>) -> Result<serde_json::Value, Error> {
    serde_json::to_value(instance).map_err(Error::invalid)
}
