//! The SQL of payment-service. Each change of a payment's status is stored together with its event, in the caller's
//! transaction.

use std::time::Duration;

use comms_core::{BoxError, Error, Outbox, clock::rfc3339, event::EventSource};

use super::domain::Payment;
use crate::{
    contracts::{Money, PaymentStatus, PaymentStatusChanged},
    platform::db::{Db, Row, Tx},
};

#[derive(Clone)]
pub(super) struct Store {
    db: Db,
    events: EventSource,
}

impl Store {
    pub(super) const fn new(db: Db, events: EventSource) -> Self {
        Self { db, events }
    }

    /// Inserts a new payment and its event.
    pub(super) async fn insert(&self, tx: &mut Tx, payment: &Payment) -> Result<(), Error> {
        tx.execute(
            "INSERT INTO {s}.payments (payment_id, order_id, buyer_id, amount_minor, currency, status, sequence,
             created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &[
                (&payment.payment_id).into(),
                (&payment.order_id).into(),
                (&payment.buyer_id).into(),
                payment.amount.minor.into(),
                (&payment.amount.currency).into(),
                <&str>::from(payment.status).into(),
                payment.sequence.into(),
                payment.created_at.into(),
                payment.updated_at.into(),
            ],
        )
        .await?;
        self.enqueue_status(tx, payment).await
    }

    /// Stores the status of `payment`, with its sequence and reason, and the event.
    pub(super) async fn update_status(&self, tx: &mut Tx, payment: &Payment) -> Result<(), Error> {
        tx.execute(
            "UPDATE {s}.payments SET status = $2, sequence = $3, reason = $4, updated_at = $5
             WHERE payment_id = $1",
            &[
                (&payment.payment_id).into(),
                <&str>::from(payment.status).into(),
                payment.sequence.into(),
                (&payment.reason).into(),
                payment.updated_at.into(),
            ],
        )
        .await?;
        self.enqueue_status(tx, payment).await
    }

    /// Inserts the charge of `payment`.
    pub(super) async fn charge(&self, tx: &mut Tx, payment: &Payment) -> Result<(), Error> {
        let charge_id = self.events.clock().uuid_v7().to_string();
        tx.execute(
            "INSERT INTO {s}.charges (charge_id, payment_id, order_id, amount_minor, currency, charged_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                (&charge_id).into(),
                (&payment.payment_id).into(),
                (&payment.order_id).into(),
                payment.amount.minor.into(),
                (&payment.amount.currency).into(),
                payment.updated_at.into(),
            ],
        )
        .await
        .map(|_| ())
    }

    /// Returns the payment, and locks its row until the transaction ends.
    pub(super) async fn lock(&self, tx: &mut Tx, payment_id: &str) -> Result<Option<Payment>, Error> {
        if tx.is_postgres() {
            let sql = "SELECT payment_id FROM {s}.payments WHERE payment_id = $1 FOR UPDATE";
            tx.fetch(sql, &[payment_id.into()]).await?;
        }
        let sql = "SELECT payment_id, order_id, buyer_id, amount_minor, currency, status, sequence, reason,
             created_at, updated_at FROM {s}.payments WHERE payment_id = $1";
        tx.fetch(sql, &[payment_id.into()]).await?.first().map(payment).transpose()
    }

    /// Adds the event of the payment's current status to the outbox.
    async fn enqueue_status(&self, tx: &mut Tx, payment: &Payment) -> Result<(), Error> {
        let changed_at = Duration::from_millis(u64::try_from(payment.updated_at).unwrap_or_default());
        let event = PaymentStatusChanged {
            payment_id: payment.payment_id.clone(),
            order_id: payment.order_id.clone(),
            status: payment.status,
            sequence: payment.sequence,
            amount: payment.amount.clone(),
            reason: payment.reason.clone(),
            changed_at: rfc3339(changed_at),
        };
        let message = self.events.message(&event)?;
        self.db.enqueue(tx, &[message]).await
    }
}

/// Reads a payment from a row. A corrupt row is `Internal` and not `Fatal`: it affects this payment alone.
fn payment(row: &Row) -> Result<Payment, Error> {
    parse(row).map_err(|error| Error::internal(error).context("a corrupt row of payments"))
}

fn parse(row: &Row) -> Result<Payment, BoxError> {
    Ok(Payment {
        payment_id: row.text("payment_id")?,
        order_id: row.text("order_id")?,
        buyer_id: row.text("buyer_id")?,
        amount: Money { minor: row.int("amount_minor")?, currency: row.text("currency")? },
        status: row.text("status")?.parse::<PaymentStatus>()?,
        sequence: row.int("sequence")?,
        reason: row.maybe_text("reason")?,
        created_at: row.int("created_at")?,
        updated_at: row.int("updated_at")?,
    })
}

#[cfg(test)]
mod tests;
