//! The relay: one session after the other, until shutdown.

use std::{future::Future, pin::Pin, time::Duration};

use comms_core::{Error, ErrorKind, health::State};
use futures::{FutureExt, future::FusedFuture};

use super::{
    context::RelayContext,
    session::{End, Session},
};

/// Pause between a lost session and the next one.
const LOST_PAUSE: Duration = Duration::from_millis(20);

/// Publishes the committed rows of one outbox to one [`Publisher`](comms_core::Publisher), under a lease.
///
/// # The problem
/// Rows become visible in another order than they were written. A process or a database server may crash
/// after a publish and before the position is stored. Two processes may both believe that they are the only relay. A
/// topic may be refused, and one message that cannot be handled may stand before thousands of others.
///
/// # The promise
/// - Every committed row is delivered at least once, with the same identity each time. A row that was rolled back is
///   never delivered. This holds over crashes, promotions and restores of the database.
/// - Rows of one (topic, key) are delivered in the order in which their transactions followed one another. An older
///   transaction that is still open delays no other row.
/// - One relay of a name reads at a time. It holds a lease by the database's clock, and every write names a fencing
///   token that the database draws.
/// - A row that the publisher refuses because of its content is *parked* with the reason. Later rows of its key are
///   parked behind it until `Tables::release` of the backend. Other keys continue.
/// - A topic that the publisher refuses as a whole (it does not exist, this process may not write to it) is *held* with
///   the reason. It has a separate position, is attempted again with a growing backoff, and joins the other topics
///   when the cause is gone. Other topics continue, and none of their messages is delivered twice.
/// - The *cursor* is the stored position of the relay: every row up to it is delivered or parked. It also stores the
///   topics that it covers, so that a change of [`RelayBuilder::topics`](super::RelayBuilder::topics) skips no row.
///   [`Branch`](crate::Branch) is the separate position of a topic.
///
/// # Limits of the promise
/// - Two transactions that write one key at the same time have no order to keep.
/// - A publisher that has several messages of a key in flight when the first is refused may have delivered the later
///   ones (a Kafka producer may; the [`Subscriber`](crate::Subscriber) does not).
/// - After a failure the rows of a key behind the failed one are published again, so a consumer may see 1, 2, 1, 2.
/// - A process that is stopped for longer than its lease still delivers the messages that it had handed to the
///   publisher.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(feature = "sqlite")] {
/// use std::{sync::Arc, time::Duration};
/// use comms_core::{Delivery, Outcome, clock::Clock, handler_fn};
/// use comms_outbox::{Relay, Subscriber, sqlite};
///
/// let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// let tables = sqlite::Tables::new();
/// tables.migrate(&pool).await?;
/// let handler = handler_fn(|_: Delivery| async { Ok(Outcome::Done) });
/// let subscriber = Subscriber::builder("billing").on("order.placed", handler).build()?;
/// let relay = Relay::builder(sqlite::RelayStore::new(pool, tables), Arc::new(subscriber))
///     .name("billing")
///     .topics(["order.placed"])
///     .build()?;
/// relay.run(Clock::system().sleep(Duration::from_millis(20))).await?;
/// # }
/// # Ok(())
/// # }
/// ```
pub struct Relay {
    pub(super) context: RelayContext,
}

impl Relay {
    /// Returns a function that reads the age of the oldest undelivered message, in seconds, for
    /// [`Health::gauge`](comms_core::health::Health::gauge).
    ///
    /// The value is refreshed each time the cursor is saved, at least once in a third of the lease. It is 0 while
    /// another relay has the lease.
    pub fn lag(&self) -> impl Fn() -> f64 + Send + Sync + use<> {
        self.context.metrics.lag.reader()
    }

    /// Runs the relay until `shutdown` resolves.
    ///
    /// At shutdown the relay stops reading, waits for the messages in flight within
    /// [`RelayBuilder::drain`](super::RelayBuilder::drain), saves its position and releases the lease, so that a
    /// successor starts at once.
    ///
    /// While the database or the publisher is away, the relay retries with a backoff, without a limit. The same holds
    /// for a failure that an operator has to fix (missing tables, rows of another server): the relay is unready, with
    /// the reason. Dropping the future has the effect of a crash: no message is lost, and the messages in flight are
    /// delivered again.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Fatal`] if the publisher reports it, or returns another number of results than it took
    /// messages. No other kind ends the relay.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let mut shutdown = std::pin::pin!(shutdown.fuse());
        let context = &self.context;
        // A relay that has ended, or whose future was dropped, would else show its last lag for ever.
        let _ended = ClearLag(context);
        let relay = &context.settings.name;
        let mut failures = 0;
        loop {
            context.beat();
            let (result, progress) = self.run_session(shutdown.as_mut()).await;
            failures = if progress { 0 } else { failures };
            let pause = match result {
                Ok(End::Shutdown) => return Ok(()),
                // This relay may still own the lease: the restart of a server ends only the session.
                Ok(End::Lost) => LOST_PAUSE,
                // About a third of the lease, so that a successor starts soon. The jitter keeps waiting relays out of
                // step.
                Ok(End::NoLease) => context.settings.lease.mul_f64(0.25 + context.clock.random_unit() / 6.0),
                Err(error) => {
                    context.set_unready(&error);
                    if error.kind == ErrorKind::Fatal {
                        return Err(error.context(format_args!("relay {relay}")));
                    }
                    failures += 1;
                    let delay = context.backoff.delay(failures, &context.clock);
                    let chain = error.chain();
                    if error.kind == ErrorKind::Misconfigured {
                        tracing::error!(
                            %relay, failures, error = %chain,
                            "relay session failed: the relay retries until an operator has fixed the cause"
                        );
                    } else {
                        tracing::warn!(%relay, failures, error = %chain, "relay session failed: the relay retries");
                    }
                    // At most one lease: a long `retry_after` of a broker must not stop the loop.
                    error.retry_after.map_or(delay, |least| least.min(context.settings.lease).max(delay))
                }
            };
            tokio::select! {
                biased;
                () = shutdown.as_mut() => return Ok(()),
                () = context.clock.sleep(pause) => {}
            }
        }
    }

    /// Runs one session. Returns how it ended, and whether it made progress.
    async fn run_session<S>(&self, shutdown: Pin<&mut S>) -> (Result<End, Error>, bool)
    where
        S: FusedFuture<Output = ()> + Send,
    {
        let context = &self.context;
        match Session::begin(context).await {
            Ok(Some(mut session)) => {
                let result = session.run(shutdown).await;
                let result = session.finish(result).await;
                if result.is_ok() {
                    context.clear_lag();
                }
                (result, session.progress)
            }
            Ok(None) => {
                context.read_succeeded();
                if let Some(on_standby) = &context.on_standby {
                    on_standby();
                }
                context.set_state(State::ready());
                context.clear_lag();
                (Ok(End::NoLease), true)
            }
            Err(error) => (Err(error), false),
        }
    }
}

/// Clears the lag at the end of a relay: the next owner of the lease reports it.
struct ClearLag<'a>(&'a RelayContext);

impl Drop for ClearLag<'_> {
    fn drop(&mut self) {
        self.0.clear_lag();
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("name", &self.context.settings.name).finish_non_exhaustive()
    }
}
