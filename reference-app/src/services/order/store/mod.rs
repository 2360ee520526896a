//! The SQL of order-service. Each change of an order's status is stored together with its event, in the caller's
//! transaction.

use comms_core::{BoxError, Error, Outbox, clock::rfc3339, event::EventSource};
use uuid::Uuid;

use super::domain::Order;
use crate::{
    contracts::{Money, OrderItem, OrderStatus, OrderStatusChanged},
    platform::db::{Db, Row, Tx},
};

const FIND: &str = "SELECT order_id, buyer_id, ad_id, quantity, price_minor, currency, status, sequence,
    payment_id, reason, created_at, updated_at FROM {s}.orders WHERE order_id = $1";
const PAGE: &str = "SELECT order_id, buyer_id, ad_id, quantity, price_minor, currency, status, sequence,
    payment_id, reason, created_at, updated_at FROM {s}.orders
    WHERE buyer_id = $1 AND order_id < $2 ORDER BY order_id DESC LIMIT $3";

/// One page of a buyer's orders, newest first.
pub(super) struct Page {
    /// The orders. A corrupt row is an error at its place, so that the caller can show the others.
    pub(super) orders: Vec<Result<Order, Error>>,
    /// The `before` of the next page; `None` on the last page.
    pub(super) next: Option<String>,
}

#[derive(Clone)]
pub(super) struct Store {
    db: Db,
    events: EventSource,
}

impl Store {
    pub(super) const fn new(db: Db, events: EventSource) -> Self {
        Self { db, events }
    }

    /// Returns the time, in milliseconds since the Unix epoch.
    pub(super) fn now(&self) -> i64 {
        self.events.clock().unix_millis()
    }

    /// Inserts a new order and its event.
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
        self.enqueue_status(tx, order).await
    }

    /// Stores the status of `order`, with its sequence and reason, and the event.
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
        self.enqueue_status(tx, order).await
    }

    /// Stores the id of the order's payment.
    pub(super) async fn set_payment(
        &self,
        tx: &mut Tx,
        order_id: &str,
        payment_id: &str,
    ) -> Result<(), Error> {
        let sql = "UPDATE {s}.orders SET payment_id = $2 WHERE order_id = $1";
        tx.execute(sql, &[order_id.into(), payment_id.into()]).await.map(|_| ())
    }

    /// Returns the order, and locks its row until the transaction ends.
    pub(super) async fn lock(&self, tx: &mut Tx, order_id: &str) -> Result<Option<Order>, Error> {
        if tx.is_postgres() {
            let sql = "SELECT order_id FROM {s}.orders WHERE order_id = $1 FOR UPDATE";
            tx.fetch(sql, &[order_id.into()]).await?;
        }
        let rows = tx.fetch(FIND, &[order_id.into()]).await?;
        rows.first().map(order).transpose()
    }

    /// Returns the order.
    pub(super) async fn find(&self, order_id: &str) -> Result<Option<Order>, Error> {
        let rows = self.db.fetch(FIND, &[order_id.into()]).await?;
        rows.first().map(order).transpose()
    }

    /// Returns the newest orders of `buyer_id` that are older than the order `before`, at most `limit`. A page begins
    /// at an id and not at an offset, so orders that are added between two calls neither move nor repeat the others.
    pub(super) async fn page(&self, buyer_id: &str, before: Option<Uuid>, limit: u32) -> Result<Page, Error> {
        // The largest UUID is greater than the id of every order.
        let before = before.unwrap_or(Uuid::max()).to_string();
        // One row more than the limit shows whether there is a next page.
        let args = [buyer_id.into(), (&before).into(), i64::from(limit.saturating_add(1)).into()];
        let mut rows = self.db.fetch(PAGE, &args).await?;
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let last = rows.last().filter(|_| has_more);
        let next = last.map(|row| row.text("order_id")).transpose()?;
        Ok(Page { orders: rows.iter().map(order).collect(), next })
    }

    /// Adds the event of the order's current status to the outbox.
    async fn enqueue_status(&self, tx: &mut Tx, order: &Order) -> Result<(), Error> {
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
        let message = self.events.message(&event)?;
        self.db.enqueue(tx, &[message]).await
    }
}

/// Formats a stored time by RFC 3339.
pub(super) fn timestamp(unix_millis: i64) -> String {
    rfc3339(std::time::Duration::from_millis(u64::try_from(unix_millis).unwrap_or_default()))
}

/// Reads an order from a row. A corrupt row is `Internal` and not `Fatal`: it affects this order alone.
fn order(row: &Row) -> Result<Order, Error> {
    parse(row).map_err(|error| Error::internal(error).context("a corrupt row of orders"))
}

fn parse(row: &Row) -> Result<Order, BoxError> {
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
