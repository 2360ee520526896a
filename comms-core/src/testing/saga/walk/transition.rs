//! One transition of a search, and its checks.

use std::collections::BTreeSet;

use serde::{Serialize, de::DeserializeOwned};

use super::{Walk, inputs::Try, json};
use crate::{
    Error, ErrorKind,
    saga::{Action, Effect, Instance, Operation, StepStatus, TimerId, Transition},
    testing::{
        Broken,
        saga::rules::{self, Node},
    },
};

impl<D: Clone + Serialize + DeserializeOwned> Walk<'_, D> {
    /// Returns the next state, or `None` if the input changes nothing.
    pub(super) fn apply(&mut self, node: &Node<D>, attempt: &Try) -> Result<Option<Node<D>>, Broken> {
        let input = attempt.input(&self.events);
        let transition = self.definition.transition(&node.instance, &input);
        let may_be_refused =
            matches!(attempt, Try::Operation(Operation::Cancel { .. } | Operation::Force { .. }));
        if may_be_refused && transition.as_ref().is_err_and(|error| error.kind == ErrorKind::Invalid) {
            return Ok(None);
        }
        let (transition, again) = (transition?, self.definition.transition(&node.instance, &input)?);
        let check = |holds, promise| self.check(holds, promise, &node.instance);
        let after = json(&transition.instance)?;
        check(
            transition.effects == again.effects && after == json(&again.instance)?,
            "a repeated transition is the same",
        )?;
        let is_timer = matches!(attempt, Try::Timer(_));
        let is_current = matches!(attempt, Try::Timer(timer) if node.timers.contains(timer));
        let is_retry = matches!(attempt, Try::Operation(Operation::Retry));
        if !transition.changed {
            check(!is_current && !is_retry, "a current timer and a retry change the run")?;
            let is_equal = transition.effects.is_empty() && after == json(&node.instance)?;
            check(is_equal, "an input that changes nothing has no effect")?;
            return Ok(None);
        }
        check(is_current || !is_timer, "a timer that is not current changes nothing")?;
        if matches!(attempt, Try::Event(_)) {
            self.reach(&node.instance, &transition.instance);
        }
        let mut timers = node.timers.clone();
        if let Try::Timer(timer) = attempt {
            timers.remove(timer);
        }
        self.node(Some((&node.instance, timers)), transition).map(Some)
    }

    /// Checks a transition and returns the state behind it. A run that starts has no state before, with the timers that
    /// are set.
    pub(super) fn node(
        &self,
        before: Option<(&Instance<D>, BTreeSet<TimerId>)>,
        transition: Transition<D>,
    ) -> Result<Node<D>, Broken> {
        let stored = json(&transition.instance)?;
        let instance: Instance<D> = serde_json::from_value(stored.clone()).map_err(Error::invalid)?;
        let check = |holds, promise| self.check(holds, promise, &transition.instance);
        check(json(&instance)? == stored, "an instance survives its JSON form")?;
        let (before, timers) = before.unzip();
        let mut timers = timers.unwrap_or_default();
        for effect in &transition.effects {
            match effect {
                Effect::SetTimer(id, _) => check(timers.insert(id.clone()), "a timer is set once")?,
                Effect::CancelTimer(id) => check(timers.remove(id), "a cancelled timer was set")?,
                Effect::Send(_) | Effect::Alarm { .. } => {}
            }
        }
        let node = Node { instance, timers };
        for (holds, promise) in rules::of(self.definition, before, &node, &transition.effects) {
            check(holds, promise)?;
        }
        Ok(node)
    }

    /// Records what an event has brought about.
    fn reach(&mut self, before: &Instance<D>, after: &Instance<D>) {
        for (before, after) in before.steps.iter().zip(&after.steps) {
            let action = match after.status {
                status if status == before.status => continue,
                StepStatus::Done => Action::Execute,
                StepStatus::Compensated => Action::Compensate,
                _ => continue,
            };
            self.reached.insert((after.name.clone(), action));
        }
    }
}
