//! Which change is possible in which state.

use comms_core::{ErrorKind, testing::aggregate::given};

use super::*;

fn placement() -> Placement {
    Placement {
        order_id: "o".into(),
        buyer_id: "ann".into(),
        ad_id: "bike".into(),
        quantity: 2,
        unit_price: Money { minor: 50, currency: "RUB".into() },
        choreographed: false,
    }
}

fn at(at: i64, change: Change) -> Command {
    Command { changes: vec![change], at }
}

fn placed() -> OrderEvent {
    let Placement { order_id, buyer_id, ad_id, quantity, unit_price, choreographed } = placement();
    OrderEvent::Placed(Placed { order_id, buyer_id, ad_id, quantity, unit_price, choreographed, at: 1 })
}

fn started() -> OrderEvent {
    OrderEvent::PaymentStarted(PaymentStarted { payment_id: "p".into(), at: 2 })
}

fn paid() -> OrderEvent {
    OrderEvent::Paid(Paid { at: 3 })
}

fn start_payment(payment_id: &str) -> Change {
    Change::StartPayment { payment_id: payment_id.into() }
}

fn fail_payment() -> Change {
    Change::FailPayment { reason: Some("limit_exceeded".into()) }
}

fn cancel() -> Change {
    Change::Cancel { reason: "sold out".into() }
}

#[test]
fn an_order_is_placed_once() {
    let order = given::<Order>([]).when(at(1, Change::Place(placement()))).then(&[placed()]);
    assert_eq!((order.status, order.sequence, order.created_at), (OrderStatus::Created, 1, 1));
    assert_eq!(order.total().unwrap().minor, 100);
    given::<Order>([placed()]).when(at(2, Change::Place(placement()))).then(&[]);
    let other = Placement { quantity: 3, ..placement() };
    given::<Order>([placed()]).when(at(2, Change::Place(other))).then_error(ErrorKind::Invalid);
}

#[test]
fn an_order_that_does_not_exist_has_no_other_change() {
    for change in [start_payment("p"), Change::Pay, fail_payment(), Change::Reserve, cancel()] {
        given::<Order>([]).when(at(1, change)).then_error(ErrorKind::NotFound);
    }
}

#[test]
fn a_payment_changes_the_status_of_an_order_once() {
    let order = given::<Order>([placed()]).when(at(2, start_payment("p"))).then(&[started()]);
    assert_eq!((order.status, order.sequence, order.updated_at), (OrderStatus::Created, 1, 1));
    let order = given::<Order>([placed(), started()]).when(at(3, Change::Pay)).then(&[paid()]);
    assert_eq!((order.status, order.sequence, order.updated_at), (OrderStatus::Paid, 2, 3));
    let is_paid = || given::<Order>([placed(), started(), paid()]);
    is_paid().when(at(4, Change::Pay)).then(&[]);
    is_paid().when(at(4, start_payment("p"))).then(&[]);
    let refused = is_paid().when(at(4, fail_payment())).then_error(ErrorKind::Invalid);
    assert_eq!(refused.public_text().as_deref(), Some("the order is PAID (paid) and cannot fail to be paid"));
    is_paid().when(at(4, start_payment("another"))).then_error(ErrorKind::Invalid);
    given::<Order>([placed(), paid()]).when(at(2, start_payment("p"))).then(&[started()]);
}

#[test]
fn a_declined_payment_is_final() {
    let failed = OrderEvent::PaymentFailed(PaymentFailed { reason: Some("limit_exceeded".into()), at: 3 });
    let order = given::<Order>([placed()]).when(at(3, fail_payment())).then(std::slice::from_ref(&failed));
    assert_eq!((order.status, order.reason.as_deref()), (OrderStatus::PaymentFailed, Some("limit_exceeded")));
    let failed = || given::<Order>([placed(), failed.clone()]);
    failed().when(at(4, fail_payment())).then(&[]);
    for change in [Change::Pay, Change::Reserve, Change::Ship, Change::Deliver, cancel(), Change::Refund] {
        failed().when(at(4, change)).then_error(ErrorKind::Invalid);
    }
}

#[test]
fn a_paid_order_is_reserved_shipped_and_delivered() {
    let mut events = vec![placed(), paid()];
    given::<Order>(events.clone()).when(at(4, Change::Ship)).then_error(ErrorKind::Invalid);
    for (at_time, change, event, status, sequence) in [
        (4, Change::Reserve, OrderEvent::Reserved(Reserved { at: 4 }), OrderStatus::Paid, 2),
        (5, Change::Ship, OrderEvent::Shipped(Shipped { at: 5 }), OrderStatus::Shipped, 3),
        (6, Change::Deliver, OrderEvent::Delivered(Delivered { at: 6 }), OrderStatus::Delivered, 4),
    ] {
        let given = given::<Order>(events.clone());
        let order = given.when(at(at_time, change)).then(std::slice::from_ref(&event));
        assert_eq!((order.status, order.sequence), (status, sequence));
        events.push(event);
    }
    given::<Order>(events).when(at(7, cancel())).then_error(ErrorKind::Invalid);
}

#[test]
fn a_cancelled_order_is_refunded_if_it_was_paid() {
    let cancelled = OrderEvent::Cancelled(Cancelled { reason: "sold out".into(), at: 4 });
    let refunded = OrderEvent::Refunded(Refunded { at: 5 });
    let order =
        given::<Order>([placed(), paid()]).when(at(4, cancel())).then(std::slice::from_ref(&cancelled));
    assert_eq!(
        (order.status, order.sequence, order.reason.as_deref()),
        (OrderStatus::Cancelled, 3, Some("sold out"))
    );
    let order = given::<Order>([placed(), paid(), cancelled.clone()])
        .when(at(5, Change::Refund))
        .then(std::slice::from_ref(&refunded));
    assert_eq!((order.status, order.sequence, order.refunded), (OrderStatus::Cancelled, 3, true));
    given::<Order>([placed(), cancelled]).when(at(5, Change::Refund)).then_error(ErrorKind::Invalid);
    given::<Order>([placed(), paid()]).when(at(5, Change::Refund)).then_error(ErrorKind::Invalid);
}

#[test]
fn an_invalid_order_is_refused() {
    let wrong: [fn(&mut Placement); 7] = [
        |o| o.quantity = 0,
        |o| o.quantity = 1_001,
        |o| o.unit_price.minor = -1,
        |o| o.unit_price.minor = i64::MAX,
        |o| o.unit_price.currency = "rub".into(),
        |o| o.ad_id = String::new(),
        |o| o.buyer_id = String::new(),
    ];
    for change in wrong {
        let mut order = placement();
        change(&mut order);
        given::<Order>([]).when(at(1, Change::Place(order))).then_error(ErrorKind::Invalid);
    }
}

/// Sends every change to every order that a sequence of changes can reach.
#[test]
fn no_sequence_of_changes_reaches_an_impossible_order() {
    let changes = [
        Change::Place(placement()),
        start_payment("p"),
        Change::Pay,
        fail_payment(),
        Change::Reserve,
        Change::Ship,
        Change::Deliver,
        cancel(),
        Change::Refund,
    ];
    let mut reached = vec![Order::default()];
    let mut next = 0;
    while let Some(before) = reached.get(next).cloned() {
        for change in &changes {
            let Ok(events) = before.decide(at(1, change.clone())) else { continue };
            assert!(events.len() <= 1, "{before:?} {change:?}");
            let mut after = before.clone();
            events.iter().for_each(|event| after.evolve(event));
            check_step(&before, &after, &events);
            assert_eq!(after.decide(at(2, change.clone())).unwrap(), [], "{after:?} {change:?} twice");
            if !reached.contains(&after) {
                reached.push(after);
            }
        }
        next += 1;
    }
    for status in ["CREATED", "PAID", "PAYMENT_FAILED", "SHIPPED", "DELIVERED", "CANCELLED"] {
        assert!(reached.iter().any(|order| <&str>::from(order.status) == status), "{status}");
    }
}

/// Checks an order, and its last change of the status.
fn check_step(before: &Order, after: &Order, events: &[OrderEvent]) {
    use OrderStatus as S;
    let Order { status, paid, reserved, refunded, .. } = *after;
    let possible = match status {
        S::Created | S::PaymentFailed => !paid && !reserved && !refunded,
        S::Paid => paid && !refunded,
        S::Shipped | S::Delivered => paid && reserved && !refunded,
        S::Cancelled => paid || !(reserved || refunded),
    };
    assert!(possible, "{after:?}");
    let changed = events.iter().any(|event| event.entered().is_some());
    assert_eq!(after.sequence, before.sequence + i64::from(changed), "{before:?} {events:?}");
    if !changed {
        assert_eq!((after.status, after.updated_at), (before.status, before.updated_at));
        return;
    }
    let step = (before.exists().then_some(before.status), status);
    let steps = [
        (None, S::Created),
        (Some(S::Created), S::Paid),
        (Some(S::Created), S::PaymentFailed),
        (Some(S::Created), S::Cancelled),
        (Some(S::Paid), S::Shipped),
        (Some(S::Paid), S::Cancelled),
        (Some(S::Shipped), S::Delivered),
    ];
    assert!(steps.contains(&step), "{step:?}");
}
