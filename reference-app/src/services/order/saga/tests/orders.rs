//! The changes of the order that follow from a run.

use std::collections::{BTreeSet, HashSet};

use comms_core::{
    Message,
    clock::Clock,
    event::EventSource,
    event_sourcing::Aggregate as _,
    saga::{Effect, ForcedStatus, Input, Instance, Operation, Phase, TimerId},
};

use super::*;
use crate::services::order::{
    change::{Change, Command, Placement},
    domain::Order,
    saga::changes,
};

#[derive(Clone)]
struct Node {
    run: Instance<OrderData>,
    order: Order,
    timers: BTreeSet<TimerId>,
}

fn events() -> Vec<Message> {
    let source = EventSource::new("peers", Clock::system());
    let payments = PAYMENTS.map(|status| source.message(&payment(status)).unwrap());
    let reservations = RESERVATIONS.map(|status| source.message(&stock(status)).unwrap());
    let deliveries = DELIVERIES.map(|status| source.message(&shipment(status)).unwrap());
    payments.into_iter().chain(reservations).chain(deliveries).collect()
}

fn inputs<'a>(events: &'a [Message], node: &Node) -> Vec<Input<'a>> {
    let mut inputs: Vec<_> = events.iter().map(Input::Message).collect();
    inputs.extend(node.timers.iter().cloned().map(Input::Timer));
    inputs.push(Input::Operator(Operation::Cancel { reason: "asked by the buyer".into() }));
    for step in node.run.steps.iter().map(|step| &step.name) {
        for status in [ForcedStatus::Done, ForcedStatus::Failed, ForcedStatus::Compensated] {
            inputs.push(Input::Operator(Operation::Force { step: step.clone(), status }));
        }
    }
    inputs
}

/// Every order that can exist beside every state of its run.
fn all(definition: &Definition<OrderData>) -> Vec<Node> {
    let order = placed();
    let started = definition.start(ORDER, data()).unwrap();
    let mut timers = BTreeSet::new();
    set_timers(&mut timers, &started.effects);
    let mut open = vec![Node { run: started.instance, order, timers }];
    let (mut seen, mut found, events) = (HashSet::new(), Vec::new(), events());
    while let Some(node) = open.pop() {
        for input in inputs(&events, &node) {
            let Ok(transition) = definition.transition(&node.run, &input) else { continue };
            if !transition.changed {
                continue;
            }
            let mut next = Node { run: transition.instance, ..node.clone() };
            set_timers(&mut next.timers, &transition.effects);
            change(&mut next.order, changes(&next.run, &next.run.data));
            if seen.insert((serde_json::to_string(&next.run).unwrap(), format!("{:?}", next.order))) {
                open.push(next);
            }
        }
        found.push(node);
    }
    found
}

/// Returns the order of the run.
fn placed() -> Order {
    let OrderData { buyer_id, item, .. } = data();
    let OrderItem { ad_id, quantity, unit_price } = item;
    let order_id = ORDER.to_owned();
    let placement = Placement { order_id, buyer_id, ad_id, quantity, unit_price, choreographed: false };
    let mut order = Order::default();
    change(&mut order, vec![Change::Place(placement)]);
    order
}

/// Changes `order`, which refuses a change that is impossible in its status.
fn change(order: &mut Order, changes: Vec<Change>) {
    let events = order.decide(Command { changes, at: 0 }).unwrap();
    events.iter().for_each(|event| order.evolve(event));
}

fn set_timers(timers: &mut BTreeSet<TimerId>, effects: &[Effect]) {
    for effect in effects {
        match effect {
            Effect::SetTimer(timer, _) => drop(timers.insert(timer.clone())),
            Effect::CancelTimer(timer) => drop(timers.remove(timer)),
            _ => {}
        }
    }
}

/// The status of the order follows the run, in every interleaving, and no run requests an impossible change.
#[test]
fn the_order_follows_every_run() {
    for definition in both() {
        let nodes = all(&definition);
        assert!(nodes.len() > 100, "only {} states", nodes.len());
        for Node { run, order, .. } in &nodes {
            let expected: &[&str] = match (run.phase, run.state.as_str()) {
                (Phase::Completed, _) => &["DELIVERED"],
                (Phase::Failed, _) => &["PAYMENT_FAILED", "CANCELLED"],
                // Here the stock may be reserved before the payment is declined, which ad-service does not do.
                (_, "CompensateInventory") => &["CANCELLED", "PAYMENT_FAILED"],
                (_, "PaymentCancelled") => &["CANCELLED"],
                // A run that is cancelled waits for the step in progress.
                (Phase::Compensating, _) => &["CANCELLED"],
                (_, "PaymentProcessing") => &["CREATED", "PAID", "CANCELLED"],
                (_, "InventoryReserved") => &["PAID"],
                (_, "ShippingProcessing") => &["SHIPPED", "DELIVERED"],
                (phase, state) => panic!("{phase:?} {state}"),
            };
            assert!(expected.contains(&<&str>::from(order.status)), "{order:?} beside {run:?}");
            assert!(!order.refunded || run.data.refunded, "{order:?} beside {run:?}");
        }
        let is_refunded = |node: &&Node| node.order.refunded && node.run.phase == Phase::Failed;
        assert!(nodes.iter().any(|node| is_refunded(&node)));
    }
}

#[test]
fn the_reason_of_a_cancelled_order_is_that_of_the_step() {
    let definition = orchestrated(&limits()).unwrap();
    let last = |saga: &SagaTest<OrderData>| {
        let instance = saga.instance();
        changes(instance, &instance.data).pop().unwrap()
    };
    let mut declined = start(&definition);
    declined.event(&payment(PaymentStatus::Declined));
    assert_eq!(last(&declined), Change::FailPayment { reason: Some("limit_exceeded".into()) });

    let mut rejected = start(&definition);
    rejected.event(&payment(PaymentStatus::Succeeded)).event(&stock(ReservationStatus::Rejected));
    assert_eq!(last(&rejected), Change::Cancel { reason: "out_of_stock".into() });
    rejected.event(&payment(PaymentStatus::Refunded));
    assert_eq!(last(&rejected), Change::Refund);

    let mut late = start(&definition);
    late.timer("payment/execute/1/limit").timer("payment/execute/1/retry").timer("payment/execute/2/limit");
    assert_eq!(last(&late), Change::Cancel { reason: "payment_timeout".into() });

    let mut cancelled = start(&definition);
    cancelled.operate(Operation::Cancel { reason: "asked by the buyer".into() });
    assert_eq!(last(&cancelled), Change::Cancel { reason: "asked by the buyer".into() });
    cancelled.event(&payment(PaymentStatus::Succeeded)).event(&payment(PaymentStatus::Refunded));
    assert_eq!(last(&cancelled), Change::Cancel { reason: "asked by the buyer".into() });
}
