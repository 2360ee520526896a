//! Any course of events: every delivery is settled once, keys keep their order, and nothing is left.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::transport::AttemptConfig;

#[derive(Debug, Clone)]
enum Step {
    Push { key: Option<u8>, plans: Vec<Plan> },
    Poll,
    Open,
    Advance(u64),
    Release(u8),
    Stop,
    Flush,
}

fn plan() -> impl Strategy<Value = Plan> {
    let kind =
        || prop::sample::select(ErrorKind::ALL.to_vec()).prop_filter("stops", |k| *k != ErrorKind::Fatal);
    prop_oneof![
        4 => Just(Plan::Done),
        3 => Just(Plan::Wait),
        3 => kind().prop_map(Plan::Err),
        2 => kind().prop_map(Plan::WaitAndFail),
        1 => Just(Plan::WaitAndPanicInDrop),
        1 => Just(Plan::NotReady),
        1 => Just(Plan::Stuck),
        1 => Just(Plan::PanicInCall),
        1 => Just(Plan::PanicInPoll),
        1 => Just(Plan::PanicInDrop),
        1 => kind().prop_map(Plan::FailBatch),
        1 => kind().prop_map(Plan::WaitAndFailBatch),
        1 => Just(Plan::Err(ErrorKind::Fatal)).boxed().prop_filter("rare", |_| true),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop::option::weighted(0.9, 0u8..4);
    prop_oneof![
        12 => (key, prop::collection::vec(plan(), 0..4)).prop_map(|(key, plans)| Step::Push { key, plans }),
        5 => Just(Step::Poll),
        3 => Just(Step::Open),
        3 => (1u64..40_000).prop_map(Step::Advance),
        1 => (0u8..4).prop_map(Step::Release),
        1 => Just(Step::Flush),
    ]
}

/// Some courses end with a stop.
fn course() -> impl Strategy<Value = Vec<Step>> {
    (prop::collection::vec(step(), 0..60), prop::option::weighted(0.3, prop::collection::vec(step(), 0..10)))
        .prop_map(|(mut steps, after)| {
            if let Some(after) = after {
                steps.push(Step::Stop);
                steps.extend(after);
            }
            steps
        })
}

fn name(key: u8) -> String {
    format!("k{key}")
}

/// What was pushed and settled.
#[derive(Default)]
struct Books {
    keys: BTreeMap<u64, Option<u8>>,
    settled: BTreeMap<u64, String>,
}

impl Books {
    fn settle(&mut self, settled: &str) {
        let (tag, result) = settled.split_once(' ').unwrap();
        let before = self.settled.insert(tag.parse().unwrap(), result.to_owned());
        assert_eq!(before, None, "{tag} is settled twice");
    }

    /// The calls of a key are in the order of its tags, and a delivery that did not run was not called.
    fn check(&self, calls: &[u64]) {
        let mut last = BTreeMap::new();
        for tag in calls {
            if let Some(Some(key)) = self.keys.get(tag) {
                let before = last.insert(key, tag);
                assert!(before.is_none_or(|before| before <= tag), "{tag} was called after {before:?}");
            }
        }
        let called: BTreeSet<_> = calls.iter().collect();
        for (tag, result) in &self.settled {
            match result.as_str() {
                "behind" => assert!(!called.contains(tag), "{tag} ran, though its key is blocked"),
                "abandoned" => {}
                _ => assert!(
                    called.contains(tag) || result.starts_with("held"),
                    "{tag} {result} without a call"
                ),
            }
        }
    }

    /// Each delivery that is done has had its effect once, and the effects of a key are in the order of its tags.
    fn check_effects(&self, effects: &[u64]) {
        let mut last = BTreeMap::new();
        for tag in effects {
            if let Some(Some(key)) = self.keys.get(tag) {
                let before = last.insert(key, tag);
                assert!(before.is_none_or(|before| before < tag), "the effect of {tag} is after {before:?}");
            }
        }
        let once: BTreeSet<_> = effects.iter().collect();
        assert_eq!(once.len(), effects.len(), "an effect happened twice");
        for (tag, result) in &self.settled {
            assert_eq!(result == "done", once.contains(tag), "{tag} {result}");
        }
    }
}

fn run(mut rig: Rig, steps: Vec<Step>, dropped: bool, batch: bool) {
    let mut books = Books::default();
    for step in steps {
        match step {
            Step::Push { key, plans } if rig.worker.has_room() => {
                let tag = books.keys.len() as u64;
                books.keys.insert(tag, key);
                let name = key.map(name);
                if let Some(settled) = rig.push(tag, name.as_deref(), plans) {
                    books.settle(&format!("{tag} {settled}"));
                }
            }
            Step::Push { .. } => {}
            Step::Poll => {
                if let Poll::Ready(Some(settled)) = rig.polled() {
                    books.settle(&settled);
                }
            }
            Step::Open => rig.open(),
            Step::Advance(millis) => rig.clock.advance(Duration::from_millis(millis)),
            Step::Release(key) => rig.worker.release("t", Some(name(key).as_bytes())),
            Step::Stop => rig.stop(),
            Step::Flush => rig.worker.flush(),
        }
        assert_eq!(rig.worker.len() + books.settled.len(), books.keys.len(), "a delivery is lost");
    }
    if !dropped {
        rig.drain().iter().for_each(|settled| books.settle(settled));
        assert_eq!(books.settled.len(), books.keys.len());
    }
    if !batch {
        books.check(&rig.calls());
    }
    let effects = rig.world.lock().effects.clone();
    books.check_effects(&effects);
    let (budget, world, holds) = (rig.budget.clone(), rig.world.clone(), rig.holds.clone());
    let held = books.settled.values().filter(|result| result.starts_with("held")).count();
    drop(rig);
    assert_eq!((budget.running(), budget.records(), budget.bytes()), (0, 0, 0));
    assert_eq!(world.running(), 0);
    assert!(holds.len() <= held, "only a delivery that was returned stays on the list");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn every_delivery_is_settled_once_and_nothing_is_left(
        steps in course(),
        concurrency in 1usize..4,
        records in 1u64..40,
        ordering in prop::sample::select(vec![Ordering::Key, Ordering::Partition]),
        policy in prop::sample::select(vec![FailurePolicy::DeadLetter, FailurePolicy::Hold, FailurePolicy::Stop]),
        returned in any::<bool>(),
        dropped in prop::bool::weighted(0.2),
        batch in prop::option::of((1usize..6, 1u64..1_000, 0usize..4)),
    ) {
        let limits = BudgetConfig::default().concurrency(concurrency).records(records);
        let budget = Budget::new(limits).unwrap();
        let config = WorkerConfig::default().budget(budget).ordering(ordering).failure_policy(policy);
        let attempts = AttemptConfig::default().max_attempts(2);
        let attempts = attempts.hold_in_place(returned.then_some(Duration::from_millis(300)));
        let rig = match batch {
            None => Rig::with(attempts, config),
            Some((records, bytes, batches)) => {
                let limits =
                    BatchConfig::default().max_records(records).max_bytes(bytes).concurrency(batches);
                Rig::batch(attempts, config.batch(limits))
            }
        };
        run(rig, steps, dropped, batch.is_some());
    }
}
