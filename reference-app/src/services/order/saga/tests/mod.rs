//! The runs of both variants: chosen paths, every interleaving, and what they mean for the order.

mod orders;
mod paths;

use std::time::Duration;

use comms_core::{
    saga::Definition,
    testing::{Exploration, Explored, SagaTest},
};

use super::{Limits, OrderData, choreographed, orchestrated};
use crate::contracts::{
    DeliveryStatus, DeliveryStatusChanged, Money, OrderItem, PaymentStatus, PaymentStatusChanged,
    ReservationChanged, ReservationStatus,
};

const ORDER: &str = "o-1";

/// The limits of the tests. Two attempts keep the number of states small.
fn limits() -> Limits {
    let limit = Duration::from_secs(300);
    let delivery = Duration::from_secs(14 * 24 * 3_600);
    Limits { attempts: 2, payment: limit, inventory: limit, shipping: limit, confirmation: limit, delivery }
}

fn both() -> [Definition<OrderData>; 2] {
    [orchestrated(&limits()).unwrap(), choreographed(&limits()).unwrap()]
}

fn data() -> OrderData {
    let price = |minor| Money { minor, currency: "RUB".into() };
    OrderData::new(
        "ann".into(),
        OrderItem { ad_id: "bike".into(), quantity: 2, unit_price: price(50) },
        price(100),
    )
}

fn start(definition: &Definition<OrderData>) -> SagaTest<OrderData> {
    SagaTest::start(definition, ORDER, data())
}

fn payment(status: PaymentStatus) -> PaymentStatusChanged {
    PaymentStatusChanged {
        payment_id: "p-1".into(),
        order_id: ORDER.into(),
        status,
        sequence: 1,
        amount: data().total,
        reason: (status == PaymentStatus::Declined).then(|| "limit_exceeded".into()),
        changed_at: String::new(),
    }
}

fn stock(status: ReservationStatus) -> ReservationChanged {
    ReservationChanged {
        order_id: ORDER.into(),
        ad_id: Some("bike".into()),
        quantity: 2,
        status,
        reason: (status == ReservationStatus::Rejected).then(|| "out_of_stock".into()),
        sequence: 1,
        changed_at: String::new(),
    }
}

fn shipment(status: DeliveryStatus) -> DeliveryStatusChanged {
    let reason = (status == DeliveryStatus::Refused).then(|| "no_courier".into());
    DeliveryStatusChanged { order_id: ORDER.into(), status, sequence: 1, reason, changed_at: String::new() }
}

const PAYMENTS: [PaymentStatus; 5] = [
    PaymentStatus::Pending,
    PaymentStatus::Succeeded,
    PaymentStatus::Declined,
    PaymentStatus::Cancelled,
    PaymentStatus::Refunded,
];
const RESERVATIONS: [ReservationStatus; 5] = [
    ReservationStatus::Reserved,
    ReservationStatus::Rejected,
    ReservationStatus::Confirmed,
    ReservationStatus::Released,
    ReservationStatus::Expired,
];
const DELIVERIES: [DeliveryStatus; 3] =
    [DeliveryStatus::Accepted, DeliveryStatus::Refused, DeliveryStatus::Delivered];

/// Each event at any time and any number of times, each timer, a cancel, and every decision of an operator.
#[test]
fn every_run_of_an_order_ends_completed_or_compensated_or_is_held() {
    for definition in both() {
        let mut exploration = Exploration::new(&definition, ORDER, data());
        for status in PAYMENTS {
            exploration = exploration.event(&payment(status));
        }
        for status in RESERVATIONS {
            exploration = exploration.event(&stock(status));
        }
        for status in DELIVERIES {
            exploration = exploration.event(&shipment(status));
        }
        let explored: Explored = exploration.run().unwrap();
        assert!(explored.completed > 0 && explored.failed > 0 && explored.held > 0, "{explored:?}");
        println!("{definition:?}: {explored:?}");
    }
}

/// Both variants have the same states, so the page shows one diagram.
#[test]
fn the_page_of_the_order_saga_has_the_diagram_of_both_variants() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/order-saga.md");
    let text = std::fs::read_to_string(page).unwrap();
    for definition in both() {
        let diagram = format!("```mermaid\n{}```", definition.mermaid());
        assert!(text.contains(&diagram), "{page} lacks the diagram of {definition:?}:\n{diagram}");
    }
}
