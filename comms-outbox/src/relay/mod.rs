//! The loop that carries committed rows to a publisher.
//!
//! The problem: rows become visible in another order than they were written, processes and database servers die between the
//! publish and the note of it, two processes believe that each is the only one, a destination is refused, one message
//! that cannot be handled stands before thousands.
//!
//! The promise:
//! - Every committed row is delivered at least once, with the same identity each time; a row that was rolled
//!   back is never delivered. That holds over crashes, promotions and restores of the database.
//! - Rows of one (destination, key) are delivered in the order in which their transactions followed one
//!   another. An older transaction that is still open holds up no other.
//! - One relay of a name reads at a time: a lease by the database's clock, fenced by a token that the database draws.
//! - A row that the publisher refuses for itself is *parked* with the reason, and later rows of its key behind
//!   it, until [`release`](crate::postgres::Tables::release). Other keys flow.
//! - A destination that the publisher refuses as a whole (its topic is missing, this process may not write to it) is *held*
//!   with the reason: it has a position of its own, is attempted again with growing waits, and joins the others when the
//!   cause is gone. Other destinations flow, and nothing is delivered twice for them.
//! - The cursor remembers the destinations that it stands for, so that no change of [`RelayBuilder::destinations`] passes rows
//!   over.
//!
//! What breaks it: two transactions that write one key at the same time have no order to keep. A publisher
//! that has several rows of a key in flight when the first is refused may have delivered the later ones (Kafka
//! does, the [`Subscriber`](crate::Subscriber) does not). After a failure the rows of a key that stand behind the failed one
//! are sent again, so a key may be seen 1, 2, 1, 2. A process that is stopped for longer than its lease finishes
//! what it had handed over.

mod branches;
mod builder;
mod fault;
mod flights;
mod metrics;
mod parking;
mod release;
mod stint;
mod store;
mod track;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use comms_core::{
    Error, ErrorKind, Publisher,
    clock::Clock,
    health::{self, State, Status},
    resilience::Backoff,
};
use futures::{FutureExt, future::FusedFuture};

pub use branches::Start;
pub use builder::RelayBuilder;
use flights::Aged;
use metrics::Metrics;
use stint::{End, Stint};
pub(crate) use store::Store;
pub(crate) use store::{
    Branch, Changes, Filter, Holder, Lease, Page, Park, ParkedLanes, Position, Query, Row,
};

/// The longest a single call to the database may take, but for a read.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// The pause before a session that was lost is begun anew.
const LOST_PAUSE: Duration = Duration::from_millis(20);
/// The longest a read may take: a bounded piece of work.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// Carries the committed rows of one outbox to one publisher.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(feature = "sqlite")] {
/// use std::{sync::Arc, time::Duration};
/// use comms_core::{Delivery, Outcome, handler_fn};
/// use comms_outbox::{Relay, Subscriber, sqlite};
///
/// let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// let tables = sqlite::Tables::new();
/// tables.migrate(&pool).await?;
/// let handler = handler_fn(|_: Delivery| async { Ok(Outcome::Done) });
/// let subscriber = Subscriber::builder("billing").on("order.placed", handler).build()?;
/// let relay = Relay::builder(sqlite::RelayStore::new(pool, tables), Arc::new(subscriber))
///     .name("billing")
///     .destinations(["order.placed"])
///     .build()?;
/// relay.run(tokio::time::sleep(Duration::from_millis(20))).await?;
/// # }
/// # Ok(())
/// # }
/// ```
pub struct Relay {
    settings: Settings,
    store: Arc<dyn Store>,
    publisher: Arc<dyn Publisher>,
    wake: crate::Wake,
    clock: Clock,
    health: Option<health::Component>,
    heartbeat: Option<health::Heartbeat>,
    backoff: Backoff,
    metrics: Metrics,
    /// The last read succeeded: a relay whose calls fail is not ready again before one does.
    works: AtomicBool,
    /// The oldest row that was not settled when a session failed: until the next one knows better.
    behind: Mutex<Option<Aged>>,
}

struct Settings {
    name: Arc<str>,
    topics: Option<Arc<[String]>>,
    owner: String,
    lease: Duration,
    page: u32,
    page_bytes: usize,
    start: Start,
    parked_limit: usize,
    in_flight: usize,
    in_flight_bytes: usize,
    idle: Duration,
    drain: Duration,
}

impl Relay {
    /// A relay from `store` (`postgres::RelayStore` or `sqlite::RelayStore`) to `publisher`.
    pub fn builder(store: impl Store, publisher: Arc<dyn Publisher>) -> RelayBuilder {
        RelayBuilder::new(Arc::new(store), publisher)
    }

    /// Reads how old the oldest message is that it has not delivered, in seconds: for
    /// [`Health::gauge`](comms_core::health::Health::gauge). As fresh as the cursor, which is written at least at each
    /// third of the lease; 0 while another relay has the lease.
    pub fn lag(&self) -> impl Fn() -> f64 + Send + Sync + use<> {
        self.metrics.lag.reader()
    }

    /// Carries rows until `shutdown` resolves; then waits for what is in flight, within
    /// [`RelayBuilder::drain`], writes the cursor and gives the lease back, so that a successor starts at once.
    /// A database or a publisher that is away is waited for, without end, and so is an operator: an outbox that cannot be
    /// read (missing tables, rows of another server) makes the relay unready with the reason. Dropping the future is a
    /// crash: nothing is lost, the rows in flight are delivered again.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Fatal`] if the publisher reports it.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let mut shutdown = std::pin::pin!(shutdown.fuse());
        let mut failures = 0;
        loop {
            self.beat();
            let (result, progress) = self.stint(shutdown.as_mut()).await;
            failures = if progress { 0 } else { failures };
            let pause = match result {
                Ok(End::Shutdown) => return Ok(()),
                // The lease may still be this relay's: a server that was restarted has only forgotten the session.
                Ok(End::Lost) => LOST_PAUSE,
                // A third of the lease, so that a successor is not late; jitter, so that two are not in step.
                Ok(End::NoLease) => self.settings.lease.mul_f64(0.25 + self.clock.random_unit() / 6.0),
                Err(error) => {
                    self.unready(&error);
                    if error.kind == ErrorKind::Fatal {
                        return Err(error.context(format_args!("relay {}", self.settings.name)));
                    }
                    failures += 1;
                    let delay = self.backoff.delay(failures, &self.clock);
                    let chain = error.chain();
                    if error.kind == ErrorKind::Misconfigured {
                        tracing::error!(relay = %self.settings.name, failures, error = %chain, "relay waits");
                    } else {
                        tracing::warn!(relay = %self.settings.name, failures, error = %chain, "relay interrupted");
                    }
                    // At most a lease: a carrier's number must not silence the loop.
                    error.retry_after.map_or(delay, |least| least.min(self.settings.lease).max(delay))
                }
            };
            tokio::select! {
                biased;
                () = shutdown.as_mut() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// What is left is another's, or nothing is.
    fn not_behind(&self) {
        self.set_behind(None);
        self.metrics.lag.set(0.0);
    }

    fn set_behind(&self, oldest: Option<Aged>) {
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = oldest;
    }

    fn behind(&self) -> Option<Aged> {
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One lease, from having it to losing it or giving it back; and whether a row was delivered under it.
    async fn stint<S>(&self, shutdown: Pin<&mut S>) -> (Result<End, Error>, bool)
    where
        S: FusedFuture<Output = ()> + Send,
    {
        match Stint::begin(self).await {
            Ok(Some(mut stint)) => {
                let result = stint.run(shutdown).await;
                let result = stint.finish(result).await;
                if result.is_ok() {
                    self.not_behind();
                }
                (result, stint.progress())
            }
            Ok(None) => {
                self.works();
                self.set_state(State::ready());
                self.not_behind();
                (Ok(End::NoLease), true)
            }
            Err(error) => (Err(error), false),
        }
    }

    fn beat(&self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat();
        }
    }

    /// A read succeeded. Returns whether that is news.
    fn works(&self) -> bool {
        !self.works.swap(true, Ordering::Relaxed)
    }

    fn set_state(&self, state: State) {
        let Some(health) = self.health.as_ref().filter(|_| self.works.load(Ordering::Relaxed)) else {
            return;
        };
        match (state.status, state.reason) {
            (Status::Ready, _) => health.ready(),
            (_, reason) => health.degraded(reason.unwrap_or_default()),
        }
    }

    fn unready(&self, error: &Error) {
        self.works.store(false, Ordering::Relaxed);
        if let Some(health) = &self.health {
            health.unready(error.chain().to_string());
        }
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// A call to the database that does not answer is one that failed.
async fn limited<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    let late = || Error::not_executed(format!("the database does not answer within {limit:?}"));
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(late()))
}
