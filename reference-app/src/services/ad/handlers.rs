//! The handler of the events that ad-service consumes.

use std::time::Duration;

use comms_core::{Error, Scoped, transactional, transport::BoxHandler};

use super::{domain::Wanted, store::Store};
use crate::{
    contracts::{OrderStatus, OrderStatusChanged},
    platform::db::{Db, Tx},
};

/// Handles `order.status.changed` of a choreographed order: reserves the item when the order is paid.
///
/// The reservation, its event and the inbox row are in one transaction. An order that is not choreographed has a
/// coordinator that sends the commands. The confirmation and the release are commands in both cases: the stock is confirmed
/// before the order is shipped, and the shipment is withdrawn before the stock is released. So pieces on their way are not
/// sold again.
pub(super) fn follow_order(db: Db, store: Store, ttl: Duration) -> BoxHandler {
    BoxHandler::new(transactional(db, move |order: OrderStatusChanged, mut tx: Scoped<Tx>| {
        let store = store.clone();
        async move {
            if !order.choreographed || order.status != OrderStatus::Paid {
                return Ok(());
            }
            let item = order.item.ok_or_else(|| Error::invalid("a paid order needs an item"))?;
            let wanted = Wanted { ad_id: item.ad_id, quantity: item.quantity, unit_price: item.unit_price };
            store.reserve(&mut tx, &order.order_id, &wanted, ttl).await.map(drop)
        }
    }))
}
