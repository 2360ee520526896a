//! Builds the saga coordinator of a service, with the settings that the platform gives every loop.

use comms_core::{Error, shutdown::ShutdownSignal};
use comms_outbox::saga::{Coordinator, CoordinatorBuilder};

use super::{Host, Loop};
use crate::platform::db::Db;

impl Host<'_> {
    /// Builds the coordinator `name` of the sagas in the service's database, and returns its loop for
    /// [`Parts::loops`](super::Parts::loops), and the coordinator itself. Operators see and change its runs at `/sagas`.
    ///
    /// Readiness is degraded while a run is held, a timer fails, or a run has a version that is not registered.
    ///
    /// # Errors
    /// Returns `Internal` if the service registered no database or another coordinator of this process has a saga of the
    /// same name, and `Misconfigured` if a setting is outside its bounds.
    pub fn coordinator(
        &self,
        name: &'static str,
        builder: CoordinatorBuilder<Db>,
    ) -> Result<(Loop, Coordinator<Db>), Error> {
        let (db, part) = (self.db()?, format!("sagas {name}"));
        // SQLite has one writer.
        let builder = if db.is_embedded() { builder.concurrency(1) } else { builder };
        let coordinator = builder
            .health(self.health.component(&part))
            .heartbeat(self.heartbeat(&part))
            .build()
            .map_err(|error| error.context(part))?;
        self.sagas.add(self.name, coordinator.clone(), db.clone())?;
        let running = coordinator.clone();
        let run = Box::new(move |shutdown: ShutdownSignal| {
            Box::pin(async move {
                tokio::select! {
                    biased;
                    () = shutdown.clone().wait() => return Ok(()),
                    () = db.opened() => {}
                }
                running.run(shutdown.wait()).await
            }) as super::Run
        });
        Ok((Loop { name, run }, coordinator))
    }
}
