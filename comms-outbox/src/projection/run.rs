//! The projection: one session after the other, until shutdown.

use std::{future::Future, time::Duration};

use comms_core::{Error, ErrorKind};
use futures::FutureExt;

use super::{
    context::Context,
    feed::Feed,
    handle::ProjectionHandle,
    session::{End, Session},
};

/// Pause between a lost session and the next one.
const LOST_PAUSE: Duration = Duration::from_millis(20);

/// Applies the events of the event store to a read model, in transactions that also store the position.
///
/// # The problem
/// A read model that is updated beside the events differs from them after a crash: an update is missing, or is made
/// twice. A reader that remembers the last id loses events, because ids become visible out of order. An event that cannot
/// be applied is skipped silently, or stops the process.
///
/// # The promise
/// - Each committed event of the categories is applied once: the writes of a batch and the position of the projection
///   commit in one transaction. This holds over crashes of the process and of the database.
/// - The events of a stream are applied in the order of their versions. An older transaction that is still open delays no
///   event of other transactions.
/// - One process of a name and revision applies events at a time. It has a lease by the database's clock, and every commit
///   checks a fencing token.
/// - A failure whose cause is outside the events (`NotExecuted`, `Indeterminate`, `Rejected`, `Conflict`,
///   `Misconfigured`) is retried without a limit, in smaller batches. After any other failure of a batch, smaller batches
///   are attempted as well, until the event that fails is alone. After
///   [`max_attempts`](super::ProjectionBuilder::max_attempts) attempts the projection *parks* at that event: everything before it
///   is committed, nothing after it is applied, readiness is degraded, and `Tables::retry_event` or `Tables::skip_event`
///   of the backend continue. No event is skipped otherwise.
/// - A read model is rebuilt beside the old one, see [`revision`](super::ProjectionBuilder::revision).
///
/// # Limits of the promise
/// - There is no order between streams, and a rebuild may apply events of different streams in another order.
/// - Effects outside the transaction may be repeated.
/// - The rows of `comms_event` must not be deleted before every projection has applied them.
/// - After `Tables::rebase` (the restore of a dump), events that were applied behind one that was not are applied again:
///   let projections catch up before the dump, or rebuild them.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(feature = "sqlite")] {
/// use std::time::Duration;
/// use comms_core::{Message, MessageParts, Scoped, UnitOfWork};
/// use comms_core::event_sourcing::{Append, EventStore, Expected, Recorded, Stream};
/// use comms_outbox::{Projection, sql_error, sqlite, sqlx};
///
/// let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// let tables = sqlite::Tables::new();
/// tables.migrate(&pool).await?;
/// sqlx::query("CREATE TABLE order_ids (id TEXT PRIMARY KEY)").execute(&pool).await?;
///
/// let unit = sqlite::SqliteUnit::new(pool.clone(), tables.clone());
/// let projection = Projection::builder(sqlite::EventFeed::new(pool.clone(), tables.clone()), "order-ids")
///     .categories(["order"])
///     .commit_signal(unit.commit_signal())
///     .apply(|events: Vec<Recorded>, mut tx: Scoped<sqlite::SqliteTx>| async move {
///         for event in events {
///             sqlx::query("INSERT INTO order_ids (id) VALUES ($1)")
///                 .bind(event.message.key())
///                 .execute(&mut **tx)
///                 .await
///                 .map_err(sql_error)?;
///         }
///         Ok(())
///     })
///     .build()?;
///
/// let stream = Stream::new("order", "o-1");
/// let event = stream.event(&Message::new(MessageParts { source: "/orders", id: "1", ..Default::default() }));
/// let mut tx = unit.begin().await?;
/// unit.append(&mut tx, Append { stream: &stream, expected: Expected::NoStream, events: &[event], messages: &[] }).await?;
/// let written = tables.written(&mut tx).await?;
/// unit.commit(tx).await?;
///
/// let handle = projection.handle();
/// projection.run(async { handle.wait_for(written, Duration::from_secs(5)).await.expect("applied") }).await?;
/// let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM order_ids").fetch_one(&pool).await?;
/// assert_eq!(orders, 1);
/// # }
/// # Ok(())
/// # }
/// ```
pub struct Projection<F: Feed> {
    pub(super) context: Context<F>,
}

impl<F: Feed> Projection<F> {
    /// Returns a handle that reads the status, and waits until a transaction is applied.
    #[must_use]
    pub fn handle(&self) -> ProjectionHandle<F> {
        ProjectionHandle {
            feed: self.context.feed.clone(),
            name: self.context.settings.name.as_str().into(),
            revision: self.context.settings.revision,
            clock: self.context.settings.clock.clone(),
            status: self.context.reporter.subscribe(),
        }
    }

    /// Runs the projection until `shutdown` resolves. The batch that is being applied is then rolled back, and the lease
    /// is released, so that another process continues at once.
    ///
    /// While the database is away, or an operator has to fix a failure, the projection retries with a backoff, without a
    /// limit, and is unready with the reason. Dropping the future has the effect of a crash.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Fatal`] if the function that applies events returns it. No other kind ends the projection.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let mut shutdown = std::pin::pin!(shutdown.fuse());
        let (settings, name) = (&self.context.settings, &self.context.settings.name);
        let mut failures = 0;
        let result = loop {
            self.context.beat();
            let (result, progress) = Session::run(&self.context, shutdown.as_mut()).await;
            failures = if progress { 0 } else { failures };
            let pause = match result {
                Ok(End::Shutdown) => break Ok(()),
                Ok(End::Lost) => LOST_PAUSE,
                Ok(End::NoLease) => {
                    self.context.reporter.standby();
                    settings.lease.mul_f64(0.25 + settings.clock.random_unit() / 6.0)
                }
                Err(error) if error.kind == ErrorKind::Fatal => {
                    self.context.reporter.failed(error.chain().to_string());
                    break Err(error.context(format_args!("projection {name}")));
                }
                Err(error) => {
                    failures += 1;
                    let chain = error.chain().to_string();
                    tracing::warn!(projection = %name, failures, error = %chain, "projection session failed: it is repeated");
                    self.context.reporter.failed(chain);
                    settings.backoff.delay(failures, &settings.clock)
                }
            };
            tokio::select! {
                biased;
                () = shutdown.as_mut() => break Ok(()),
                () = settings.clock.sleep(pause) => {}
            }
        };
        if result.is_ok() {
            self.context.reporter.standby();
        }
        result
    }
}

impl<F: Feed> std::fmt::Debug for Projection<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Projection").field("name", &self.context.settings.name).finish_non_exhaustive()
    }
}
