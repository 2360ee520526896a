//! The handler of the events that notification-service consumes.

use comms_core::{Delivery, Outcome, context::Context, event, handler_fn, once, transport::BoxHandler, wire};
use comms_ws::{Hub, Push};

use super::{domain, store::Store};
use crate::{contracts::OrderStatusChanged, platform::db::Db};

/// Handles `order.status.changed`: stores a notification, and pushes it to the sockets of the buyer.
///
/// The push follows the commit. It is repeated for a duplicate delivery, because the process may have crashed between
/// the commit and the push. A client recognizes a copy by the id of the frame.
pub(super) fn notify(db: Db, store: Store, hub: Hub) -> BoxHandler {
    BoxHandler::new(handler_fn(move |delivery: Delivery| {
        let (db, store, hub) = (db.clone(), store.clone(), hub.clone());
        async move {
            let Some(change) = event::read::<OrderStatusChanged>(&delivery.message)? else {
                return Ok(Outcome::Skipped);
            };
            let outcome = once(&db, &delivery, async |mut tx| store.insert(&mut tx, &change).await).await?;
            let push = push(&delivery, &change);
            hub.publish(&domain::user_topic(&change.buyer_id), &push);
            Ok(outcome)
        }
    }))
}

fn push(delivery: &Delivery, change: &OrderStatusChanged) -> Push {
    let message = &delivery.message;
    Push {
        id: format!("{}/{}", message.source(), message.id()),
        event: message.event_type().unwrap_or_default().to_owned(),
        time: message.headers().text(wire::CE_TIME).unwrap_or_default().to_owned(),
        traceparent: Context::current().trace.map(|trace| trace.to_string()),
        data: serde_json::json!({
            "order_id": change.order_id,
            "status": change.status,
            "sequence": change.sequence,
            "total": change.total,
            "reason": change.reason,
            "text": domain::text(change),
        }),
    }
}
