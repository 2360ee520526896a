//! The SQL of shipments. Each change is stored together with its event, in the caller's transaction.

use comms_core::{BoxError, Error, Outbox, event::EventSource};

use super::domain::Shipment;
use crate::{
    contracts::{DeliveryStatus, DeliveryStatusChanged},
    platform::db::{Db, Row, Tx},
};

/// The position of a due shipment: its due time and its order.
pub(super) type Due = (i64, String);

#[derive(Clone)]
pub(super) struct Store {
    db: Db,
    events: EventSource,
}

impl Store {
    pub(super) const fn new(db: Db, events: EventSource) -> Self {
        Self { db, events }
    }

    /// Inserts `shipment`, unless its order has a shipment. Returns whether the shipment was inserted. Waits for another
    /// transaction that inserts a shipment of the order.
    pub(super) async fn insert(&self, tx: &mut Tx, shipment: &Shipment) -> Result<bool, Error> {
        let sql =
            "INSERT INTO {s}.shipments (order_id, status, sequence, reason, due_at, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (order_id) DO NOTHING";
        let args = [
            (&shipment.order_id).into(),
            <&str>::from(shipment.status).into(),
            shipment.sequence.into(),
            (&shipment.reason).into(),
            shipment.due_at.into(),
            shipment.created_at.into(),
            shipment.updated_at.into(),
        ];
        Ok(tx.execute(sql, &args).await? == 1)
    }

    /// Returns the shipment of the order, and locks its row until the transaction ends.
    pub(super) async fn lock(&self, tx: &mut Tx, order_id: &str) -> Result<Shipment, Error> {
        if tx.is_postgres() {
            let sql = "SELECT order_id FROM {s}.shipments WHERE order_id = $1 FOR UPDATE";
            tx.fetch(sql, &[order_id.into()]).await?;
        }
        let sql = "SELECT order_id, status, sequence, reason, due_at, created_at, updated_at
             FROM {s}.shipments WHERE order_id = $1";
        let rows = tx.fetch(sql, &[order_id.into()]).await?;
        let gone = || Error::internal(format!("the shipment of the order {order_id} is gone"));
        rows.first().map(shipment).ok_or_else(gone)?
    }

    /// Stores the status of `shipment`, with its sequence and reason, and the event.
    pub(super) async fn update_status(&self, tx: &mut Tx, shipment: &Shipment) -> Result<(), Error> {
        let sql = "UPDATE {s}.shipments SET status = $2, sequence = $3, reason = $4, updated_at = $5
             WHERE order_id = $1";
        let args = [
            (&shipment.order_id).into(),
            <&str>::from(shipment.status).into(),
            shipment.sequence.into(),
            (&shipment.reason).into(),
            shipment.updated_at.into(),
        ];
        tx.execute(sql, &args).await?;
        self.publish(tx, &[shipment.event()]).await
    }

    /// Adds events to the outbox.
    pub(super) async fn publish(&self, tx: &mut Tx, events: &[DeliveryStatusChanged]) -> Result<(), Error> {
        let messages: Result<Vec<_>, Error> = events.iter().map(|event| self.events.message(event)).collect();
        self.db.enqueue(tx, &messages?).await
    }

    /// Returns the first shipments after `after` that are due at `now`.
    pub(super) async fn due(&self, now: i64, after: Option<&Due>) -> Result<Vec<Due>, Error> {
        let (due_at, order_id) = after.map_or((i64::MIN, ""), |(due_at, order_id)| (*due_at, order_id));
        // The limit is `PAGE`. It stands in the text, because a plan for an unknown limit may read the whole index.
        let sql = "SELECT due_at, order_id FROM {s}.shipments WHERE status = 'ACCEPTED' AND due_at <= $1
             AND (due_at > $2 OR (due_at = $2 AND order_id > $3)) ORDER BY due_at, order_id LIMIT 100";
        let rows = self.db.fetch(sql, &[now.into(), due_at.into(), order_id.into()]).await?;
        rows.iter().map(|row| Ok((row.int("due_at")?, row.text("order_id")?))).collect()
    }
}

/// Reads a shipment from a row. A corrupt row is `Internal` and not `Fatal`: it affects this shipment alone.
fn shipment(row: &Row) -> Result<Shipment, Error> {
    parse(row).map_err(|error| Error::internal(error).context("a corrupt row of shipments"))
}

fn parse(row: &Row) -> Result<Shipment, BoxError> {
    Ok(Shipment {
        order_id: row.text("order_id")?,
        status: row.text("status")?.parse::<DeliveryStatus>()?,
        sequence: u32::try_from(row.int("sequence")?)?.into(),
        reason: row.maybe_text("reason")?,
        due_at: row.int("due_at")?,
        created_at: row.int("created_at")?,
        updated_at: row.int("updated_at")?,
    })
}
