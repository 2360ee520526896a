//! Runs a consumer from its start to its end.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::task::TaskTracker;

use super::{
    Consumer, Settings,
    assignment::Assignments,
    commits::Commits,
    control::Control,
    health::ConsumerHealth,
    lag::Lag,
    member::{Member, Poll},
    position::SeekOwner,
    prefetch,
    runner::{self, DeadLetterSource, Runners},
};
use comms_core::{Error, transport::Holds};

/// The time limit for the last commit and for leaving the group.
const CLOSE: Duration = Duration::from_secs(10);
/// The time limit for dropping cancelled attempts.
const CANCEL: Duration = Duration::from_secs(1);

impl Consumer {
    /// Consumes until `shutdown` resolves.
    ///
    /// The consumer then takes no more records, drains, commits, and leaves the group. That takes at most the drain
    /// time ([`ConsumerBuilder::drain`](super::ConsumerBuilder::drain)) and 11 s, also if a handler blocks its thread.
    /// Dropping the future stops the consumer without a drain.
    ///
    /// An unreachable broker is not an error. The consumer waits, and its health component
    /// ([`ConsumerBuilder::health`](super::ConsumerBuilder::health)) is unready with the reason.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    ///
    /// # Errors
    /// - Returns [`ErrorKind::Fatal`](comms_core::ErrorKind::Fatal) if a handler or the client returned a fatal error,
    ///   if the poll thread could not be started, or if it panicked. After a fatal error of a handler the consumer has
    ///   drained and left the group, and the record is not committed.
    /// - Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) or
    ///   [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if the client refuses a setting or the
    ///   subscription when it starts.
    /// - Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) for a fault of
    ///   [`ConsumerBuilder::fatal_on`](super::ConsumerBuilder::fatal_on).
    /// - Returns [`ErrorKind::Indeterminate`](comms_core::ErrorKind::Indeterminate) if the client does not close in
    ///   time, or if the positions of [`ConsumerBuilder::start_at`](super::ConsumerBuilder::start_at) cannot be read. A
    ///   poll thread that does not close continues in the background, and the partitions move when the session ends.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { settings, holds, assigned, seeks, lag } = self;
        let (group, clock, health) =
            (settings.group.clone(), settings.clock.clone(), settings.health.clone());
        let limit = settings.limits.drain + CLOSE;
        let control = Arc::new(Control::default());
        let _abandoned = control.abandoned.clone().drop_guard();
        let _stopping = control.stopping.clone().drop_guard();
        let tasks = TaskTracker::new();
        let thread = {
            let (control, tasks, runtime) = (control.clone(), tasks.clone(), Handle::current());
            move || {
                let _entered = runtime.enter();
                poll(settings, Shared { holds, assigned, seeks, lag, control, tasks })
            }
        };
        let mut ended = spawn(&group, thread)?;
        let in_order = async {
            tokio::select! {
                () = shutdown => control.stopping.cancel(),
                () = control.stopping.cancelled() => {}
            }
        };
        let result = tokio::select! {
            result = &mut ended => result,
            () = in_order => match clock.timeout(limit, &mut ended).await {
                Ok(result) => result,
                Err(_) => {
                    let text = format!("group {group}: the client did not close within {limit:?}");
                    Ok(Err(Error::indeterminate(text)))
                }
            },
        };
        if let Some(health) = health {
            health.unready("stopped");
        }
        // All runners are stopped. They end when they are polled again.
        tasks.close();
        let _ = clock.timeout(CANCEL, tasks.wait()).await;
        let result = result.map_err(|_| Error::fatal(format!("group {group}: the poll thread panicked")))?;
        control.failure().map_or(result, Err)
    }
}

/// What the poll thread shares with the other parts of the consumer.
struct Shared {
    holds: Holds,
    assigned: Arc<Assignments>,
    seeks: SeekOwner,
    lag: Arc<Lag>,
    control: Arc<Control>,
    tasks: TaskTracker,
}

/// Runs the poll thread.
fn poll(settings: Settings, shared: Shared) -> Result<(), Error> {
    let Shared { holds, assigned, seeks, lag, control, tasks } = shared;
    let Settings { mut client, probe, group, topics, limits, clock, heartbeat, .. } = settings;
    let health =
        ConsumerHealth::new(settings.health, holds.clone(), clock.clone(), settings.fatal, control.clone());
    let health = Arc::new(health);
    if let Some(probe) = probe {
        let names: Vec<_> = topics.keys().map(AsRef::as_ref).collect();
        let partitions = prefetch::partitions(&probe, &group, &names, &health, &control, heartbeat.as_ref())?;
        let Some(partitions) = partitions else { return Ok(()) };
        client.set(prefetch::SETTING, prefetch::share(limits.prefetch_bytes, partitions).to_string());
    }
    let every = (limits.commit_records, limits.commit_interval);
    let parts = (health.clone(), lag.clone());
    let commits = Commits::new(group.clone(), assigned.clone(), parts, every, clock.clone());
    let commits = Arc::new(commits);
    let backoff = settings.backoff;
    let dead_letters = settings.dead_letters.map(|publisher| DeadLetterSource {
        publisher,
        backoff,
        clock: clock.clone(),
        holds,
    });
    let shared = runner::Shared {
        group: group.clone(),
        max_gap: limits.gap,
        commits: commits.clone(),
        control: control.clone(),
        health: health.clone(),
    };
    let runners = Runners {
        shared: Arc::new(shared),
        worker: settings.worker,
        dead_letters,
        ended: Arc::default(),
        tasks,
        runtime: Handle::current(),
    };
    let member = Member {
        name: group,
        topics,
        assigned,
        commits,
        runners,
        control,
        health,
        heartbeat,
        lag,
        clock,
        drain: limits.drain,
        start: settings.start,
        seeks: seeks.0.clone(),
        client: Default::default(),
        reader: Default::default(),
        on_main: Default::default(),
    };
    Poll::new(&client, member).and_then(Poll::run)
}

/// Runs `work` on a new thread, because it blocks and may outlive [`Consumer::run`].
fn spawn(
    group: &str,
    work: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
    let (done, ended) = oneshot::channel();
    let body = move || {
        // The send fails if the future of `run` was dropped.
        let _ = done.send(work());
    };
    let thread = std::thread::Builder::new().name(format!("kafka-{group}")).spawn(body);
    thread.map_err(|e| Error::fatal(e).context(format_args!("start the poll thread of group {group}")))?;
    Ok(ended)
}
