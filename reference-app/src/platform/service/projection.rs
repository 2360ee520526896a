//! Builds the projections of a service, with the settings that the platform gives every loop.

use std::future::Future;

use comms_core::{Error, event_sourcing::Recorded};

use super::{Host, Loop};
use crate::platform::{
    db::{ProjectionHandle, ProjectionOptions, Tx},
    delivery::{lease_owner, watch_lag_seconds},
};

impl Host<'_> {
    /// Builds the projection `name` of the events in the service's database, and returns its loop for
    /// [`Parts::loops`](super::Parts::loops), and a handle that reads its status.
    ///
    /// `apply` writes a batch of events of `categories` to the read model in the given transaction, which the projection
    /// commits with its position; [`comms_outbox::Projection`] has the promise. A higher `revision` is built beside the
    /// live one: the rows of the read model must carry the revision, and queries read
    /// [`Db::live_revision`](crate::platform::db::Db::live_revision).
    ///
    /// Readiness is degraded while the projection is parked, retries, or lags by more than `health.relay_lag`.
    ///
    /// # Errors
    /// Returns `Internal` if the service registered no database or another projection of this process has this name and
    /// revision, and `Misconfigured` if a setting is outside its bounds.
    pub fn projection<A, Fut>(
        &self,
        name: &'static str,
        revision: u32,
        categories: &[&str],
        apply: A,
    ) -> Result<(Loop, ProjectionHandle), Error>
    where
        A: Fn(Vec<Recorded>, Tx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (db, part) = (self.db()?, format!("projection {name}"));
        let options = ProjectionOptions {
            name,
            revision,
            categories,
            lease: self.config.relay.lease,
            owner: lease_owner(self.config, &db),
            health: self.health.component(&part),
            heartbeat: self.heartbeat(&part),
        };
        let projection = db.projection(options, apply).map_err(|error| error.context(part.clone()))?;
        let handle = projection.handle();
        self.projections.add(self.name, name, handle.clone(), db.clone())?;
        let status = handle.clone();
        let lag = move || status.status().lag.as_secs_f64();
        watch_lag_seconds(self.config, self.health, &part, lag);
        let run = Box::new(move |shutdown| Box::pin(projection.run(shutdown)) as super::Run);
        Ok((Loop { name, run }, handle))
    }
}
