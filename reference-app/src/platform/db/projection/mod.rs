//! Projections: read models in a service's database that follow the events in it. `parked` reads and settles the events at
//! which they are parked, and `retired` deletes the positions of revisions that are no longer used.

mod parked;
mod retired;

use std::{future::Future, pin::Pin, time::Duration};

use comms_core::{
    Error, Scoped, UnitOfWork,
    clock::Clock,
    event_sourcing::Recorded,
    health::{Component, Heartbeat},
    shutdown::ShutdownSignal,
};
use comms_outbox::{CommitSignal, Feed, ProjectionStatus, Written, postgres, sql_error, sqlite};

use super::{
    Backend, Db, Tx,
    traits::wrong_database,
    tx::{Owner, TxBackend},
};

/// Settings of a [`Projection`]. [`comms_outbox::ProjectionBuilder`] describes them.
pub struct ProjectionOptions<'a> {
    /// The name.
    pub name: &'a str,
    /// The revision of the read model, from 1.
    pub revision: u32,
    /// The categories of the applied events.
    pub categories: &'a [&'a str],
    /// The duration of the lease.
    pub lease: Duration,
    /// The owner of the lease. `None`: a random owner.
    pub owner: Option<&'a str>,
    /// The part that shows the projection's readiness.
    pub health: Component,
    /// The liveness heartbeat.
    pub heartbeat: Heartbeat,
}

/// A projection of the events in a service's database, on either backend.
pub struct Projection {
    db: Db,
    handle: ProjectionHandle,
    run: Run,
}

/// Runs a projection, whose type depends on the backend.
type Run = Box<dyn FnOnce(ShutdownSignal) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> + Send>;

/// Reads the status of a projection of this process, and waits for it. Clones share the projection.
#[derive(Clone)]
pub enum ProjectionHandle {
    /// A projection of a PostgreSQL database.
    Postgres(comms_outbox::ProjectionHandle<postgres::EventFeed>),
    /// A projection of an SQLite database.
    Sqlite(comms_outbox::ProjectionHandle<sqlite::EventFeed>),
}

impl Db {
    /// Creates a projection, whose function `apply` writes a batch of events to the read model in the given transaction.
    /// The projection stores its position in the same transaction and commits it. Commits of this [`Db`] wake it.
    ///
    /// # Errors
    /// Returns `Misconfigured` if a setting is outside its bounds.
    pub fn projection<A, Fut>(&self, options: ProjectionOptions<'_>, apply: A) -> Result<Projection, Error>
    where
        A: Fn(Vec<Recorded>, Tx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (schema, signal, clock) = (self.0.schema, self.0.commit_signal.clone(), self.0.clock.clone());
        let (handle, run) = match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                let feed = postgres::EventFeed::new(pool.clone(), tables.clone());
                let apply = move |events, tx| {
                    apply(events, Tx { schema, backend: TxBackend::Postgres(Owner::Projection(tx)) })
                };
                let projection = build(feed, options, signal, clock, apply)?;
                (ProjectionHandle::Postgres(projection.handle()), boxed(projection))
            }
            Backend::Sqlite { writer, tables, .. } => {
                let feed = sqlite::EventFeed::new(writer.clone(), tables.clone());
                let apply = move |events, tx| {
                    apply(events, Tx { schema, backend: TxBackend::Sqlite(Owner::Projection(tx)) })
                };
                let projection = build(feed, options, signal, clock, apply)?;
                (ProjectionHandle::Sqlite(projection.handle()), boxed(projection))
            }
        };
        Ok(Projection { db: self.clone(), handle, run })
    }

    /// Returns the transaction, which has appended events, for [`ProjectionHandle::wait_for`] after its commit.
    ///
    /// # Errors
    /// Returns the kind that [`sql_error`] derives from the database's error.
    pub async fn written(&self, tx: &mut Tx) -> Result<Written, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => tables.written(tx).await,
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.written(tx).await,
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    /// Returns the revision of the projection `name` whose rows queries should read. Returns `None` if no revision has
    /// come to the last event yet.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet. Otherwise returns the kind that [`sql_error`] derives
    /// from the database's error.
    pub async fn live_revision(&self, name: &str) -> Result<Option<u32>, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                tables.live_revision(&mut *pool.acquire().await.map_err(sql_error)?, name).await
            }
            Backend::Sqlite { reader, tables, .. } => {
                tables.live_revision(&mut *reader.acquire().await.map_err(sql_error)?, name).await
            }
        }
    }
}

impl Projection {
    /// Returns a handle that reads the status, and waits until a transaction is applied.
    #[must_use]
    pub fn handle(&self) -> ProjectionHandle {
        self.handle.clone()
    }

    /// Runs the projection from the moment at which the database is open, until `shutdown` fires.
    ///
    /// # Errors
    /// Returns `Fatal` if the function that applies events returns it. No other kind ends the projection.
    pub async fn run(self, shutdown: ShutdownSignal) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = shutdown.clone().wait() => return Ok(()),
            () = self.db.opened() => {}
        }
        (self.run)(shutdown).await
    }
}

impl ProjectionHandle {
    /// Returns the status of the projection in this process.
    #[must_use]
    pub fn status(&self) -> ProjectionStatus {
        match self {
            Self::Postgres(handle) => handle.status(),
            Self::Sqlite(handle) => handle.status(),
        }
    }

    /// Waits until the live revision of the projection has applied the events of the transaction `written`, at most
    /// `limit`. Any process may have the lease.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the limit is reached first. Otherwise returns the kind that [`sql_error`] derives from
    /// the database's error.
    pub async fn wait_for(&self, written: Written, limit: Duration) -> Result<(), Error> {
        match self {
            Self::Postgres(handle) => handle.wait_for(written, limit).await,
            Self::Sqlite(handle) => handle.wait_for(written, limit).await,
        }
    }

    /// Waits until the live revision of the projection has applied every event that was committed before this call, at
    /// most `limit`. Any process may have the lease.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the limit is reached first. Otherwise returns the kind that [`sql_error`] derives from
    /// the database's error.
    pub async fn wait_for_committed(&self, limit: Duration) -> Result<(), Error> {
        match self {
            Self::Postgres(handle) => handle.wait_for_committed(limit).await,
            Self::Sqlite(handle) => handle.wait_for_committed(limit).await,
        }
    }
}

fn build<F, A, Fut>(
    feed: F,
    options: ProjectionOptions<'_>,
    commit_signal: CommitSignal,
    clock: Clock,
    apply: A,
) -> Result<comms_outbox::Projection<F>, Error>
where
    F: Feed,
    A: Fn(Vec<Recorded>, Scoped<<F::Unit as UnitOfWork>::Tx>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    let ProjectionOptions { name, revision, categories, lease, owner, health, heartbeat } = options;
    let projection = comms_outbox::Projection::builder(feed, name)
        .revision(revision)
        .categories(categories.iter().copied())
        .lease(lease)
        .commit_signal(commit_signal)
        .clock(clock)
        .health(health)
        .heartbeat(heartbeat)
        .apply(apply);
    match owner {
        Some(owner) => projection.owner(owner).build(),
        None => projection.build(),
    }
}

fn boxed<F: Feed>(projection: comms_outbox::Projection<F>) -> Run {
    Box::new(move |shutdown| Box::pin(projection.run(shutdown.wait())))
}

#[cfg(test)]
mod tests;
