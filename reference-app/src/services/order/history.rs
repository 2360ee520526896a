//! The history of an order for its buyer.

use comms_core::{
    Error,
    clock::rfc3339,
    event_sourcing::{Audit, EventSet, Recorded},
};
use serde_json::json;

use super::events::OrderEvent;
use crate::contracts::order::proto::{GetOrderHistoryReply, HistoryEvent};

/// Returns the events as a message of the gRPC contract. Returns `None` if the order does not exist, or is not an order
/// of `buyer_id`.
///
/// # Errors
/// Returns `Misconfigured` if a newer program has stored an event that this one does not read, and `Internal` if an
/// event does not decode.
pub(super) fn of_buyer(events: &[Recorded], buyer_id: &str) -> Result<Option<GetOrderHistoryReply>, Error> {
    let decoded = events.iter().map(|event| decode(event).map(|decoded| (event, decoded)));
    let decoded = decoded.collect::<Result<Vec<_>, _>>()?;
    match decoded.first() {
        Some((_, OrderEvent::Placed(placed))) if placed.buyer_id == buyer_id => {}
        _ => return Ok(None),
    }
    let events = decoded.iter().map(|(recorded, event)| message(recorded, event)).collect();
    Ok(Some(GetOrderHistoryReply { events }))
}

/// An event that does not decode is a fault of this service, and not of the caller.
fn decode(recorded: &Recorded) -> Result<OrderEvent, Error> {
    OrderEvent::decode(&recorded.message).map_err(|error| {
        let error = if error.kind.is_public() { Error::internal(error) } else { error };
        error.context(format_args!("read version {}", recorded.version))
    })
}

fn message(recorded: &Recorded, event: &OrderEvent) -> HistoryEvent {
    let audit = Audit::of(&recorded.message);
    let actor = audit.as_ref().map(|audit| (audit.auth_type.as_str(), &*audit.auth_id)).unwrap_or_default();
    HistoryEvent {
        version: recorded.version,
        r#type: recorded.message.event_type().unwrap_or_default().to_owned(),
        time: rfc3339(recorded.recorded_at),
        actor_type: actor.0.to_owned(),
        actor_id: actor.1.to_owned(),
        why: audit.as_ref().and_then(|audit| audit.reason.as_deref().map(str::to_owned)),
        data: visible(event).to_string(),
    }
}

/// Returns the data of the event that the buyer may see.
fn visible(event: &OrderEvent) -> serde_json::Value {
    match event {
        OrderEvent::Placed(placed) => {
            json!({ "ad_id": placed.ad_id, "quantity": placed.quantity, "price": placed.unit_price })
        }
        OrderEvent::PaymentStarted(started) => json!({ "payment_id": started.payment_id }),
        OrderEvent::PaymentFailed(failed) => json!({ "reason": failed.reason }),
        OrderEvent::Cancelled(cancelled) => json!({ "reason": cancelled.reason }),
        OrderEvent::Paid(_)
        | OrderEvent::Reserved(_)
        | OrderEvent::Shipped(_)
        | OrderEvent::Delivered(_)
        | OrderEvent::Refunded(_) => json!({}),
    }
}
