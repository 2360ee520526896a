//! Choreographed orders.

use comms_core::{
    ErrorKind,
    event::Event as _,
    testing::{DeliveryState, TestConsumer},
    transport::AttemptConfig,
};

use super::*;
use crate::{
    contracts::{OrderItem, OrderStatus, OrderStatusChanged},
    services::ad::handlers::follow_order,
};

fn change(order_id: &str, status: OrderStatus, sequence: i64) -> OrderStatusChanged {
    OrderStatusChanged {
        order_id: order_id.into(),
        buyer_id: "ann".into(),
        status,
        sequence,
        total: Money { minor: 200, currency: "RUB".into() },
        reason: None,
        changed_at: timestamp(0),
        item: Some(OrderItem { ad_id: "bike".into(), quantity: 2, unit_price: price() }),
        choreographed: true,
    }
}

#[tokio::test]
async fn the_stock_follows_choreographed_orders_alone() {
    let world = World::sqlite().await;
    world.offer("bike", 10).await;
    let handler = follow_order(world.db.clone(), world.store.clone(), TTL);
    let builder = TestConsumer::builder("ad-orders").attempts(AttemptConfig::default().max_attempts(2));
    let consumer = builder.on(OrderStatusChanged::TYPE, handler).start().await.unwrap();

    let paid = |order_id: &str| change(order_id, OrderStatus::Paid, 2);
    consumer.deliver_event(&change("o-1", OrderStatus::Created, 1)).await.unwrap();
    assert_eq!(world.available().await, 10);
    consumer.deliver_event(&paid("o-1")).await.unwrap();
    assert_eq!(world.available().await, 8);
    consumer.deliver_event(&change("o-1", OrderStatus::Shipped, 3)).await.unwrap();
    assert_eq!(world.events().await, 1, "the confirmation is a command");
    consumer.deliver_event(&change("o-1", OrderStatus::Cancelled, 4)).await.unwrap();
    assert_eq!(world.available().await, 8, "the release is a command");
    world.release("o-1").await;
    consumer.deliver_event(&change("o-2", OrderStatus::PaymentFailed, 2)).await.unwrap();
    assert_eq!(world.available().await, 10);
    consumer.deliver_event(&OrderStatusChanged { choreographed: false, ..paid("o-3") }).await.unwrap();
    assert_eq!(world.available().await, 10, "a coordinator sends the commands of this order");
    assert_eq!(world.events().await, 2);
    consumer.assert_states(&[DeliveryState::Done; 6]);

    consumer.deliver_event(&OrderStatusChanged { item: None, ..paid("o-4") }).await.unwrap();
    let last = consumer.states().pop();
    assert_eq!(last, Some(DeliveryState::DeadLettered(ErrorKind::Invalid)), "no item");
}

/// An event of a writer that knows neither the item nor the choreography.
#[test]
fn an_event_without_the_item_is_read() {
    let event = serde_json::json!({
        "order_id": "o-1", "buyer_id": "ann", "status": "PAID", "sequence": 2,
        "total": {"minor": 200, "currency": "RUB"}, "reason": null, "changed_at": "2026-11-21T07:00:00.123Z",
    });
    let event: OrderStatusChanged = serde_json::from_value(event).unwrap();
    assert_eq!((event.item, event.choreographed), (None, false));
}
