//! The promises that are checked in every state.

use std::collections::{BTreeSet, HashSet};

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
pub(super) fn of<D>(
    definition: &Definition<D>,
    before: Option<&Instance<D>>,
    after: &Node<D>,
    effects: &[Effect],
) -> Vec<(bool, &'static str)> {
    let (instance, plan) = (&after.instance, &definition.0);
    let steps = &instance.steps;
    let commands = || effects.iter().filter_map(command);
    let has_compensation = |index: usize| plan.steps[index].has_compensation();
    let is_undone = |index: usize| {
        let never_executed = matches!(steps[index].status, StepStatus::Failed | StepStatus::Skipped);
        !has_compensation(index) || never_executed || steps[index].status == StepStatus::Compensated
    };
    let waits_for_later_stages = |command: &Command| {
        let stage =
            plan.stages.iter().find(|stage| steps[(*stage).clone()].iter().any(|s| s.name == command.step));
        stage.is_some_and(|stage| (stage.end..steps.len()).all(&is_undone))
    };
    let begins_again = |command: &Command| {
        let step = instance.step(&command.step);
        step.is_none_or(|step| step.compensations > 0) || instance.cause.is_some()
    };
    let is_executing = |step: &StepState| step.action() == Some(Action::Execute);
    let alarms: Vec<&str> = effects.iter().filter_map(alarm).collect();
    let in_progress =
        steps.iter().filter(|s| matches!(s.status, StepStatus::Running | StepStatus::Compensating));
    let is_held = steps.iter().any(|step| step.status == StepStatus::Held);
    let is_done = steps.iter().all(|step| step.status == StepStatus::Done && step.compensations == 0);
    let is_past_pivot = plan.pivot.is_some_and(|pivot| steps[pivot].status == StepStatus::Done);
    let compensates = |command: &Command| command.action == Action::Compensate;
    vec![
        (before.is_none_or(|before| !before.is_ended()), "a run that has ended does not change"),
        (
            commands().all(|command| is_next_attempt(command, before, instance)),
            "a command has the identity of the next attempt",
        ),
        (
            commands().filter(|command| !compensates(command)).all(|command| !begins_again(command)),
            "no step is executed while the run goes back",
        ),
        (
            before.is_none_or(|before| {
                before.steps.iter().zip(steps).all(|(before, after)| stays_undone(before, after))
            }),
            "a step whose compensation began is not executed or done again",
        ),
        (
            commands().filter(|command| compensates(command)).all(waits_for_later_stages),
            "a compensation waits for those of later stages",
        ),
        (
            commands().all(|command| !compensates(command)) || !steps.iter().any(is_executing),
            "a compensation waits for the running steps",
        ),
        (
            commands().all(|command| !compensates(command)) || !is_past_pivot,
            "nothing is compensated after the pivot",
        ),
        (
            steps
                .iter()
                .filter(|s| is_newly_held(s, before))
                .map(|s| s.name.as_str())
                .eq(alarms.iter().copied()),
            "every hold has an alarm",
        ),
        (
            after.timers.len() == in_progress.count(),
            "each step in progress has one timer, and no other step has one",
        ),
        ((instance.phase == Phase::Held) == is_held, "the run is held if a step is"),
        (
            instance.is_ended() || is_held || !after.timers.is_empty(),
            "a run has a timer, is held, or has ended",
        ),
        (instance.phase != Phase::Completed || is_done, "a completed run has executed every step"),
        (
            instance.phase != Phase::Failed || (0..steps.len()).all(is_undone),
            "a failed run leaves no executed step without its compensation",
        ),
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

fn stays_undone(before: &StepState, after: &StepState) -> bool {
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
