//! order-service's own tables.

use comms_core::{BoxError, Error, Outbox, clock::rfc3339, event::EventSource};
use uuid::Uuid;

use super::domain::Order;
use crate::{
    contracts::{Money, OrderStatus, OrderStatusChanged},
    platform::db::{Db, Row, Tx},
};

const FIND: &str = "SELECT order_id, buyer_id, ad_id, quantity, price_minor, currency, status, sequence,
    payment_id, reason, created_at, updated_at FROM {s}.orders WHERE order_id = $1";
const PAGE: &str = "SELECT order_id, buyer_id, ad_id, quantity, price_minor, currency, status, sequence,
    payment_id, reason, created_at, updated_at FROM {s}.orders
    WHERE buyer_id = $1 AND order_id < $2 ORDER BY order_id DESC LIMIT $3";

/// One page of a buyer's orders, newest first.
pub(super) struct Page {
    /// A row that cannot be read is an error in its place: the others of the page are shown.
    pub(super) orders: Vec<Result<Order, Error>>,
    /// The `before` of the next page; `None` on the last one.
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

    pub(super) fn now(&self) -> i64 {
        self.events.clock().unix_millis()
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
        let rows = tx.fetch(FIND, &[order_id.into()]).await?;
        rows.first().map(order).transpose()
    }

    /// The order as it stands.
    pub(super) async fn find(&self, order_id: &str) -> Result<Option<Order>, Error> {
        let rows = self.db.fetch(FIND, &[order_id.into()]).await?;
        rows.first().map(order).transpose()
    }

    /// The newest orders of `buyer_id`, at most `limit`, of those older than the order `before`. Orders that are
    /// added meanwhile neither shift a page nor come twice, because a page begins below an id and not at a number.
    pub(super) async fn page(&self, buyer_id: &str, before: Option<Uuid>, limit: u32) -> Result<Page, Error> {
        // The largest UUID is above every order's.
        let before = before.unwrap_or(Uuid::max()).to_string();
        // One row more than asked for shows whether there is a next page.
        let args = [buyer_id.into(), (&before).into(), i64::from(limit.saturating_add(1)).into()];
        let mut rows = self.db.fetch(PAGE, &args).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let last = rows.last().filter(|_| more);
        let next = last.map(|row| row.text("order_id")).transpose()?;
        Ok(Page { orders: rows.iter().map(order).collect(), next })
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
        let message = self.events.message(&event)?;
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
