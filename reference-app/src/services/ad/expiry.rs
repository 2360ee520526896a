//! The background loop that gives back the stock of reservations that are not confirmed in time.

use std::time::Duration;

use comms_core::{Error, Scoped, clock::Clock, health::Heartbeat, in_transaction, shutdown::ShutdownSignal};

use super::store::{Store, reservations::Due};
use crate::platform::db::{Db, Tx};

/// The pause between two sweeps.
const PAUSE: Duration = Duration::from_secs(1);
/// The number of reservations that a query returns.
const PAGE: u32 = 100;

/// The loop. Two processes may run it at the same time.
pub(super) struct Expiry {
    pub(super) db: Db,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) heartbeat: Heartbeat,
}

impl Expiry {
    /// Expires the due reservations once a second until the shutdown.
    pub(super) async fn run(self, shutdown: ShutdownSignal) -> Result<(), Error> {
        let sweeps = async {
            self.db.opened().await;
            loop {
                self.heartbeat.beat();
                if let Err(error) = self.sweep().await {
                    tracing::warn!(error = %error.chain(), "could not read the reservations that are due");
                }
                self.clock.sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = shutdown.wait() => Ok(()),
            () = sweeps => Ok(()),
        }
    }

    /// Expires all reservations that are due, each in a transaction of its own. A reservation that fails is logged, and
    /// attempted again in the next sweep. Returns how many have expired.
    ///
    /// # Errors
    /// Returns the error of the query for the reservations that are due.
    pub(super) async fn sweep(&self) -> Result<usize, Error> {
        let (mut after, mut expired) = (None::<Due>, 0);
        loop {
            let page = self.store.due(after.as_ref(), PAGE).await?;
            for due in &page {
                self.heartbeat.beat();
                let order_id = &due.order_id;
                let expire = async |mut tx: Scoped<Tx>| self.store.expire(&mut tx, order_id).await;
                match in_transaction(&self.db, expire).await {
                    Ok(has_expired) => expired += usize::from(has_expired),
                    Err(error) => {
                        tracing::error!(order_id, error = %error.chain(), "a reservation could not expire");
                    }
                }
            }
            if page.len() < PAGE as usize {
                return Ok(expired);
            }
            after = page.last().cloned();
        }
    }
}
