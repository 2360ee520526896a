//! The SQL of notification-service.

use comms_core::{Error, clock::Clock};

use super::domain;
use crate::{
    contracts::OrderStatusChanged,
    platform::db::{Db, Tx},
};

#[derive(Clone)]
pub(super) struct Store {
    db: Db,
    clock: Clock,
}

impl Store {
    pub(super) fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Returns whether `user` was notified of the order `order_id`, and thus is its buyer.
    ///
    /// # Errors
    /// Returns the error of the database.
    pub(super) async fn is_buyer(&self, user: &str, order_id: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM {s}.notifications WHERE order_id = $1 AND user_id = $2 LIMIT 1";
        Ok(!self.db.fetch(sql, &[order_id.into(), user.into()]).await?.is_empty())
    }

    /// Inserts the notification of `change`.
    pub(super) async fn insert(&self, tx: &mut Tx, change: &OrderStatusChanged) -> Result<(), Error> {
        let notification_id = self.clock.uuid_v7().to_string();
        tx.execute(
            "INSERT INTO {s}.notifications (notification_id, user_id, order_id, sequence, status, body, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                (&notification_id).into(),
                (&change.buyer_id).into(),
                (&change.order_id).into(),
                change.sequence.into(),
                <&str>::from(change.status).into(),
                (&domain::text(change)).into(),
                self.clock.unix_millis().into(),
            ],
        )
        .await
        .map(|_| ())
    }
}
