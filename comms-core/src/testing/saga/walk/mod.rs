//! The search through all states of a definition.

mod inputs;
mod transition;

use std::collections::{BTreeMap, HashSet};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    explored::Explored,
    rules::{self, Node},
};
use crate::{
    Error, Message,
    saga::{Action, Definition, Instance, Transition},
    testing::{Broken, check::ensure},
};
use inputs::Try;

/// A state on the current path.
struct Visit<D> {
    node: Node<D>,
    key: String,
    /// The inputs that are left to try.
    tries: std::vec::IntoIter<Try>,
    /// The number of paths to an end that were found.
    paths: u128,
}

/// Where an input leads.
enum Next<D> {
    New(Node<D>, String),
    /// To a state with so many paths to an end, or nowhere.
    Counted(u128),
}

pub(super) struct Walk<'a, D> {
    definition: &'a Definition<D>,
    events: Vec<Message>,
    max_states: usize,
    explored: Explored,
    /// The number of paths from each visited state to an end. `None` for the states on the current path.
    paths: BTreeMap<String, Option<u128>>,
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
        let node = self.node(None, start)?;
        self.explored.paths = self.search(node)?;
        rules::all_steps_end(self.definition, &self.reached)?;
        Ok(self.explored)
    }

    /// Searches depth first from `start`. Returns the number of paths to an end.
    fn search(&mut self, start: Node<D>) -> Result<u128, Broken> {
        let key = key(&start.instance)?;
        let mut path = vec![self.enter(start, key)?];
        while let Some(visit) = path.last_mut() {
            if let Some(attempt) = visit.tries.next() {
                self.trail.push(attempt.name(&self.events));
                match self.follow(&visit.node, &attempt)? {
                    Next::New(node, key) => path.push(self.enter(node, key)?),
                    Next::Counted(paths) => {
                        visit.paths = visit.paths.saturating_add(paths);
                        self.trail.pop();
                    }
                }
                continue;
            }
            let Visit { node, key, paths, .. } = visit;
            self.check(*paths > 0, "every run ends", &node.instance)?;
            let paths = *paths;
            self.paths.insert(std::mem::take(key), Some(paths));
            self.trail.pop();
            path.pop();
            match path.last_mut() {
                Some(parent) => parent.paths = parent.paths.saturating_add(paths),
                None => return Ok(paths),
            }
        }
        Ok(0)
    }

    /// Begins the visit of a state that was not visited before.
    fn enter(&mut self, node: Node<D>, key: String) -> Result<Visit<D>, Broken> {
        self.explored.count(node.instance.phase);
        ensure(self.explored.states <= self.max_states, "there are at most `max_states` states", "more")?;
        self.paths.insert(key.clone(), None);
        let (tries, paths) = (
            inputs::of(self.definition, self.events.len(), &node.instance).into_iter(),
            u128::from(node.instance.is_ended()),
        );
        Ok(Visit { node, key, tries, paths })
    }

    /// Gives an input to a state.
    fn follow(&mut self, node: &Node<D>, attempt: &Try) -> Result<Next<D>, Broken> {
        let Some(next) = self.apply(node, attempt)? else { return Ok(Next::Counted(0)) };
        self.explored.transitions += 1;
        let key = key(&next.instance)?;
        match self.paths.get(&key) {
            Some(Some(paths)) => Ok(Next::Counted(*paths)),
            Some(None) => {
                self.check(false, "a run does not return to an earlier state", &next.instance)?;
                Ok(Next::Counted(0))
            }
            None => Ok(Next::New(next, key)),
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
