//! The orders as streams of events. Each change is appended together with its message for other services, in the
//! caller's transaction. `list` is the read model of lists.

mod list;

use comms_core::{
    Error, Message,
    clock::{Clock, rfc3339},
    event::EventSource,
    event_sourcing::{Audit, EventStore, Read, Recorded, Repository},
};

use super::{
    change::{Change, Command},
    domain::Order,
    events::OrderEvent,
};
use crate::{
    contracts::{OrderItem, OrderStatusChanged},
    platform::db::{Db, Tx},
};

pub(super) use list::{LIST, REVISION};

#[derive(Clone)]
pub(super) struct Store {
    db: Db,
    clock: Clock,
    orders: Repository<Order, Db>,
}

impl Store {
    pub(super) fn new(db: Db, events: EventSource) -> Self {
        let (clock, source) = (events.clock().clone(), events.clone());
        let announce = move |order: &Order, events: &[OrderEvent]| announce(&source, order, events);
        let orders = Repository::new(db.clone(), events).announce(announce);
        Self { db, clock, orders }
    }

    /// Changes an order, and returns its state. A change that has happened already writes nothing.
    ///
    /// # Errors
    /// Returns `NotFound` if the order does not exist, `Invalid` if the change is impossible, `Conflict` if another
    /// transaction changes the order at the same time, and `Internal` if a stored event does not decode.
    pub(super) async fn change(
        &self,
        tx: &mut Tx,
        order_id: &str,
        change: Change,
        audit: Audit,
    ) -> Result<Order, Error> {
        let command = Command { change, at: self.clock.unix_millis() };
        let executed = self.orders.audited(audit).execute(tx, order_id, command).await;
        Ok(executed.map_err(|error| error.context(format_args!("change order {order_id}")))?.state)
    }

    /// Returns the order as the last committed change left it.
    pub(super) async fn find(&self, order_id: &str) -> Result<Option<Order>, Error> {
        let mut tx = self.db.begin_read().await?;
        let order = self.orders.load(&mut tx, order_id).await?.state;
        Ok(Some(order).filter(Order::exists))
    }

    /// Returns the first 1,000 events of the order.
    pub(super) async fn history(&self, order_id: &str) -> Result<Vec<Recorded>, Error> {
        let mut tx = self.db.begin_read().await?;
        self.db.read(&mut tx, &self.orders.stream(order_id), Read::default()).await
    }
}

/// Returns the message for other services if the order has entered another status. A command has one such event at
/// most.
fn announce(source: &EventSource, order: &Order, events: &[OrderEvent]) -> Result<Vec<Message>, Error> {
    if !events.iter().any(OrderEvent::changes_status) {
        return Ok(Vec::new());
    }
    let event = OrderStatusChanged {
        order_id: order.order_id.clone(),
        buyer_id: order.buyer_id.clone(),
        status: order.status,
        sequence: order.sequence,
        total: order.total().map_err(Error::internal)?,
        reason: order.reason.clone(),
        changed_at: timestamp(order.updated_at),
        item: Some(OrderItem {
            ad_id: order.ad_id.clone(),
            quantity: order.quantity,
            unit_price: order.unit_price.clone(),
        }),
        choreographed: false,
    };
    Ok(vec![source.message(&event)?])
}

/// Formats a stored time by RFC 3339.
pub(super) fn timestamp(unix_millis: i64) -> String {
    rfc3339(std::time::Duration::from_millis(u64::try_from(unix_millis).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
