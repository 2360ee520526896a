//! The state that the hub shares with its sessions and tasks.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use comms_core::{Error, clock::Clock};
use tokio::{runtime::Handle, sync::Semaphore, task::AbortHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{config::HubConfig, meters::Meters, registry::Registry, watch::Watch};
use crate::{
    backplane::{Backplane, Position, Receiver},
    cursor::CursorKey,
    session::Authenticate,
    shard::Shard,
    topic::{feed, table::Topics},
};

/// The maximum number of readings of the history at a time, so that many clients that reconnect together do not overload
/// the server of the backplane.
const MAX_READS: usize = 64;
/// The time limit of a subscription and of a reading of the history.
const ACCESS_LIMIT: Duration = Duration::from_secs(5);
/// The longest wait before a client of a hub that shuts down reconnects.
const RETRY_AFTER: Duration = Duration::from_secs(5);

pub(crate) struct HubState {
    pub(crate) config: HubConfig,
    pub(crate) clock: Clock,
    pub(crate) cursor_keys: Vec<CursorKey>,
    pub(crate) topics: Topics,
    pub(crate) meters: Arc<Meters>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) watch: Watch,
    pub(crate) backplane: Arc<dyn Backplane>,
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
    pub(crate) reads: Semaphore,
    started: Instant,
    /// Created with the first session, because the tasks of the shards need a runtime.
    shards: OnceLock<Vec<Arc<Shard>>>,
    /// The tasks of the hub: flushers, the watch, the backplane, repairs and joins.
    tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    this: Weak<Self>,
}

/// The parts that the caller of [`HubState::new`] chooses.
pub(crate) struct HubParts {
    pub(crate) config: HubConfig,
    pub(crate) clock: Clock,
    pub(crate) cursor_keys: Vec<CursorKey>,
    pub(crate) backplane: Arc<dyn Backplane>,
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
}

impl HubState {
    pub(crate) fn new(parts: HubParts) -> Arc<Self> {
        let HubParts { config, clock, cursor_keys, backplane, authenticate } = parts;
        let meters = Arc::new(Meters::new());
        let state = Arc::new_cyclic(|this: &Weak<Self>| Self {
            registry: Arc::new(Registry::new(meters.clone())),
            watch: Watch::default(),
            started: clock.now(),
            topics: Topics::default(),
            reads: Semaphore::new(MAX_READS),
            shards: OnceLock::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            this: this.clone(),
            config,
            clock,
            cursor_keys,
            meters,
            backplane,
            authenticate,
        });
        let receiver: Weak<dyn Receiver> = state.this.clone();
        state.backplane.attach(receiver);
        state
    }

    /// Starts the tasks of the hub, once.
    pub(crate) fn start(self: &Arc<Self>) {
        self.shards.get_or_init(|| {
            let workers = Handle::current().metrics().num_workers().max(1);
            let shards: Vec<_> = (0..workers).map(|_| Arc::new(Shard::default())).collect();
            for shard in &shards {
                self.spawn(shard.clone().flush(self.meters.clone()));
            }
            self.spawn(super::watch::run(Arc::downgrade(self), self.clock.clone(), self.config.tick()));
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

    /// Awaits an access to the backplane, at most 5 seconds, so that one that never ends holds nothing up for ever.
    ///
    /// # Errors
    /// Returns the error of the backplane, or `Indeterminate` at the limit.
    pub(crate) async fn access<T>(&self, access: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.clock
            .timeout(ACCESS_LIMIT, access)
            .await
            .unwrap_or_else(|elapsed| Err(Error::indeterminate(elapsed)))
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

    /// Returns the wait before a client of a hub that shuts down reconnects, at random, so that not all come at once.
    pub(crate) fn retry_after(&self) -> Duration {
        RETRY_AFTER.mul_f64(0.1 + 0.9 * self.clock.random_unit())
    }

    /// Ends the tasks of the hub.
    pub(crate) async fn stop_tasks(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Returns the milliseconds since the hub was created.
    pub(crate) fn now(&self) -> u64 {
        let elapsed = self.clock.now().saturating_duration_since(self.started);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Receiver for HubState {
    fn deliver(&self, topic: &str, position: Option<Position>, body: Bytes) {
        let (Some(topic), Some(hub)) = (self.topics.get(topic), self.this.upgrade()) else { return };
        feed::receive(&hub, &topic, position, body);
    }

    fn interrupted(&self) {
        let Some(hub) = self.this.upgrade() else { return };
        self.topics.all().iter().for_each(|topic| feed::check(&hub, topic));
    }
}

impl Drop for HubState {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
