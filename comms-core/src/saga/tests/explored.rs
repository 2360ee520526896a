//! Every interleaving of some definitions, and definitions that break the rules.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::data::{
    Did, Do, ID, Order, Step, Undid, did, order, parallel, result, steady, step, undid, undoable,
};
use crate::{
    saga::{Definition, Reply},
    testing::{Exploration, Explored},
};

fn explored(definition: &Definition<Order>) -> Explored {
    let exploration = Exploration::new(definition, ID, Order::default())
        .event(&did::<'P'>(true))
        .event(&did::<'P'>(false))
        .event(&undid::<'P'>(true))
        .event(&undid::<'P'>(false))
        .event(&did::<'I'>(true))
        .event(&did::<'I'>(false))
        .event(&undid::<'I'>(true))
        .event(&undid::<'I'>(false))
        .event(&did::<'S'>(true))
        .event(&did::<'S'>(false));
    let explored = exploration.run().unwrap();
    assert!(explored.completed > 0 && explored.failed > 0 && explored.paths > 0, "{explored:?}");
    println!("{definition:?}: {explored:?}");
    explored
}

#[test]
fn every_interleaving_of_an_order_keeps_the_promises() {
    assert!(explored(&order()).held > 0);
}

#[test]
fn every_interleaving_of_parallel_steps_keeps_the_promises() {
    assert!(explored(&parallel()).held > 0);
}

#[test]
fn every_interleaving_of_two_parallel_stages_around_a_pivot_keeps_the_promises() {
    let definition = Definition::builder("order", 1)
        .parallel([undoable::<'P'>("payment"), undoable::<'I'>("inventory")])
        .step(undoable::<'S'>("shipping").pivot().compensated_by::<Did<'S'>>(|_, did| result(did.1)))
        .parallel([step::<'P'>("mail").reply::<Did<'I'>>(|_, did| result(did.1)), step::<'S'>("bill")])
        .build()
        .unwrap();
    assert!(explored(&definition).held > 0);
}

#[test]
fn every_interleaving_of_observed_steps_keeps_the_promises() {
    let undo = |saga: &crate::saga::Instance<Order>| super::data::Undo::<'P'>(saga.id.clone());
    let observe = |name| Step::observe(name).time_limit(Duration::from_secs(1)).attempts(2, steady());
    let definition = Definition::builder("tracker", 1)
        .step(observe("payment").reply::<Did<'P'>>(|_, did| result(did.1)).compensate(undo))
        .step(undoable::<'I'>("inventory").pivot())
        .step(observe("shipping").reply::<Did<'S'>>(|_, did| result(did.1)))
        .build()
        .unwrap();
    explored(&definition);
    let late = Definition::builder("tracker", 1)
        .step(step::<'I'>("inventory"))
        .parallel([
            observe("payment").reply::<Did<'P'>>(|_, did| result(did.1)).compensate(undo),
            observe("shipping").reply::<Did<'S'>>(|_, did| result(did.1)),
        ])
        .build()
        .unwrap();
    explored(&late);
    let early = Definition::builder("tracker", 1)
        .step(undoable::<'P'>("payment"))
        .step(observe("inventory").reply::<Did<'I'>>(|_, did| result(did.1)).compensate(undo))
        .step(
            observe("shipping")
                .reply::<Did<'S'>>(|_, did| result(did.1))
                .compensate(undo)
                .compensated_by::<Undid<'I'>>(|_, undid| result(undid.1)),
        )
        .build()
        .unwrap();
    explored(&early);
}

fn broken<D: Clone + Serialize + for<'de> Deserialize<'de> + 'static>(
    definition: &Definition<D>,
    data: D,
) -> String {
    let exploration = Exploration::new(definition, ID, data).event(&did::<'P'>(true));
    exploration.run().unwrap_err().to_string()
}

#[test]
fn a_step_that_no_event_ends_is_reported() {
    let definition =
        Definition::builder("order", 1).step(undoable::<'P'>("payment")).step(step::<'I'>("inventory"));
    let report = broken(&definition.build().unwrap(), Order::default());
    assert!(report.contains("none ends `compensate payment`"), "{report}");
    let report = broken(
        &Definition::builder("order", 1).step(step::<'I'>("inventory")).build().unwrap(),
        Order::default(),
    );
    assert!(report.contains("none ends `execute inventory`"), "{report}");
}

#[test]
fn a_definition_that_is_not_pure_is_reported() {
    let calls = AtomicU32::new(0);
    let step = Step::command("payment", |saga| Do::<'P'>(saga.id.clone()))
        .reply::<Did<'P'>>(move |order, _| {
            order.payment = Some(calls.fetch_add(1, Ordering::Relaxed).to_string());
            Reply::Done
        })
        .time_limit(Duration::from_secs(1));
    let report = broken(&Definition::builder("order", 1).step(step).build().unwrap(), Order::default());
    assert!(
        report.contains("a repeated transition is the same") && report.contains("payment.did"),
        "{report}"
    );
}

#[test]
fn data_that_changes_in_its_json_form_is_reported() {
    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    struct Lossy {
        #[serde(skip_deserializing)]
        payment: String,
    }
    let step = crate::saga::Step::<Lossy>::command("payment", |saga| Do::<'P'>(saga.id.clone()))
        .reply::<Did<'P'>>(|lossy, did| {
            did.0.clone_into(&mut lossy.payment);
            Reply::Done
        })
        .time_limit(Duration::from_secs(1));
    let report = broken(&Definition::builder("order", 1).step(step).build().unwrap(), Lossy::default());
    assert!(report.contains("survives its JSON form"), "{report}");
}

#[test]
fn an_exploration_ends_at_its_number_of_states() {
    let exploration =
        Exploration::new(&order(), ID, Order::default()).event(&did::<'P'>(true)).max_states(3).run();
    assert!(exploration.unwrap_err().to_string().contains("at most `max_states` states"));
}
