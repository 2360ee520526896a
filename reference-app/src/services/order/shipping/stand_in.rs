//! The stand-in for a courier.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use comms_core::{
    Error, ErrorKind, clock::Clock, event::EventSource, health::Heartbeat, in_transaction,
    shutdown::ShutdownSignal,
};

use super::{
    Settings, ShipOrder, Shipping,
    domain::Shipment,
    store::{Due, PAGE, Store},
};
use crate::platform::db::Db;

/// How often the loop looks for due shipments.
const INTERVAL: Duration = Duration::from_millis(500);
/// The wait after a turn that failed.
const RETRY: Duration = Duration::from_secs(5);

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

    /// Delivers due shipments until the shutdown signal fires. A transaction that is open then rolls back, and the next
    /// start delivers its shipment.
    ///
    /// The loop beats `heartbeat` from the moment at which the database is open.
    ///
    /// # Errors
    /// Returns no error: a turn that fails is logged and repeated.
    pub(in crate::services::order) async fn run(
        self,
        heartbeat: Heartbeat,
        shutdown: ShutdownSignal,
    ) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = shutdown.wait() => {}
            () = self.deliver_forever(&heartbeat) => {}
        }
        Ok(())
    }

    async fn deliver_forever(&self, heartbeat: &Heartbeat) {
        self.db.opened().await;
        loop {
            heartbeat.beat();
            let wait = match self.deliver_due(heartbeat).await {
                Ok(()) => INTERVAL,
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "cannot deliver due shipments; retrying");
                    RETRY
                }
            };
            self.clock.sleep(wait).await;
        }
    }

    /// Delivers all shipments that are due now, each in a transaction of its own. A corrupt row is logged and does not
    /// stop the others.
    pub(super) async fn deliver_due(&self, heartbeat: &Heartbeat) -> Result<(), Error> {
        let mut after: Due = (i64::MIN, String::new());
        loop {
            let page = self.store.due(self.clock.unix_millis(), &after).await?;
            for (_, order_id) in &page {
                heartbeat.beat();
                match self.deliver(order_id).await {
                    Err(error) if error.kind == ErrorKind::Internal => {
                        tracing::error!(order_id, error = %error.chain(), "cannot deliver a shipment");
                    }
                    delivered => delivered?,
                }
            }
            let is_last = page.len() < PAGE;
            match page.into_iter().next_back() {
                Some(last) if !is_last => after = last,
                _ => return Ok(()),
            }
        }
    }

    /// Delivers one shipment. Another process may have delivered or withdrawn it since the page was read, so the row is
    /// locked and checked again.
    async fn deliver(&self, order_id: &str) -> Result<(), Error> {
        in_transaction(&self.db, async |mut tx| {
            let mut shipment = self.store.lock(&mut tx, order_id).await?;
            match shipment.deliver(self.clock.unix_millis()) {
                true => self.store.update_status(&mut tx, &shipment).await,
                false => Ok(()),
            }
        })
        .await
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
