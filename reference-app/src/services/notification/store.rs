//! The SQL of notification-service.

use comms_core::{Error, clock::Clock};

use super::domain;
use crate::{contracts::OrderStatusChanged, platform::db::Tx};

#[derive(Clone)]
pub(super) struct Store {
    clock: Clock,
}

impl Store {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock }
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
