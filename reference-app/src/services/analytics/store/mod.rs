//! The SQL of analytics-service.

use std::time::Duration;

use comms_core::{BoxError, Error, health::Heartbeat, in_transaction};

use super::{
    PROJECTION,
    domain::{Changes, Order},
};
use crate::{
    contracts::analytics::proto::{DailyRevenue, OrderCount},
    platform::db::{Db, Row, Tx},
};

/// The rows that one transaction deletes.
const CHUNK: i64 = 1_000;
/// The statements of the deletion. Each reads a range of the primary key.
const OLDEST_ORDER: &str =
    "SELECT revision, order_id FROM {s}.orders WHERE revision < $1 ORDER BY revision, order_id LIMIT 1";
const LAST_OF_CHUNK: &str = "SELECT order_id FROM {s}.orders WHERE revision = $1 AND order_id >= $2
    ORDER BY order_id LIMIT $3";
const DELETE_RANGE: &str = "DELETE FROM {s}.orders WHERE revision = $1 AND order_id >= $2 AND order_id <= $3";

/// Returns the live revision of the figures, as `tx` sees it.
pub(super) async fn live_revision(tx: &mut Tx) -> Result<Option<i64>, Error> {
    let sql = "SELECT live_revision FROM {s}.comms_projection WHERE name = $1";
    let rows = tx.fetch(sql, &[PROJECTION.into()]).await?;
    rows.first().map(|row| row.int("live_revision")).transpose()
}

/// Returns the last known state of an order.
pub(super) async fn order(tx: &mut Tx, revision: u32, order_id: &str) -> Result<Option<Order>, Error> {
    let sql = "SELECT sequence, status, created_hour, payment FROM {s}.orders WHERE revision = $1 AND order_id = $2";
    let rows = tx.fetch(sql, &[i64::from(revision).into(), order_id.into()]).await?;
    let order = rows.first().map(parse_order).transpose();
    order.map_err(|error| Error::internal(error).context("a corrupt row of orders"))
}

fn parse_order(row: &Row) -> Result<Order, BoxError> {
    Ok(Order {
        sequence: row.int("sequence")?,
        status: row.text("status")?.parse()?,
        created_hour: row.int("created_hour")?,
        payment: row.text("payment")?.parse()?,
    })
}

/// Stores the last known state of an order.
pub(super) async fn save_order(
    tx: &mut Tx,
    revision: u32,
    order_id: &str,
    order: &Order,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO {s}.orders (revision, order_id, sequence, status, created_hour, payment)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (revision, order_id) DO UPDATE
         SET sequence = excluded.sequence, status = excluded.status, payment = excluded.payment",
        &[
            i64::from(revision).into(),
            order_id.into(),
            order.sequence.into(),
            <&str>::from(order.status).into(),
            order.created_hour.into(),
            <&str>::from(order.payment).into(),
        ],
    )
    .await
    .map(drop)
}

/// Adds `changes` to the figures.
///
/// # Errors
/// Returns `Invalid` if the revenue of a day exceeds the largest amount.
pub(super) async fn save_changes(tx: &mut Tx, revision: u32, changes: Changes) -> Result<(), Error> {
    for ((hour, status), change) in changes.hours {
        tx.execute(
            "INSERT INTO {s}.hours AS h (revision, hour, status, orders, transitions) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (revision, hour, status) DO UPDATE
             SET orders = h.orders + excluded.orders, transitions = h.transitions + excluded.transitions",
            &[
                i64::from(revision).into(),
                hour.into(),
                status.into(),
                change.orders.into(),
                change.transitions.into(),
            ],
        )
        .await?;
    }
    for ((day, currency), change) in changes.revenue {
        // SQLite would turn a sum that is out of range into a float, so the sum is computed here. Only the process with
        // the projection's lease commits, so no other transaction changes the row.
        let sql = "SELECT minor FROM {s}.revenue WHERE revision = $1 AND day = $2 AND currency = $3";
        let rows = tx.fetch(sql, &[i64::from(revision).into(), day.into(), (&currency).into()]).await?;
        let before = rows.first().map_or(Ok(0), |row| row.int("minor"))?;
        let minor = i64::try_from(i128::from(before) + change.minor);
        let minor = minor.map_err(|_| {
            Error::invalid(format!(
                "the revenue in {currency} of the day at {day} exceeds the largest amount"
            ))
        })?;
        tx.execute(
            "INSERT INTO {s}.revenue AS r (revision, day, currency, minor, paid, refunded)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (revision, day, currency) DO UPDATE
             SET minor = excluded.minor, paid = r.paid + excluded.paid, refunded = r.refunded + excluded.refunded",
            &[
                i64::from(revision).into(),
                day.into(),
                (&currency).into(),
                minor.into(),
                change.paid.into(),
                change.refunded.into(),
            ],
        )
        .await?;
    }
    Ok(())
}

/// Stores that the figures include the events up to one that was stored at `recorded_at`.
pub(super) async fn save_applied(tx: &mut Tx, revision: u32, recorded_at: Duration) -> Result<(), Error> {
    let millis = i64::try_from(recorded_at.as_millis()).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO {s}.applied AS a (revision, recorded_at) VALUES ($1, $2)
         ON CONFLICT (revision) DO UPDATE SET recorded_at = excluded.recorded_at WHERE a.recorded_at < excluded.recorded_at",
        &[i64::from(revision).into(), millis.into()],
    )
    .await
    .map(drop)
}

/// Returns when the last event was stored that the live figures include, in milliseconds since 1970.
pub(super) async fn as_of(db: &Db) -> Result<Option<i64>, Error> {
    let sql = "SELECT recorded_at FROM {s}.applied
         WHERE revision = (SELECT live_revision FROM {s}.comms_projection WHERE name = $1)";
    db.fetch(sql, &[PROJECTION.into()]).await?.first().map(|row| row.int("recorded_at")).transpose()
}

/// Returns the counts of the hours that begin in the range, of the live revision.
///
/// The live revision is read in the same statement, because its rows are deleted soon after another one is live.
pub(super) async fn hours(db: &Db, from: i64, to: i64) -> Result<Vec<OrderCount>, Error> {
    let sql = "SELECT hour, status, orders, transitions FROM {s}.hours
         WHERE revision = (SELECT live_revision FROM {s}.comms_projection WHERE name = $1)
           AND hour >= $2 AND hour < $3 AND (orders <> 0 OR transitions <> 0) ORDER BY hour, status";
    let rows = db.fetch(sql, &[PROJECTION.into(), from.into(), to.into()]).await?;
    let count = |row: &Row| {
        Ok(OrderCount {
            hour: row.int("hour")?,
            status: row.text("status")?,
            orders: row.int("orders")?,
            transitions: row.int("transitions")?,
        })
    };
    rows.iter().map(count).collect()
}

/// Returns the revenue of the days that begin in the range, of the live revision.
pub(super) async fn revenue(db: &Db, from: i64, to: i64) -> Result<Vec<DailyRevenue>, Error> {
    let sql = "SELECT day, currency, minor, paid, refunded FROM {s}.revenue
         WHERE revision = (SELECT live_revision FROM {s}.comms_projection WHERE name = $1)
           AND day >= $2 AND day < $3 ORDER BY day, currency";
    let rows = db.fetch(sql, &[PROJECTION.into(), from.into(), to.into()]).await?;
    let daily = |row: &Row| {
        Ok(DailyRevenue {
            day: row.int("day")?,
            currency: row.text("currency")?,
            minor: row.int("minor")?,
            paid: row.int("paid")?,
            refunded: row.int("refunded")?,
        })
    };
    rows.iter().map(daily).collect()
}

/// Returns whether there are figures of a revision below `live`.
pub(super) async fn has_older(db: &Db, live: u32) -> Result<bool, Error> {
    let sql = "SELECT revision FROM {s}.applied WHERE revision < $1 LIMIT 1";
    Ok(!db.fetch(sql, &[i64::from(live).into()]).await?.is_empty())
}

/// Deletes the figures of the revisions below `live`, in short transactions. The rows of `applied` are deleted last, so
/// that an interrupted deletion is continued.
pub(super) async fn delete_older(db: &Db, live: u32, heartbeat: &Heartbeat) -> Result<(), Error> {
    let live = i64::from(live);
    while delete_some_orders(db, live).await? {
        heartbeat.beat();
    }
    in_transaction(db, async |mut tx| {
        for sql in [
            "DELETE FROM {s}.hours WHERE revision < $1",
            "DELETE FROM {s}.revenue WHERE revision < $1",
            "DELETE FROM {s}.applied WHERE revision < $1",
        ] {
            tx.execute(sql, &[live.into()]).await?;
        }
        Ok(())
    })
    .await
}

/// Deletes the first [`CHUNK`] orders of the oldest revision below `live`. Returns whether there were any.
async fn delete_some_orders(db: &Db, live: i64) -> Result<bool, Error> {
    in_transaction(db, async |mut tx| {
        let oldest = tx.fetch(OLDEST_ORDER, &[live.into()]).await?;
        let Some(oldest) = oldest.first() else { return Ok(false) };
        let (revision, first) = (oldest.int("revision")?, oldest.text("order_id")?);
        // The last order of the chunk. A chunk that is not full ends at the last order of the revision.
        let last = tx.fetch(LAST_OF_CHUNK, &[revision.into(), (&first).into(), CHUNK.into()]).await?;
        let last = last.last().map_or(Ok(first.clone()), |row| row.text("order_id"))?;
        tx.execute(DELETE_RANGE, &[revision.into(), (&first).into(), (&last).into()]).await?;
        Ok(true)
    })
    .await
}

#[cfg(test)]
mod tests;
