//! The orders as streams of events. Each change is appended together with its message for other services, in the
//! caller's transaction. `list` is the read model of lists, and `retired` deletes its rows that were replaced.

mod list;
mod retired;

use comms_core::{
    Error, Message,
    clock::{Clock, rfc3339},
    event::EventSource,
    event_sourcing::{Audit, EventStore, Read, Recorded, Repository},
};

use super::{
    change::{Change, Command},
    domain::Order,
    events::{Entered, OrderEvent},
};
use crate::{
    contracts::OrderStatusChanged,
    platform::db::{Db, Tx},
};

pub(super) use list::{LIST, REVISION};
pub(super) use retired::RetiredLists;

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

    /// Makes `changes` of an order, and returns its state. A change that has happened already writes nothing.
    ///
    /// # Errors
    /// Returns `NotFound` if the order does not exist, `Invalid` if the change is impossible, `Conflict` if another
    /// transaction changes the order at the same time, and `Internal` if a stored event does not decode.
    pub(super) async fn change(
        &self,
        tx: &mut Tx,
        order_id: &str,
        changes: Vec<Change>,
        audit: Audit,
    ) -> Result<Order, Error> {
        let command = Command { changes, at: self.clock.unix_millis() };
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

/// Returns a message for other services for each status that the order has entered by `events`. `order` is the state after
/// them.
fn announce(source: &EventSource, order: &Order, events: &[OrderEvent]) -> Result<Vec<Message>, Error> {
    let entered: Vec<Entered> = events.iter().filter_map(OrderEvent::entered).collect();
    let before = order.sequence - i64::try_from(entered.len()).map_err(Error::internal)?;
    let total = order.total().map_err(Error::internal)?;
    let message = |(sequence, entered): (i64, Entered)| {
        source.message(&OrderStatusChanged {
            order_id: order.order_id.clone(),
            buyer_id: order.buyer_id.clone(),
            status: entered.status,
            sequence,
            total: total.clone(),
            reason: entered.reason,
            changed_at: timestamp(entered.at),
            item: Some(order.item()),
            choreographed: order.choreographed,
        })
    };
    (before + 1..).zip(entered).map(message).collect()
}

/// Formats a stored time by RFC 3339.
pub(super) fn timestamp(unix_millis: i64) -> String {
    rfc3339(std::time::Duration::from_millis(u64::try_from(unix_millis).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
