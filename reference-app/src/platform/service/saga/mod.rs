//! Builds the saga coordinator of a service, with the settings that the platform gives every loop, and deletes the runs
//! that have ended.

use std::time::Duration;

use comms_core::{Error, Scoped, health::Heartbeat, in_transaction, shutdown::ShutdownSignal};
use comms_outbox::saga::{Coordinator, CoordinatorBuilder};

use super::{Host, Loop, Sweep};
use crate::platform::db::{Db, Tx};

/// The number of ended runs that one transaction deletes.
const CHUNK: u32 = 500;
/// The pause between two searches for ended runs.
const PAUSE: Duration = Duration::from_secs(600);

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

    /// Returns a loop that deletes the runs in the service's database that ended more than `kept` ago, with their logs.
    ///
    /// A start that is announced again after the deletion of its run starts another run, with the commands of the first
    /// one. So keep runs for longer than messages can be repeated.
    ///
    /// # Errors
    /// Returns `Internal` if the service registered no database.
    pub fn delete_ended_runs(&self, name: &'static str, kept: Duration) -> Result<Loop, Error> {
        self.sweep(name, PAUSE, EndedRuns { db: self.db()?, kept })
    }
}

/// The runs that ended more than `kept` ago.
struct EndedRuns {
    db: Db,
    kept: Duration,
}

impl Sweep for EndedRuns {
    async fn sweep(&self, heartbeat: &Heartbeat) -> Result<(), Error> {
        loop {
            heartbeat.beat();
            let delete =
                async |mut tx: Scoped<Tx>| self.db.delete_ended_sagas(&mut tx, self.kept, CHUNK).await;
            if in_transaction(&self.db, delete).await? < u64::from(CHUNK) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
