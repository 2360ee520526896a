//! The part of a hub through which messages pass: the shards, and the tasks around the backplane.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use comms_core::{Error, resilience::Backoff, telemetry::LogLimit};
use tokio::{runtime::Handle, sync::Semaphore, task::AbortHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    backplane::{Backplane, History, Position, Retention},
    environment::Environment,
    shard::Shard,
    topic::Topic,
};

/// The maximum number of readings of the history at a time, so that many clients that reconnect together do not overload
/// the server of the backplane.
const MAX_READS: usize = 64;
/// The time limit of a subscription and of a reading of the history.
const ACCESS_LIMIT: Duration = Duration::from_secs(5);

/// The shards of a hub, its backplane and its tasks.
pub(crate) struct Fanout {
    pub(crate) env: Arc<Environment>,
    pub(crate) backplane: Arc<dyn Backplane>,
    reads: Semaphore,
    /// The waits before a failed access to the backplane is repeated.
    pub(crate) backoff: Backoff,
    /// Created with the first session, because the tasks of the shards need a runtime.
    shards: OnceLock<Vec<Arc<Shard>>>,
    /// The tasks of the hub: flushers, the watch, repairs and joins.
    tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    warnings: LogLimit,
}

impl Fanout {
    pub(crate) fn new(env: Arc<Environment>, backplane: Arc<dyn Backplane>, backoff: Backoff) -> Self {
        let (reads, shards) = (Semaphore::new(MAX_READS), OnceLock::new());
        let (tasks, stop, warnings) = Default::default();
        Self { env, backplane, reads, backoff, shards, tasks, stop, warnings }
    }

    /// Starts the flushers and `task`, once.
    pub(crate) fn start(&self, task: impl FnOnce()) {
        self.shards.get_or_init(|| {
            let workers = Handle::current().metrics().num_workers().max(1);
            let shards: Vec<_> = (0..workers).map(|_| Arc::new(Shard::default())).collect();
            for shard in &shards {
                self.spawn(shard.clone().flush(self.env.meters.clone()));
            }
            task();
            shards
        });
    }

    /// Returns the shards. There are none before the first session.
    pub(crate) fn shards(&self) -> &[Arc<Shard>] {
        self.shards.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the shard of a connection.
    pub(crate) fn shard_of(&self, connection: u64) -> Option<&Arc<Shard>> {
        let shards = self.shards();
        // The remainder fits into usize on any platform.
        shards.get((connection % shards.len().max(1) as u64) as usize)
    }

    /// Waits while the turns of a shard are full. After the end of the hub, nothing waits.
    pub(crate) async fn room(&self) {
        for shard in self.shards() {
            tokio::select! {
                () = shard.room() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Starts the delivery of `topic`, see [`Backplane::subscribe`].
    ///
    /// # Errors
    /// Returns the error of the backplane, or `Indeterminate` after 5 seconds.
    pub(crate) async fn subscribe(&self, topic: &Topic) -> Result<Option<Position>, Error> {
        self.access(self.backplane.subscribe(&topic.name, topic.options.history)).await
    }

    /// Reads the history of `topic` after `since`, see [`Backplane::history`]. At most 64 readings run at a time.
    ///
    /// # Errors
    /// Returns the error of the backplane, or `Indeterminate` after 5 seconds.
    pub(crate) async fn history(
        &self,
        topic: &Topic,
        retention: Retention,
        since: Position,
        max_bytes: usize,
    ) -> Result<History, Error> {
        // The semaphore is never closed.
        let _permit = self.reads.acquire().await;
        self.access(self.backplane.history(&topic.name, retention, since, max_bytes)).await
    }

    /// Lists principals as present, or removes them, see [`Backplane::set_present`].
    ///
    /// # Errors
    /// Returns the error of the backplane, or `Indeterminate` after 5 seconds.
    pub(crate) async fn set_present(
        &self,
        topic: &str,
        node: u64,
        principals: &[Arc<str>],
        lifetime: Duration,
    ) -> Result<(), Error> {
        self.access(self.backplane.set_present(topic, node, principals, lifetime)).await
    }

    /// Awaits an access to the backplane, at most 5 seconds, so that one that never ends holds nothing up for ever.
    async fn access<T>(&self, access: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.env
            .clock
            .timeout(ACCESS_LIMIT, access)
            .await
            .unwrap_or_else(|elapsed| Err(Error::indeterminate(elapsed)))
    }

    /// Logs that the backplane does not answer for `topic`, at most once in 10 seconds.
    pub(crate) fn warn(&self, topic: &str, error: &Error) {
        if let Some(suppressed) = self.warnings.admit(&self.env.clock) {
            tracing::warn!(topic, error = %error.chain(), suppressed, "the backplane does not answer: is it running?");
        }
    }

    pub(crate) fn is_overfull(&self) -> bool {
        self.shards().iter().any(|shard| shard.is_overfull())
    }

    /// Runs `task` until it ends or the hub stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let stop = self.stop.clone();
        let task = self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
        task.abort_handle()
    }

    /// Ends the tasks of the hub.
    pub(crate) async fn stop_tasks(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
