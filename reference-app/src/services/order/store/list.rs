//! The read model of lists: a row for each order, which the projection [`LIST`] writes.

use std::collections::BTreeSet;

use comms_core::{BoxError, Error, event_sourcing::Recorded};
use uuid::Uuid;

use super::Store;
use crate::{
    contracts::{Money, OrderStatus},
    platform::db::{Row, Tx},
    services::order::domain::Order,
};

/// The name of the projection.
pub(in crate::services::order) const LIST: &str = "orders";
/// The revision of the rows. Raise it when the rows of existing orders must be built anew.
pub(in crate::services::order) const REVISION: u32 = 1;

pub(super) const PAGE: &str =
    "SELECT order_id, buyer_id, ad_id, quantity, price_minor, currency, status, sequence,
    payment_id, reason, created_at, updated_at FROM {s}.orders
    WHERE revision = $1 AND buyer_id = $2 AND order_id < $3 ORDER BY order_id DESC LIMIT $4";
const SAVE: &str =
    "INSERT INTO {s}.orders (revision, order_id, buyer_id, ad_id, quantity, price_minor, currency,
    status, sequence, payment_id, reason, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    ON CONFLICT (revision, order_id) DO UPDATE SET status = excluded.status, sequence = excluded.sequence,
    payment_id = excluded.payment_id, reason = excluded.reason, updated_at = excluded.updated_at";

/// One page of a buyer's orders, newest first.
pub(in crate::services::order) struct Page {
    /// The orders. A corrupt row is an error at its place, so that the caller can show the others.
    pub(in crate::services::order) orders: Vec<Result<Order, Error>>,
    /// The `before` of the next page; `None` on the last page.
    pub(in crate::services::order) next: Option<String>,
    /// The revision of the rows.
    pub(in crate::services::order) revision: u32,
}

impl Store {
    /// Writes the orders of `events` to the read model, in the transaction of the projection.
    ///
    /// A row is the state of its order now, and not the row before it with an event applied: an event that is applied
    /// again, or was skipped, leaves no wrong row.
    pub(in crate::services::order) async fn project(
        &self,
        tx: &mut Tx,
        events: &[Recorded],
    ) -> Result<(), Error> {
        let ids: BTreeSet<_> = events.iter().filter_map(|event| event.message.key()).collect();
        for id in ids {
            let id = std::str::from_utf8(id).map_err(Error::internal)?;
            let order = self.orders.load(tx, id).await?.state;
            tx.execute(
                SAVE,
                &[
                    i64::from(REVISION).into(),
                    id.into(),
                    (&order.buyer_id).into(),
                    (&order.ad_id).into(),
                    i64::from(order.quantity).into(),
                    order.unit_price.minor.into(),
                    (&order.unit_price.currency).into(),
                    <&str>::from(order.status).into(),
                    order.sequence.into(),
                    (&order.payment_id).into(),
                    (&order.reason).into(),
                    order.created_at.into(),
                    order.updated_at.into(),
                ],
            )
            .await?;
        }
        Ok(())
    }

    /// Returns the newest orders of `buyer_id` that are older than the order `before`, at most `limit`. A page begins
    /// at an id and not at an offset, so orders that are added between two calls neither move nor repeat the others.
    pub(in crate::services::order) async fn page(
        &self,
        buyer_id: &str,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Page, Error> {
        // Before a revision is live, the first one is being built. After a rollback from a higher revision, the rows of
        // this program's revision are those that are written.
        let live = self.db.live_revision(LIST).await?;
        let revision = live.map_or(REVISION, |live| live.min(REVISION));
        // The largest UUID is greater than the id of every order.
        let before = before.unwrap_or(Uuid::max()).to_string();
        // One row more than the limit shows whether there is a next page.
        let more = i64::from(limit.saturating_add(1));
        let args = [i64::from(revision).into(), buyer_id.into(), (&before).into(), more.into()];
        let mut rows = self.db.fetch(PAGE, &args).await?;
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let last = rows.last().filter(|_| has_more);
        let next = last.map(|row| row.text("order_id")).transpose()?;
        Ok(Page { orders: rows.iter().map(order).collect(), next, revision })
    }
}

/// Reads an order from a row. A corrupt row is `Internal` and not `Fatal`: it affects this order alone.
fn order(row: &Row) -> Result<Order, Error> {
    parse(row).map_err(|error| Error::internal(error).context("a corrupt row of orders"))
}

/// The fields that a list does not show have their defaults.
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
        ..Order::default()
    })
}
