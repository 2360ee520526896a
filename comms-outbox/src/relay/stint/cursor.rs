//! What a stint writes: the cursor, the parked rows, the lease; and how it ends.

use std::time::Duration;

use comms_core::{Error, ErrorKind};

use super::{End, Stint};
use crate::relay::{CALL_LIMIT, limited, store::Changes};

impl Stint<'_> {
    /// Ends in order: waits for what is in flight, within the limit, and writes what was reached. So what is
    /// sent again after a failure stands behind everything sent before.
    pub(in crate::relay) async fn finish(&mut self, result: Result<End, Error>) -> Result<End, Error> {
        self.reading = None;
        if matches!(result, Ok(End::NoLease)) {
            return result;
        }
        let drained = tokio::time::timeout(self.relay.settings.drain, self.drain()).await;
        if let Ok(Err(error)) = drained
            && error.kind == ErrorKind::Fatal
        {
            return Err(error);
        }
        if result.as_ref().err().is_none_or(|error| error.kind == ErrorKind::Fatal) {
            // The end: a successor may begin at once.
            self.holder.lease = Duration::ZERO;
        }
        if let Err(error) = self.write().await {
            tracing::warn!(relay = %self.holder.relay, %error, "the cursor was not written; rows will come again");
        }
        result
    }

    /// Settles flights until the first failure, and waits for the others; renews the lease meanwhile.
    async fn drain(&mut self) -> Result<(), Error> {
        while self.flights.rows() > 0 || self.releases.in_flight() {
            let releasing = self.releases.in_flight();
            tokio::select! {
                biased;
                () = self.save.as_mut() => {
                    if !self.write().await? {
                        return Ok(());
                    }
                }
                Some((flight, results)) = self.flights.next() => {
                    if !self.broken {
                        self.settle(flight, results).or_else(only_fatal)?;
                    }
                }
                answered = self.releases.next(), if releasing => {
                    if let Some((rows, results)) = answered && !self.settle_release(rows, results).await? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes cursor, parking and lease. `false`: the lease is another's.
    pub(super) async fn write(&mut self) -> Result<bool, Error> {
        let changes = self.parking.changes();
        self.write_with(changes).await
    }

    pub(in crate::relay) async fn write_with(&mut self, changes: Changes) -> Result<bool, Error> {
        let asked = self.relay.clock.now();
        let mine = limited(CALL_LIMIT, self.relay.store.save(&self.holder, &self.acked, &changes)).await?;
        if !mine {
            tracing::warn!(relay = %self.holder.relay, epoch = self.holder.epoch, "relay lost the lease");
            return Ok(false);
        }
        self.valid_until = asked + self.holder.lease;
        self.parking.saved();
        self.dirty = false;
        self.save = Box::pin(tokio::time::sleep(self.relay.settings.lease / 3));
        self.report();
        Ok(true)
    }

    pub(in crate::relay) async fn load_parked(&mut self) -> Result<(), Error> {
        let (lanes, any) = limited(CALL_LIMIT, self.relay.store.parked_lanes(&self.holder.relay)).await?;
        self.parking.load(lanes, any);
        self.report();
        Ok(())
    }

    #[allow(clippy::cast_precision_loss)]
    fn report(&self) {
        let oldest = self.flights.oldest().or(self.unsent.aged.filter(|_| !self.unsent.rows.is_empty()));
        let oldest = oldest.or(self.relay.behind());
        let now = self.relay.clock.now();
        let lag = oldest.map_or(Duration::ZERO, |aged| aged.age + now.saturating_duration_since(aged.read));
        self.relay.metrics.lag.set(lag.as_secs_f64());
        self.relay.metrics.parked_keys.set(self.parking.lanes() as f64);
    }
}

/// While the stint ends, only one failure changes how.
fn only_fatal(error: Error) -> Result<(), Error> {
    if error.kind == ErrorKind::Fatal { Err(error) } else { Ok(()) }
}
