//! Attempts: the command with its time limit, and what follows an attempt that failed.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use super::Machine;
use crate::{
    Error,
    saga::{
        effect::{Command, Effect, TimerId},
        instance::{Action, StepState, StepStatus},
        step::Encoded,
    },
};

impl<D: Clone> Machine<'_, D> {
    /// Begins the next attempt at `action`: sends its command and sets its time limit.
    pub(super) fn attempt(&mut self, index: usize, action: Action) -> Result<(), Error> {
        let plan = self.plan;
        let definition = &plan.steps[index];
        let step = self.step(index);
        (step.waiting, step.reason) = (false, None);
        match action {
            Action::Execute => (step.status, step.attempts) = (StepStatus::Running, step.attempts + 1),
            Action::Compensate => {
                if step.compensations == 0 {
                    step.earlier_attempts = 0;
                }
                (step.status, step.compensations) = (StepStatus::Compensating, step.compensations + 1);
            }
        }
        if let Some(make) = definition.command_of(action) {
            let encoded =
                make(&self.saga).map_err(|e| e.context(format_args!("{action} {}", definition.name)))?;
            let command = self.identify(index, action, encoded);
            self.effects.push(Effect::Send(command));
        }
        // Nothing confirms the compensation: it is done with the commit of its command.
        if !definition.has_reply(action) {
            self.step(index).status = StepStatus::Compensated;
            return Ok(());
        }
        self.set_timer(index, action);
        Ok(())
    }

    /// Follows an attempt without a result, whose timer is gone: waits for the next attempt, holds the step, or gives the
    /// step up.
    pub(super) fn attempt_failed(&mut self, index: usize, action: Action, reason: &str) {
        let plan = self.plan;
        let definition = &plan.steps[index];
        let goes_back = self.saga.cause.is_some();
        let step = self.step(index);
        // The number of attempts may be another one than at the last attempt.
        let is_last = step.recent_attempts_of(action) >= definition.max_attempts_of(action);
        step.reason = Some(reason.to_owned());
        if !is_last && (action == Action::Compensate || !goes_back) {
            step.waiting = true;
            self.set_timer(index, action);
        } else if action == Action::Compensate || plan.is_held_if_unknown(index) {
            step.status = StepStatus::Held;
            let step = definition.name.clone();
            self.effects.push(Effect::Alarm { step, reason: reason.to_owned() });
        } else {
            step.status = StepStatus::Unknown;
            self.turn_back(Some(definition.name.clone()), reason);
        }
    }

    fn set_timer(&mut self, index: usize, action: Action) {
        let step = &self.saga.steps[index];
        let id = TimerId::of(&step.name, action, step.attempts_of(action), step.waiting);
        let wait = self.wait(index);
        self.effects.push(Effect::SetTimer(id, wait));
    }

    /// Returns the wait of the current timer of a step in progress: the backoff before the next attempt, or the time limit.
    pub(super) fn wait(&self, index: usize) -> Duration {
        let (definition, step) = (&self.plan.steps[index], &self.saga.steps[index]);
        match step.action().filter(|_| step.waiting) {
            None => definition.time_limit,
            Some(action) => definition.backoff.delay_at(step.recent_attempts_of(action), self.jitter(index)),
        }
    }

    fn identify(&self, index: usize, action: Action, encoded: Encoded) -> Command {
        let (definition, state) = (&self.plan.steps[index], &self.saga.steps[index]);
        let (name, attempt) = (&definition.name, state.attempts_of(action));
        let idempotency_key = format!("{}/{}/{name}/{action}", self.plan.name, self.saga.id);
        let Encoded { topic, event_type, key, payload } = encoded;
        Command {
            step: name.clone(),
            action,
            attempt,
            id: format!("{idempotency_key}/{attempt}"),
            idempotency_key,
            topic: definition.topic.clone().unwrap_or_else(|| topic.to_owned()),
            event_type,
            key,
            payload,
        }
    }

    /// Returns a number in `0.0..1.0` that differs between runs, so that runs that failed together do not retry
    /// together, and is the same if the transition is repeated.
    fn jitter(&self, index: usize) -> f64 {
        let mut hasher = DefaultHasher::new();
        let StepState { name, attempts, compensations, .. } = &self.saga.steps[index];
        (&self.saga.id, name, attempts, compensations).hash(&mut hasher);
        (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64
    }
}
