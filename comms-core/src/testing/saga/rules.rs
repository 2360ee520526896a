//! The promises that are checked in every state.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::Range,
};

use crate::{
    saga::{Action, Command, Definition, Effect, Instance, Phase, StepState, StepStatus, TimerId},
    testing::{Broken, check::ensure},
};

/// A state: the instance and the timers that are set.
pub(super) struct Node<D> {
    pub(super) instance: Instance<D>,
    pub(super) timers: BTreeSet<TimerId>,
}

/// Returns each promise about a change from `before` to `after`, and whether it holds. A run that starts has no
/// `before`.
pub(super) fn of<D: Clone>(
    definition: &Definition<D>,
    before: Option<&Instance<D>>,
    after: &Node<D>,
    effects: &[Effect],
) -> Vec<(bool, &'static str)> {
    let (instance, plan) = (&after.instance, &definition.0);
    let steps = &instance.steps;
    let (executions, compensations): (Vec<_>, Vec<_>) =
        effects.iter().filter_map(command).partition(|command| command.action == Action::Execute);

    let was_ended = before.is_some_and(Instance::is_ended);
    let is_next = |command: &&Command| is_next_attempt(command, before, instance);
    let are_next = executions.iter().chain(&compensations).all(is_next);
    let begins_again = !executions.is_empty() && instance.cause.is_some();
    let stay_undone = before.is_none_or(|before| before.steps.iter().zip(steps).all(stays_undone));
    let is_executing = steps.iter().any(|step| step.action() == Some(Action::Execute));
    let is_past_pivot = plan.pivot.is_some_and(|pivot| steps[pivot].status == StepStatus::Done);

    let is_undone = |index: usize| {
        let never_executed = matches!(steps[index].status, StepStatus::Failed | StepStatus::Skipped);
        never_executed
            || steps[index].status == StepStatus::Compensated
            || !plan.steps[index].has_compensation()
    };
    let is_last = |command: &&Command| {
        let is_own = |stage: &&Range<usize>| steps[(*stage).clone()].iter().any(|s| s.name == command.step);
        plan.stages.iter().find(is_own).is_some_and(|stage| (stage.end..steps.len()).all(is_undone))
    };
    // A later attempt does not wait: an observed event can have executed a later step since the first one.
    let in_reverse_order = compensations.iter().filter(|command| command.attempt == 1).all(is_last);

    let is_held = steps.iter().any(|step| step.status == StepStatus::Held);
    let newly_held = steps.iter().filter(|step| is_newly_held(step, before)).map(|step| step.name.as_str());
    let all_have_alarms = newly_held.eq(effects.iter().filter_map(alarm));
    let is_in_progress =
        |step: &&StepState| matches!(step.status, StepStatus::Running | StepStatus::Compensating);
    let all_have_timers = after.timers.len() == steps.iter().filter(is_in_progress).count();
    let timers: BTreeMap<_, _> = definition.timers(instance).unwrap_or_default().into_iter().collect();
    let is_own_wait = |effect: &Effect| match effect {
        Effect::SetTimer(timer, wait) => timers.get(timer) == Some(wait),
        _ => true,
    };
    let are_known = timers.keys().eq(&after.timers) && effects.iter().all(is_own_wait);
    let has_next = is_held || !after.timers.is_empty() || instance.is_ended();

    let all_done = steps.iter().all(|step| step.status == StepStatus::Done && step.compensations == 0);
    let is_complete = instance.phase != Phase::Completed || all_done;
    let is_clean = instance.phase != Phase::Failed || (0..steps.len()).all(is_undone);
    vec![
        (!was_ended, "a run that has ended does not change"),
        (are_next, "a command has the identity of the next attempt"),
        (!begins_again, "no step is executed while the run goes back"),
        (stay_undone, "a step whose compensation began is not executed or done again"),
        (compensations.is_empty() || !is_executing, "a compensation waits for the running steps"),
        (compensations.is_empty() || !is_past_pivot, "nothing is compensated after the pivot"),
        (in_reverse_order, "a compensation waits for those of later stages"),
        (all_have_alarms, "every hold has an alarm"),
        ((instance.phase == Phase::Held) == is_held, "the run is held if a step is"),
        (all_have_timers, "each step in progress has one timer, and no other step has one"),
        (are_known, "`Definition::timers` returns the timers that are set"),
        (has_next, "a run has a timer, is held, or has ended"),
        (is_complete, "a completed run has executed every step"),
        (is_clean, "a failed run leaves no executed step without its compensation"),
    ]
}

/// Checks that an event ends each step, and each compensation with a reply, with success.
pub(super) fn all_steps_end<D>(
    definition: &Definition<D>,
    reached: &HashSet<(String, Action)>,
) -> Result<(), Broken> {
    for step in &definition.0.steps {
        for action in [Action::Execute, Action::Compensate] {
            let ends = !step.has_reply(action) || reached.contains(&(step.name.clone(), action));
            let observed = format!("none ends `{action} {}`: add Exploration::event", step.name);
            ensure(ends, "the events end each step with success", observed)?;
        }
    }
    Ok(())
}

fn is_next_attempt<D>(command: &Command, before: Option<&Instance<D>>, after: &Instance<D>) -> bool {
    let Command { step, action, attempt, id, .. } = command;
    let begun = before.and_then(|before| before.step(step)).map_or(0, |step| step.attempts_of(*action));
    let expected = format!("{}/{}/{step}/{action}/{attempt}", after.saga, after.id);
    *attempt == begun + 1 && *id == expected && expected == format!("{}/{attempt}", command.idempotency_key)
}

fn stays_undone((before, after): (&StepState, &StepState)) -> bool {
    let is_going_back = after.action() == Some(Action::Compensate) || after.status == StepStatus::Compensated;
    before.compensations == 0 || is_going_back
}

fn is_newly_held<D>(step: &StepState, before: Option<&Instance<D>>) -> bool {
    let was_held =
        before.and_then(|before| before.step(&step.name)).is_some_and(|s| s.status == StepStatus::Held);
    step.status == StepStatus::Held && !was_held
}

fn command(effect: &Effect) -> Option<&Command> {
    match effect {
        Effect::Send(command) => Some(command),
        _ => None,
    }
}

fn alarm(effect: &Effect) -> Option<&str> {
    match effect {
        Effect::Alarm { step, .. } => Some(step),
        _ => None,
    }
}
