//! Random runs against participants that lose, repeat, delay and refuse: money is neither lost nor taken twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::data::{Did, ID, Order, Undid, payment, step, undoable};
use crate::{
    Message,
    clock::Clock,
    event::EventSource,
    saga::{
        Action, Command, Definition, Effect, ForcedStatus, Input, Instance, Operation, Phase, StepStatus,
        TimerId, Transition,
    },
};

fn definition() -> Definition<Order> {
    Definition::builder("order", 1)
        .parallel([payment(), undoable::<'I'>("inventory")])
        .step(step::<'S'>("shipping").pivot())
        .step(step::<'X'>("mail"))
        .build()
        .unwrap()
}

/// What a participant has done under one idempotency key of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    Executed,
    Refused,
    Undone,
}

/// The saga, its participants, and what is between them.
struct World {
    definition: Definition<Order>,
    saga: Instance<Order>,
    timers: BTreeSet<TimerId>,
    /// The commands of each topic, in order.
    commands: BTreeMap<String, VecDeque<Command>>,
    replies: Vec<Message>,
    ledger: BTreeMap<String, Record>,
    /// The payload of each message id that was sent.
    sent: BTreeMap<String, Command>,
}

impl World {
    fn new() -> Self {
        let definition = definition();
        let Transition { instance, effects, .. } = definition.start(ID, Order::default()).unwrap();
        let (timers, commands, replies) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        let (ledger, sent) = (BTreeMap::new(), BTreeMap::new());
        let mut world = Self { definition, saga: instance, timers, commands, replies, ledger, sent };
        world.commit(effects);
        world
    }

    fn input(&mut self, input: &Input<'_>) {
        let Ok(transition) = self.definition.transition(&self.saga, input) else { return };
        // A crash before the commit: the same input comes again.
        assert_eq!(self.definition.transition(&self.saga, input).unwrap(), transition);
        assert!(transition.changed || transition.effects.is_empty());
        self.saga = transition.instance;
        self.commit(transition.effects);
    }

    fn commit(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(command) => {
                    assert!(
                        self.sent.insert(command.id.clone(), command.clone()).is_none(),
                        "sent twice: {command:?}"
                    );
                    self.commands.entry(command.topic.clone()).or_default().push_back(command);
                }
                Effect::SetTimer(id, _) => drop(self.timers.insert(id)),
                Effect::CancelTimer(id) => drop(self.timers.remove(&id)),
                Effect::Alarm { .. } => {}
            }
        }
    }

    /// Delivers the oldest command of a topic. The participant executes a key at most once and replies each time.
    fn deliver(&mut self, pick: usize, succeeds: bool, repeat: bool) {
        let mut queues: Vec<_> = self.commands.values_mut().filter(|queue| !queue.is_empty()).collect();
        if queues.is_empty() {
            return;
        }
        let count = queues.len();
        let queue = &mut queues[pick % count];
        let Some(command) = queue.front().cloned() else { return };
        if !repeat {
            queue.pop_front();
        }
        let record = self.ledger.get(&command.step).copied();
        let done = match (command.action, record) {
            (Action::Execute, None) => {
                let record = if succeeds { Record::Executed } else { Record::Refused };
                self.ledger.insert(command.step.clone(), record);
                succeeds
            }
            (Action::Execute, Some(record)) => record == Record::Executed,
            (Action::Compensate, Some(Record::Undone)) => true,
            (Action::Compensate, _) if succeeds => {
                self.ledger.insert(command.step.clone(), Record::Undone);
                true
            }
            (Action::Compensate, _) => false,
        };
        self.replies.push(reply(&command, done));
    }

    fn reply(&mut self, pick: usize, repeat: bool) {
        if self.replies.is_empty() {
            return;
        }
        let at = pick % self.replies.len();
        let message = if repeat { self.replies[at].clone() } else { self.replies.swap_remove(at) };
        self.input(&Input::Message(&message));
    }

    fn fire(&mut self, pick: usize) {
        let Some(timer) = self.timers.iter().nth(pick % self.timers.len().max(1)).cloned() else { return };
        self.timers.remove(&timer);
        self.input(&Input::Timer(timer));
    }

    /// Sets the results of the held steps: an operator looks at the participant's data, or completes the work there.
    fn repair(&mut self) {
        let held = self.saga.steps.iter().filter(|step| step.status == StepStatus::Held);
        let held: Vec<_> = held.map(|step| (step.name.clone(), step.action())).collect();
        for (step, action) in held {
            let (record, status) = match (action, step.as_str(), self.ledger.get(&step)) {
                (Some(Action::Compensate), ..) => (Record::Undone, ForcedStatus::Compensated),
                (_, "shipping", None | Some(Record::Refused)) => (Record::Refused, ForcedStatus::Failed),
                _ => (Record::Executed, ForcedStatus::Done),
            };
            self.ledger.insert(step.clone(), record);
            self.input(&Input::Operator(Operation::Force { step, status }));
        }
    }

    /// Lets everything arrive until the run ends.
    fn drain(&mut self) {
        for round in 0.. {
            assert!(round < 1_000, "the run does not end: {:?}", self.saga);
            if self.saga.is_ended() {
                return;
            }
            self.deliver(round, true, false);
            self.reply(round, false);
            if self.commands.values().all(VecDeque::is_empty) && self.replies.is_empty() {
                self.fire(round);
                self.repair();
            }
        }
    }

    fn has(&self, step: &str) -> bool {
        self.ledger.get(step) == Some(&Record::Executed)
    }
}

fn reply(command: &Command, done: bool) -> Message {
    let (peers, id) = (EventSource::new("peers", Clock::system()), ID.to_owned());
    let message = match (command.step.as_str(), command.action) {
        ("payment", Action::Execute) => peers.message(&Did::<'P'>(id, done)),
        ("payment", Action::Compensate) => peers.message(&Undid::<'P'>(id, done)),
        ("inventory", Action::Execute) => peers.message(&Did::<'I'>(id, done)),
        ("inventory", Action::Compensate) => peers.message(&Undid::<'I'>(id, done)),
        ("shipping", _) => peers.message(&Did::<'S'>(id, done)),
        _ => peers.message(&Did::<'X'>(id, done)),
    };
    message.unwrap()
}

proptest! {
    #[test]
    fn random_runs_end_with_everything_executed_or_nothing_left(
        inputs in proptest::collection::vec((0u8..14, any::<usize>(), any::<bool>()), 0..120)
    ) {
        let mut world = World::new();
        for (kind, pick, succeeds) in inputs {
            match kind {
                0..=2 => world.deliver(pick, succeeds, false),
                3 => world.deliver(pick, true, true),
                4..=6 => world.reply(pick, false),
                7 => world.reply(pick, true),
                8 => drop(world.commands.values_mut().nth(pick % 4).and_then(VecDeque::pop_front)),
                9 => drop(world.replies.pop()),
                10 | 11 => world.fire(pick),
                12 if pick % 8 == 0 => world.input(&Input::Operator(Operation::Cancel { reason: "random".into() })),
                12 => world.input(&Input::Operator(Operation::Retry)),
                _ => world.repair(),
            }
        }
        world.drain();
        // What is still in the topics arrives after the end.
        while world.commands.values().any(|queue| !queue.is_empty()) {
            world.deliver(0, true, false);
        }
        let steps = ["payment", "inventory", "shipping", "mail"];
        match world.saga.phase {
            Phase::Completed => prop_assert!(steps.iter().all(|step| world.has(step)), "{:?}", world.ledger),
            _ => prop_assert!(!steps.iter().any(|step| world.has(step)), "{:?}", world.ledger),
        }
        let keys: BTreeSet<_> = world.sent.values().map(|command| &command.idempotency_key).collect();
        let actions: BTreeSet<_> = world.sent.values().map(|c| (&c.step, c.action.to_string())).collect();
        prop_assert_eq!(keys.len(), actions.len());
    }
}
