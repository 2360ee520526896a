//! The stand-in for a courier.

use std::sync::Arc;

use async_trait::async_trait;
use comms_core::{Error, Scoped, clock::Clock, event::EventSource, health::Heartbeat, in_transaction};

use super::{
    Settings, ShipOrder, Shipping,
    domain::Shipment,
    store::{Due, Store},
};
use crate::platform::{
    db::{Db, Tx},
    service::{DueRows, Sweep, settle_due},
};

/// A stand-in for a courier, for development and demonstrations: it accepts every order, except those of the ads in
/// `refuse_ads`, and reports the delivery after `delivered_after`.
///
/// The shipments are rows of order-service's database, and each is changed in one transaction with its event. So the
/// stand-in keeps its promises as a courier must: a call is executed once, and a crash or a second process loses and
/// repeats nothing.
#[derive(Clone)]
pub(in crate::services::order) struct LocalStandIn {
    db: Db,
    store: Store,
    settings: Arc<Settings>,
    clock: Clock,
}

impl LocalStandIn {
    /// Creates a stand-in that stores the shipments in `db`, and publishes as `events`.
    pub(in crate::services::order) fn new(db: Db, events: EventSource, settings: Settings) -> Self {
        let clock = events.clock().clone();
        Self { store: Store::new(db.clone(), events), db, settings: Arc::new(settings), clock }
    }

    fn answer(&self, order: &ShipOrder) -> Shipment {
        let now = self.clock.unix_millis();
        if self.settings.refuse_ads.contains(&order.ad_id) {
            return Shipment::refused(&order.order_id, "no_courier", now);
        }
        let wait = i64::try_from(self.settings.delivered_after.as_millis()).unwrap_or(i64::MAX);
        Shipment::accepted(&order.order_id, now.saturating_add(wait), now)
    }
}

/// Delivers the shipments that are due.
impl Sweep for LocalStandIn {
    async fn sweep(&self, heartbeat: &Heartbeat) -> Result<(), Error> {
        settle_due(&self.db, self, heartbeat).await.map(drop)
    }
}

impl DueRows for LocalStandIn {
    type Row = Due;

    async fn due(&self, after: Option<&Due>) -> Result<Vec<Due>, Error> {
        self.store.due(self.clock.unix_millis(), after).await
    }

    async fn settle(&self, tx: &mut Scoped<Tx>, (_, order_id): &Due) -> Result<bool, Error> {
        let mut shipment = self.store.lock(tx, order_id).await?;
        let is_due = shipment.deliver(self.clock.unix_millis());
        if is_due {
            self.store.update_status(tx, &shipment).await?;
        }
        Ok(is_due)
    }
}

/// The row of the order is the state, so the stand-in does not need the keys: the second call for an order finds the row.
#[async_trait]
impl Shipping for LocalStandIn {
    async fn create(&self, _key: &str, order: &ShipOrder) -> Result<(), Error> {
        let shipment = self.answer(order);
        in_transaction(&self.db, async |mut tx| {
            let shipment = match self.store.insert(&mut tx, &shipment).await? {
                true => shipment,
                false => self.store.lock(&mut tx, &order.order_id).await?,
            };
            self.store.publish(&mut tx, &shipment.events()).await
        })
        .await
    }

    async fn cancel(&self, _key: &str, order_id: &str) -> Result<(), Error> {
        let never_requested = Shipment::never_requested(order_id, self.clock.unix_millis());
        in_transaction(&self.db, async |mut tx| {
            if self.store.insert(&mut tx, &never_requested).await? {
                return self.store.publish(&mut tx, &[never_requested.event()]).await;
            }
            let mut shipment = self.store.lock(&mut tx, order_id).await?;
            match shipment.cancel(self.clock.unix_millis())? {
                true => self.store.update_status(&mut tx, &shipment).await,
                false => self.store.publish(&mut tx, &[shipment.event()]).await,
            }
        })
        .await
    }
}
