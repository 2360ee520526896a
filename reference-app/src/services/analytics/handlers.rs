//! The handler of the events that analytics-service consumes.

use comms_core::{
    Delivery, Outcome, event,
    event_sourcing::{Append, EventStore as _, Expected, Stream},
    handler_fn, once,
    transport::BoxHandler,
};

use super::{CATEGORY, domain};
use crate::{contracts::OrderStatusChanged, platform::db::Db};

/// Handles `order.status.changed`: appends the event as it was received to the stream of its order.
///
/// An event that the projection could not read fails here, so that it becomes a dead letter and is not stored. The id of
/// the message is the id of the stored event, so that an event is stored once even if its inbox row was deleted.
pub(super) fn store_events(db: Db) -> BoxHandler {
    BoxHandler::new(handler_fn(move |delivery: Delivery| {
        let db = db.clone();
        async move {
            let Some(change) = event::read::<OrderStatusChanged>(&delivery.message)? else {
                return Ok(Outcome::Skipped);
            };
            domain::changed_at(&change)?;
            let stream = Stream::new(CATEGORY, change.order_id);
            let events = [stream.event(&delivery.message)];
            let append = Append { stream: &stream, expected: Expected::Any, events: &events, messages: &[] };
            once(&db, &delivery, async |mut tx| db.append(&mut tx, append).await.map(drop)).await
        }
    }))
}
