//! The handlers of the events that notification-service consumes.
//!
//! A push follows the commit. It is repeated for a duplicate delivery, because the process may have crashed between the
//! commit and the push; the hub discards a repeated id. A push that fails fails the delivery, so that the consumer attempts
//! it again before it acknowledges the message.

use comms_core::{
    Delivery, Error, ErrorKind, Outcome, context::Context, event, handler_fn, once, transport::BoxHandler,
    wire,
};
use comms_ws::{Hub, Push};

use super::{domain, store::Store};
use crate::{
    contracts::{DeliveryStatusChanged, OrderStatusChanged},
    platform::db::Db,
};

/// Handles `order.status.changed`: stores a notification, and pushes it to the buyer and to the topic of the order.
pub(super) fn notify(db: Db, store: Store, hub: Hub) -> BoxHandler {
    BoxHandler::new(handler_fn(move |delivery: Delivery| {
        let (db, store, hub) = (db.clone(), store.clone(), hub.clone());
        async move {
            let Some(change) = event::read::<OrderStatusChanged>(&delivery.message)? else {
                return Ok(Outcome::Skipped);
            };
            let outcome = once(&db, &delivery, async |mut tx| store.insert(&mut tx, &change).await).await?;
            let data = serde_json::json!({
                "order_id": change.order_id,
                "status": change.status,
                "sequence": change.sequence,
                "total": change.total,
                "reason": change.reason,
                "text": domain::text(&change),
            });
            let push = push(&delivery, &change.order_id, data);
            publish(&hub, &domain::user_topic(&change.buyer_id), &push).await?;
            publish(&hub, &domain::order_topic(&change.order_id), &push).await?;
            Ok(outcome)
        }
    }))
}

/// Handles `delivery.status.changed`: pushes it to the topic of the delivery. It stores nothing.
pub(super) fn push_delivery(hub: Hub) -> BoxHandler {
    BoxHandler::new(handler_fn(move |delivery: Delivery| {
        let hub = hub.clone();
        async move {
            let Some(change) = event::read::<DeliveryStatusChanged>(&delivery.message)? else {
                return Ok(Outcome::Skipped);
            };
            let data = serde_json::json!({
                "order_id": change.order_id,
                "status": change.status,
                "sequence": change.sequence,
                "reason": change.reason,
                "changed_at": change.changed_at,
            });
            let push = push(&delivery, &change.order_id, data);
            publish(&hub, &domain::delivery_topic(&change.order_id), &push).await?;
            Ok(Outcome::Done)
        }
    }))
}

/// Returns the push of an event about an order. Its id is that of the event.
fn push(delivery: &Delivery, order_id: &str, data: serde_json::Value) -> Push {
    let message = &delivery.message;
    Push {
        time: message.headers().text(wire::CE_TIME).map(str::to_owned),
        key: Some(order_id.to_owned()),
        traceparent: Context::current().trace.map(|trace| trace.to_string()),
        ..Push::new(
            format!("{}/{}", message.source(), message.id()),
            message.event_type().unwrap_or_default(),
            data,
        )
    }
}

/// Publishes `push`, which has an id, so that a repetition has no effect. An unknown result is therefore the same as none:
/// the consumer holds the delivery until the backplane answers, and counts no attempt.
async fn publish(hub: &Hub, topic: &str, push: &Push) -> Result<(), Error> {
    let published = hub.publish(topic, push).await;
    published.map(drop).map_err(|error| match error.kind {
        ErrorKind::Indeterminate => Error::not_executed(error),
        _ => error,
    })
}
