//! The SQL of payment-service. Each change of a payment's status is stored together with its event, in the caller's
//! transaction.

use comms_core::{BoxError, Error, Outbox, event::EventSource};

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

    /// Returns a new pending payment of the order.
    ///
    /// # Errors
    /// Returns the error of [`Payment::new`].
    pub(super) fn new_payment(
        &self,
        order_id: String,
        buyer_id: String,
        amount: Money,
    ) -> Result<Payment, Error> {
        let clock = self.events.clock();
        Payment::new(clock.uuid_v7().to_string(), order_id, buyer_id, amount, clock.unix_millis())
    }

    /// Stores `payment` with its event. An order that has a payment keeps it, and its current status is published again.
    /// Returns the payment of the order.
    ///
    /// # Errors
    /// Returns the error of [`Payment::check_currency`] for an order without a payment. Roll the transaction back then.
    pub(super) async fn request(&self, tx: &mut Tx, payment: Payment) -> Result<Payment, Error> {
        let payment = match self.insert(tx, &payment).await? {
            true => {
                payment.check_currency()?;
                payment
            }
            false => self.lock_of_order(tx, &payment.order_id).await?,
        };
        self.enqueue_status(tx, &payment).await?;
        Ok(payment)
    }

    /// Cancels or refunds the payment of an order, and publishes its status. The payment of an order without a payment
    /// is stored as cancelled, so that a later request finds it and charges nothing. `payment` is the payment as it
    /// would be requested. Returns the payment of the order.
    pub(super) async fn cancel(&self, tx: &mut Tx, payment: Payment) -> Result<Payment, Error> {
        let cancelled = Payment { status: PaymentStatus::Cancelled, ..payment };
        if self.insert(tx, &cancelled).await? {
            self.enqueue_status(tx, &cancelled).await?;
            return Ok(cancelled);
        }
        let mut payment = self.lock_of_order(tx, &cancelled.order_id).await?;
        if !payment.cancel(self.events.clock().unix_millis()) {
            self.enqueue_status(tx, &payment).await?;
            return Ok(payment);
        }
        if payment.status == PaymentStatus::Refunded {
            self.refund(tx, &payment).await?;
        }
        self.update_status(tx, &payment).await?;
        Ok(payment)
    }

    /// Publishes the current status of the order's payment again, as a new message with the same sequence.
    pub(super) async fn announce(&self, tx: &mut Tx, order_id: &str) -> Result<(), Error> {
        let payment = self.lock_of_order(tx, order_id).await?;
        self.enqueue_status(tx, &payment).await
    }

    /// Inserts `payment`, unless its order has a payment. Returns whether the payment was inserted. Waits for another
    /// transaction that inserts a payment of the order.
    async fn insert(&self, tx: &mut Tx, payment: &Payment) -> Result<bool, Error> {
        let sql =
            "INSERT INTO {s}.payments (payment_id, order_id, buyer_id, amount_minor, currency, status, sequence,
             created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (order_id) DO NOTHING";
        let args = [
            (&payment.payment_id).into(),
            (&payment.order_id).into(),
            (&payment.buyer_id).into(),
            payment.amount.minor.into(),
            (&payment.amount.currency).into(),
            <&str>::from(payment.status).into(),
            payment.sequence.into(),
            payment.created_at.into(),
            payment.updated_at.into(),
        ];
        Ok(tx.execute(sql, &args).await? == 1)
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
        let sql =
            "INSERT INTO {s}.charges (charge_id, payment_id, order_id, amount_minor, currency, charged_at)
             VALUES ($1, $2, $3, $4, $5, $6)";
        self.insert_money(tx, sql, payment).await
    }

    /// Inserts the refund of `payment`.
    async fn refund(&self, tx: &mut Tx, payment: &Payment) -> Result<(), Error> {
        let sql =
            "INSERT INTO {s}.refunds (refund_id, payment_id, order_id, amount_minor, currency, refunded_at)
             VALUES ($1, $2, $3, $4, $5, $6)";
        self.insert_money(tx, sql, payment).await
    }

    async fn insert_money(&self, tx: &mut Tx, sql: &'static str, payment: &Payment) -> Result<(), Error> {
        let id = self.events.clock().uuid_v7().to_string();
        let args = [
            (&id).into(),
            (&payment.payment_id).into(),
            (&payment.order_id).into(),
            payment.amount.minor.into(),
            (&payment.amount.currency).into(),
            payment.updated_at.into(),
        ];
        tx.execute(sql, &args).await.map(drop)
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

    /// Returns the payment of the order, and locks its row until the transaction ends.
    async fn lock_of_order(&self, tx: &mut Tx, order_id: &str) -> Result<Payment, Error> {
        let sql = "SELECT payment_id FROM {s}.payments WHERE order_id = $1";
        let rows = tx.fetch(sql, &[order_id.into()]).await?;
        let payment = match rows.first() {
            Some(row) => self.lock(tx, &row.text("payment_id")?).await?,
            None => None,
        };
        payment.ok_or_else(|| Error::internal(format!("the payment of the order {order_id} is gone")))
    }

    /// Returns each status that the payment of the order has entered, or nothing if the order has no payment.
    ///
    /// # Errors
    /// Returns `Internal` if the row is corrupt, and the errors of [`Db::fetch`].
    pub(super) async fn history(&self, order_id: &str) -> Result<Vec<Payment>, Error> {
        let sql = "SELECT payment_id, order_id, buyer_id, amount_minor, currency, status, sequence, reason, created_at,
             updated_at, (SELECT MIN(charged_at) FROM {s}.charges c WHERE c.order_id = p.order_id) AS charged_at
             FROM {s}.payments p WHERE order_id = $1";
        let rows = self.db.fetch(sql, &[order_id.into()]).await?;
        let Some(row) = rows.first() else { return Ok(Vec::new()) };
        Ok(payment(row)?.history(row.maybe_int("charged_at")?))
    }

    /// Adds the event of the payment's current status to the outbox.
    async fn enqueue_status(&self, tx: &mut Tx, payment: &Payment) -> Result<(), Error> {
        let event = PaymentStatusChanged {
            payment_id: payment.payment_id.clone(),
            order_id: payment.order_id.clone(),
            status: payment.status,
            sequence: payment.sequence,
            amount: payment.amount.clone(),
            reason: payment.reason.clone(),
            changed_at: payment.changed_at(),
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
