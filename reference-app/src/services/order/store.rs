//! order-service's own tables.

use std::sync::Arc;

use comms_core::{BoxError, Clock, Error, Message, Outbox, clock::rfc3339};

use super::domain::Order;
use crate::{
    contracts::{Money, OrderStatus, OrderStatusChanged},
    platform::db::{Db, Row, Tx},
};

const COLUMNS: &str = "SELECT order_id, buyer_id, ad_id, quantity, price_minor, currency, status, sequence,
    payment_id, reason, created_at, updated_at FROM {s}.orders WHERE order_id = $1";

#[derive(Clone)]
pub(super) struct Store {
    db: Db,
    source: Arc<str>,
    clock: Clock,
}

impl Store {
    pub(super) fn new(db: Db, source: &str, clock: Clock) -> Self {
        Self { db, source: source.into(), clock }
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.unix_millis()
    }

    /// A new order and the event that says so.
    pub(super) async fn insert(&self, tx: &mut Tx, order: &Order) -> Result<(), Error> {
        tx.execute(
            "INSERT INTO {s}.orders (order_id, buyer_id, ad_id, quantity, price_minor, currency, status,
             sequence, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            &[
                (&order.order_id).into(),
                (&order.buyer_id).into(),
                (&order.ad_id).into(),
                i64::from(order.quantity).into(),
                order.unit_price.minor.into(),
                (&order.unit_price.currency).into(),
                <&str>::from(order.status).into(),
                order.sequence.into(),
                order.created_at.into(),
                order.updated_at.into(),
            ],
        )
        .await?;
        self.announce(tx, order).await
    }

    /// A new status and the event that says so.
    pub(super) async fn update_status(&self, tx: &mut Tx, order: &Order) -> Result<(), Error> {
        tx.execute(
            "UPDATE {s}.orders SET status = $2, sequence = $3, reason = $4, updated_at = $5 WHERE order_id = $1",
            &[
                (&order.order_id).into(),
                <&str>::from(order.status).into(),
                order.sequence.into(),
                (&order.reason).into(),
                order.updated_at.into(),
            ],
        )
        .await?;
        self.announce(tx, order).await
    }

    /// Which payment pays for it.
    pub(super) async fn set_payment(
        &self,
        tx: &mut Tx,
        order_id: &str,
        payment_id: &str,
    ) -> Result<(), Error> {
        let sql = "UPDATE {s}.orders SET payment_id = $2 WHERE order_id = $1";
        tx.execute(sql, &[order_id.into(), payment_id.into()]).await.map(|_| ())
    }

    /// The order, locked until the transaction ends.
    pub(super) async fn lock(&self, tx: &mut Tx, order_id: &str) -> Result<Option<Order>, Error> {
        if tx.is_postgres() {
            let sql = "SELECT order_id FROM {s}.orders WHERE order_id = $1 FOR UPDATE";
            tx.fetch(sql, &[order_id.into()]).await?;
        }
        let rows = tx.fetch(COLUMNS, &[order_id.into()]).await?;
        rows.first().map(order).transpose()
    }

    /// The order as it stands.
    pub(super) async fn find(&self, order_id: &str) -> Result<Option<Order>, Error> {
        let rows = self.db.fetch(COLUMNS, &[order_id.into()]).await?;
        rows.first().map(order).transpose()
    }

    async fn announce(&self, tx: &mut Tx, order: &Order) -> Result<(), Error> {
        let event = OrderStatusChanged {
            order_id: order.order_id.clone(),
            buyer_id: order.buyer_id.clone(),
            status: order.status,
            sequence: order.sequence,
            total: order.total().map_err(Error::internal)?,
            reason: order.reason.clone(),
            changed_at: timestamp(order.updated_at),
        };
        let message = Message::event(&self.source, &event, &self.clock)?;
        self.db.enqueue(tx, &[message]).await
    }
}

/// A stored time as it is shown.
pub(super) fn timestamp(unix_millis: i64) -> String {
    rfc3339(std::time::Duration::from_millis(u64::try_from(unix_millis).unwrap_or_default()))
}

/// A row that cannot be read is a defect met by this order alone: the process goes on with the others.
fn order(row: &Row) -> Result<Order, Error> {
    read(row).map_err(|error| Error::internal(error).context("a corrupt row of orders"))
}

fn read(row: &Row) -> Result<Order, BoxError> {
    Ok(Order {
        order_id: row.text("order_id")?,
        buyer_id: row.text("buyer_id")?,
        ad_id: row.text("ad_id")?,
        quantity: u32::try_from(row.int("quantity")?)?,
        unit_price: Money { minor: row.int("price_minor")?, currency: row.text("currency")? },
        status: row.text("status")?.parse::<OrderStatus>()?,
        sequence: row.int("sequence")?,
        payment_id: row.maybe_text("payment_id")?,
        reason: row.maybe_text("reason")?,
        created_at: row.int("created_at")?,
        updated_at: row.int("updated_at")?,
    })
}

#[cfg(test)]
mod tests;
