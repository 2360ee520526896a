//! The runner of a table of behaviour.

use comms_core::{
    saga::{Action, Definition, Effect, ForcedStatus, Input, Operation, Phase},
    testing::{Exploration, Explored, SagaTest},
};

use crate::participants::{Answered, Data, RUN};

/// Inputs of a run with the commands that each of them sends, such as `execute a, compensate b`. An input that changes
/// nothing is `ignored`, and an operation that the run does not allow is `refused`.
///
/// The inputs: `STEP done`, `STEP failed`, `STEP undone`, `STEP not-undone`, the same after `other-run`, `timer NAME`,
/// `cancel`, `retry`, and `force STEP STATUS`.
type Inputs = &'static [(&'static str, &'static str)];

/// A behaviour: the inputs of one run, and what follows.
pub(crate) struct Row {
    behaviour: &'static str,
    run: Inputs,
    state: &'static str,
    phase: Phase,
    /// The step that turned the run back: empty for a run that goes forward, and `cancel` for a cancelled run.
    cause: &'static str,
    /// The alarms of the whole run.
    alarms: &'static [&'static str],
}

impl Row {
    /// The run goes forward to its end.
    pub(crate) const fn completed(behaviour: &'static str, run: Inputs) -> Self {
        Self::at(behaviour, "Completed", Phase::Completed, run)
    }

    /// The run goes back because of the step `cause` to its end.
    pub(crate) const fn failed(behaviour: &'static str, cause: &'static str, run: Inputs) -> Self {
        Self::at(behaviour, "Failed", Phase::Failed, run).because(cause)
    }

    /// The run has not ended.
    pub(crate) const fn at(behaviour: &'static str, state: &'static str, phase: Phase, run: Inputs) -> Self {
        Self { behaviour, run, state, phase, cause: "", alarms: &[] }
    }

    pub(crate) const fn because(self, cause: &'static str) -> Self {
        Self { cause, ..self }
    }

    pub(crate) const fn alarms(self, alarms: &'static [&'static str]) -> Self {
        Self { alarms, ..self }
    }
}

/// Runs each row from the start of a run, which sends `start`. The process is restarted before each input.
pub(crate) fn check(definition: &Definition<Data>, start: &str, rows: &[Row]) {
    for Row { behaviour, run, state, phase, cause, alarms } in rows {
        let mut saga = SagaTest::start(definition, RUN, Data::default());
        assert_eq!(sent(&saga), start, "{behaviour}: start");
        let mut raised = Vec::new();
        for (input, expected) in *run {
            let json = serde_json::to_string(saga.instance()).unwrap();
            saga = SagaTest::given(definition, serde_json::from_str(&json).unwrap());
            let mut repeated = saga.clone();
            let observed = give(definition, &mut saga, input);
            assert_eq!(observed, *expected, "{behaviour}: {input} in {:#?}", saga.instance());
            give(definition, &mut repeated, input);
            assert_eq!(saga.effects(), repeated.effects(), "{behaviour}: {input} after a crash");
            raised.extend(saga.effects().iter().filter_map(alarm));
        }
        let instance = saga.instance();
        let turned_back =
            instance.cause.as_ref().map_or("", |cause| cause.step.as_deref().unwrap_or("cancel"));
        assert_eq!(
            (instance.state.as_str(), instance.phase, turned_back),
            (*state, *phase, *cause),
            "{behaviour}"
        );
        assert_eq!(raised, *alarms, "{behaviour}");
    }
}

/// Explores every run of `definition` with success and failure of each step and each compensation.
pub(crate) fn explore(definition: &Definition<Data>) -> Explored {
    let started = definition.start(RUN, Data::default()).unwrap().instance;
    let mut exploration = Exploration::new(definition, RUN, Data::default());
    for step in &started.steps {
        for action in [Action::Execute, Action::Compensate] {
            for succeeded in [true, false] {
                exploration = exploration.event(&Answered::new(&step.name, action, succeeded));
            }
        }
    }
    exploration.run().unwrap()
}

/// Gives one input to the run and returns its result as in a row.
fn give(definition: &Definition<Data>, saga: &mut SagaTest<Data>, input: &str) -> String {
    let before = saga.instance().clone();
    let words: Vec<_> = input.split(' ').collect();
    let operation = match words[..] {
        ["cancel"] => Some(Operation::Cancel { reason: "changed mind".into() }),
        ["retry"] => Some(Operation::Retry),
        ["force", step, status] => Some(Operation::Force { step: step.into(), status: forced(status) }),
        _ => None,
    };
    match (words.as_slice(), operation) {
        (_, Some(operation)) => {
            if definition.transition(&before, &Input::Operator(operation.clone())).is_err() {
                return "refused".into();
            }
            saga.operate(operation);
        }
        (["timer", name], _) => {
            saga.timer(name);
        }
        (["other-run", step, result], _) => {
            saga.event(&Answered { run: "8".into(), ..answer(step, result) });
        }
        ([step, result], _) => {
            saga.event(&answer(step, result));
        }
        _ => panic!("unknown input: {input}"),
    }
    if *saga.instance() == before { "ignored".into() } else { sent(saga) }
}

fn answer(step: &str, result: &str) -> Answered {
    let (action, succeeded) = match result {
        "done" => (Action::Execute, true),
        "failed" => (Action::Execute, false),
        "undone" => (Action::Compensate, true),
        "not-undone" => (Action::Compensate, false),
        _ => panic!("unknown result: {result}"),
    };
    Answered::new(step, action, succeeded)
}

fn forced(status: &str) -> ForcedStatus {
    match status {
        "done" => ForcedStatus::Done,
        "failed" => ForcedStatus::Failed,
        "compensated" => ForcedStatus::Compensated,
        _ => panic!("unknown status: {status}"),
    }
}

fn sent(saga: &SagaTest<Data>) -> String {
    let command = |effect: &Effect| match effect {
        Effect::Send(command) => Some(format!("{} {}", command.action, command.step)),
        _ => None,
    };
    saga.effects().iter().filter_map(command).collect::<Vec<_>>().join(", ")
}

fn alarm(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Alarm { step, .. } => Some(step.clone()),
        _ => None,
    }
}
