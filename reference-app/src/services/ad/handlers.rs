//! The handler of the events that ad-service consumes.

use std::time::Duration;

use comms_core::{Error, Scoped, transactional, transport::BoxHandler};

use super::{domain::Wanted, store::Store};
use crate::{
    contracts::{OrderStatus, OrderStatusChanged},
    platform::db::{Db, Tx},
};

/// Handles `order.status.changed` of a choreographed order: reserves the item when the order is paid, confirms the
/// reservation when it is shipped, and releases it when the order is cancelled or its payment failed.
///
/// The reservation, its event and the inbox row are in one transaction. An order that is not choreographed has a
/// coordinator that sends the commands. The release of a cancelled order is a command in both cases, because the shipment
/// must be withdrawn before: pieces on their way are not sold again.
pub(super) fn follow_order(db: Db, store: Store, ttl: Duration) -> BoxHandler {
    BoxHandler::new(transactional(db, move |order: OrderStatusChanged, mut tx: Scoped<Tx>| {
        let store = store.clone();
        async move {
            if !order.choreographed {
                return Ok(());
            }
            match order.status {
                OrderStatus::Paid => {
                    let item = order.item.ok_or_else(|| Error::invalid("a paid order needs an item"))?;
                    let wanted =
                        Wanted { ad_id: item.ad_id, quantity: item.quantity, unit_price: item.unit_price };
                    store.reserve(&mut tx, &order.order_id, &wanted, ttl).await?;
                }
                OrderStatus::Shipped => drop(store.confirm(&mut tx, &order.order_id).await?),
                OrderStatus::Created
                | OrderStatus::PaymentFailed
                | OrderStatus::Delivered
                | OrderStatus::Cancelled => {}
            }
            Ok(())
        }
    }))
}
