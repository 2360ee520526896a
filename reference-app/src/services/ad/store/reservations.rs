//! The SQL of reservations. Each command changes the reservation and the stock of its ad, and stores the event, in the
//! caller's transaction.
//!
//! Every transaction locks the reservation first and the ad second, so that two transactions cannot wait for each other.

use std::time::Duration;

use comms_core::{BoxError, Error, Outbox};

use super::{Store, timestamp};
use crate::{
    contracts::{ReservationChanged, ReservationStatus},
    platform::db::{Row, Tx},
    services::ad::domain::{Reservation, Wanted, check_id},
};

const FIND: &str =
    "SELECT order_id, ad_id, quantity, status, reason, sequence, expires_at, created_at, updated_at
    FROM {s}.reservations WHERE order_id = $1";
const DUE: &str = "SELECT order_id, expires_at FROM {s}.reservations
    WHERE status = 'RESERVED' AND expires_at <= $1 AND (expires_at, order_id) > ($2, $3)
    ORDER BY expires_at, order_id LIMIT $4";

/// A reservation whose time is over: its place in the order in which reservations expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::services::ad) struct Due {
    pub(in crate::services::ad) expires_at: i64,
    pub(in crate::services::ad) order_id: String,
}

impl Store {
    /// Reserves what the order wants for `ttl`.
    pub(in crate::services::ad) async fn reserve(
        &self,
        tx: &mut Tx,
        order_id: &str,
        wanted: &Wanted,
        ttl: Duration,
    ) -> Result<Reservation, Error> {
        wanted.validate()?;
        let mut reservation = self.lock_or_insert(tx, order_id).await?;
        let ad = self.lock_ad(tx, &wanted.ad_id).await?;
        let now = self.now();
        let expires_at = now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        let taken = reservation.reserve(wanted, ad.as_ref(), expires_at, now)?;
        self.save(tx, reservation, taken).await
    }

    /// Makes the reservation of the order permanent.
    ///
    /// # Errors
    /// Returns `NotFound` if the order has no reservation.
    pub(in crate::services::ad) async fn confirm(
        &self,
        tx: &mut Tx,
        order_id: &str,
    ) -> Result<Reservation, Error> {
        let mut reservation = self.lock(tx, order_id).await?.ok_or_else(|| unknown(order_id))?;
        let ad = match &reservation.ad_id {
            Some(ad_id) => self.lock_ad(tx, ad_id).await?,
            None => None,
        };
        let taken = reservation.confirm(ad.map_or(0, |ad| ad.available), self.now());
        self.save(tx, reservation, taken).await
    }

    /// Releases the order's reservation, or prevents it.
    pub(in crate::services::ad) async fn release(
        &self,
        tx: &mut Tx,
        order_id: &str,
    ) -> Result<Reservation, Error> {
        let mut reservation = self.lock_or_insert(tx, order_id).await?;
        let taken = reservation.release(self.now());
        self.save(tx, reservation, taken).await
    }

    /// Expires the order's reservation if it is still due. Returns whether it has expired.
    pub(in crate::services::ad) async fn expire(&self, tx: &mut Tx, order_id: &str) -> Result<bool, Error> {
        let mut reservation = self.lock(tx, order_id).await?.ok_or_else(|| unknown(order_id))?;
        let sequence = reservation.sequence;
        let taken = reservation.expire(self.now());
        if reservation.sequence == sequence {
            return Ok(false); // Confirmed, released or expired since the page was read.
        }
        self.save(tx, reservation, taken).await.map(|_| true)
    }

    /// Publishes the event of the reservation's current state again.
    pub(in crate::services::ad) async fn publish_again(
        &self,
        tx: &mut Tx,
        order_id: &str,
    ) -> Result<Reservation, Error> {
        let reservation = self.lock(tx, order_id).await?.ok_or_else(|| unknown(order_id))?;
        self.enqueue_changed(tx, &reservation).await?;
        Ok(reservation)
    }

    /// Returns the first reservations that are due, at most `limit`, in the order in which they expire, behind `after`.
    pub(in crate::services::ad) async fn due(
        &self,
        after: Option<&Due>,
        limit: u32,
    ) -> Result<Vec<Due>, Error> {
        let (expires_at, order_id) = after.map_or((i64::MIN, ""), |due| (due.expires_at, &due.order_id));
        let args = [self.now().into(), expires_at.into(), order_id.into(), i64::from(limit).into()];
        let rows = self.db.fetch(DUE, &args).await?;
        let due = |row: &Row| Ok(Due { expires_at: row.int("expires_at")?, order_id: row.text("order_id")? });
        rows.iter().map(due).collect()
    }

    /// Returns the reservation of the order, and locks its row until the transaction ends. Inserts the row if there is
    /// none: of two transactions, one inserts it, and the other one waits and then reads it.
    async fn lock_or_insert(&self, tx: &mut Tx, order_id: &str) -> Result<Reservation, Error> {
        check_id(order_id)?;
        let new = Reservation::new(order_id.to_owned(), self.now());
        tx.execute(
            "INSERT INTO {s}.reservations (order_id, quantity, status, sequence, expires_at, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (order_id) DO NOTHING",
            &[
                order_id.into(),
                i64::from(new.quantity).into(),
                <&str>::from(new.status).into(),
                new.sequence.into(),
                new.expires_at.into(),
                new.created_at.into(),
                new.updated_at.into(),
            ],
        )
        .await?;
        self.lock(tx, order_id).await?.ok_or_else(|| unknown(order_id))
    }

    async fn lock(&self, tx: &mut Tx, order_id: &str) -> Result<Option<Reservation>, Error> {
        if tx.is_postgres() {
            let sql = "SELECT order_id FROM {s}.reservations WHERE order_id = $1 FOR UPDATE";
            tx.fetch(sql, &[order_id.into()]).await?;
        }
        tx.fetch(FIND, &[order_id.into()]).await?.first().map(reservation).transpose()
    }

    /// Stores the reservation, takes the pieces from the available stock, and adds the event to the outbox.
    async fn save(&self, tx: &mut Tx, reservation: Reservation, taken: i64) -> Result<Reservation, Error> {
        tx.execute(
            "UPDATE {s}.reservations SET ad_id = $2, quantity = $3, status = $4, reason = $5, sequence = $6,
             expires_at = $7, updated_at = $8 WHERE order_id = $1",
            &[
                (&reservation.order_id).into(),
                (&reservation.ad_id).into(),
                i64::from(reservation.quantity).into(),
                <&str>::from(reservation.status).into(),
                (&reservation.reason).into(),
                reservation.sequence.into(),
                reservation.expires_at.into(),
                reservation.updated_at.into(),
            ],
        )
        .await?;
        if taken != 0 {
            let sql = "UPDATE {s}.ads SET available = available - $2 WHERE ad_id = $1 AND available >= $2";
            let changed = tx.execute(sql, &[(&reservation.ad_id).into(), taken.into()]).await?;
            if changed != 1 {
                return Err(Error::internal(format!("no stock for the order {}", reservation.order_id)));
            }
        }
        self.enqueue_changed(tx, &reservation).await?;
        Ok(reservation)
    }

    /// Adds the event of the reservation's current state to the outbox.
    async fn enqueue_changed(&self, tx: &mut Tx, reservation: &Reservation) -> Result<(), Error> {
        let event = ReservationChanged {
            order_id: reservation.order_id.clone(),
            ad_id: reservation.ad_id.clone(),
            quantity: reservation.quantity,
            status: reservation.status,
            reason: reservation.reason.clone(),
            sequence: reservation.sequence,
            changed_at: timestamp(reservation.updated_at),
        };
        let message = self.events.message(&event)?;
        self.db.enqueue(tx, &[message]).await
    }
}

fn unknown(order_id: &str) -> Error {
    Error::not_found(format!("the order {order_id} has no reservation"))
}

/// Reads a reservation from a row. A corrupt row is `Internal` and not `Fatal`: it affects this reservation alone.
fn reservation(row: &Row) -> Result<Reservation, Error> {
    parse(row).map_err(|error| Error::internal(error).context("a corrupt row of reservations"))
}

fn parse(row: &Row) -> Result<Reservation, BoxError> {
    Ok(Reservation {
        order_id: row.text("order_id")?,
        ad_id: row.maybe_text("ad_id")?,
        quantity: u32::try_from(row.int("quantity")?)?,
        status: row.text("status")?.parse::<ReservationStatus>()?,
        reason: row.maybe_text("reason")?,
        sequence: row.int("sequence")?,
        expires_at: row.int("expires_at")?,
        created_at: row.int("created_at")?,
        updated_at: row.int("updated_at")?,
    })
}
