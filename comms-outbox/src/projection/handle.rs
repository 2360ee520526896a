//! Reads the status of a projection, and waits for it.

use std::{fmt, sync::Arc, time::Duration};

use comms_core::{Error, clock::Clock, context::Context};
use tokio::sync::watch;

use super::{
    feed::{Feed, Revisions, Written},
    status::{ProjectionState, ProjectionStatus},
};

/// The longest pause between two looks at the position.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// Reads the status of a projection of this process, and waits until a transaction is applied. Clones share the
/// projection.
pub struct ProjectionHandle<F: Feed> {
    pub(super) feed: Arc<F>,
    pub(super) name: Arc<str>,
    pub(super) revision: u32,
    pub(super) clock: Clock,
    pub(super) status: watch::Receiver<ProjectionStatus>,
}

impl<F: Feed> ProjectionHandle<F> {
    /// Returns the status of the projection in this process.
    #[must_use]
    pub fn status(&self) -> ProjectionStatus {
        self.status.borrow().clone()
    }

    /// Waits until the live revision of the projection, whose tables queries read, has applied the events of the transaction
    /// `written`, at most `limit`, so that a query of the read model returns what the transaction wrote. Any process may have
    /// the lease. The wait ends at the deadline of the current [`Context`], if that is earlier.
    ///
    /// The live revision may be another one than that of this projection. During a rebuild the older one is, and the wait is
    /// not longer than before the rebuild; if the revision of this projection becomes the live one during the wait, the wait
    /// continues for that one. While none or a higher one is live, the wait is for the revision of this projection: a program
    /// does not have the tables of a higher revision, which another program may have made live before a rollback.
    ///
    /// If this revision becomes the live one between the wait and the query, the query may miss the last events, which this
    /// revision applies next.
    ///
    /// If the transaction has no event of the categories, the wait may take a third of the lease.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotExecuted`](comms_core::ErrorKind::NotExecuted) if the limit or the deadline is reached first.
    /// Otherwise returns an error of the kind that [`sql_error`](crate::sql_error) lists if a statement fails.
    pub async fn wait_for(&self, written: Written, limit: Duration) -> Result<(), Error> {
        let applied = applied(&*self.feed, self.revisions(), &self.clock, written, Some(self.status.clone()));
        wait_within(limit, &self.clock, &self.name, &format!("the transaction {written}"), applied).await
    }

    /// Waits until the live revision of the projection has applied every event that was committed before this call, so that a
    /// query of the read model returns what any earlier transaction wrote. Waits at most `limit`, and not beyond the deadline
    /// of the current context. Any process may have the lease. [`wait_for`](Self::wait_for) describes which revision that is.
    ///
    /// If the last events belong to other categories, the wait may take a third of the lease.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotExecuted`](comms_core::ErrorKind::NotExecuted) if the limit or the deadline is reached first.
    /// Otherwise returns an error of the kind that [`sql_error`](crate::sql_error) lists if a statement fails.
    pub async fn wait_for_committed(&self, limit: Duration) -> Result<(), Error> {
        let (feed, revisions) = (&*self.feed, self.revisions());
        let wait = async {
            let committed = feed.committed().await?;
            let committed = &committed;
            poll(&self.clock, Some(self.status.clone()), || feed.are_applied(revisions, committed)).await
        };
        wait_within(limit, &self.clock, &self.name, "the committed events", wait).await
    }

    fn revisions(&self) -> Revisions<'_> {
        Revisions { name: &self.name, own: self.revision }
    }
}

pub(crate) fn no_live_revision(name: &str) -> Error {
    Error::not_found(format!(
        "projection {name} has no live revision: run it, and call again when it has come to the last event"
    ))
}

/// Runs `wait` for at most `limit`, and not beyond the deadline of the current context. `name` and `what` are for the error.
pub(crate) async fn wait_within(
    limit: Duration,
    clock: &Clock,
    name: &str,
    what: &str,
    wait: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let deadline = Context::current().deadline.map(|deadline| deadline.remaining(clock).unwrap_or_default());
    let limit = deadline.map_or(limit, |left| left.min(limit));
    clock.timeout(limit, wait).await.unwrap_or_else(|_| {
        Err(Error::not_executed(format!("projection {name} has not applied {what} within {limit:?}")))
    })
}

/// Waits until `revisions` have applied `written`.
pub(crate) async fn applied<F: Feed>(
    feed: &F,
    revisions: Revisions<'_>,
    clock: &Clock,
    written: Written,
    status: Option<watch::Receiver<ProjectionStatus>>,
) -> Result<(), Error> {
    poll(clock, status, || feed.is_applied(revisions, written)).await
}

/// Waits until `is_applied` returns `true`. Calls it after each batch that this process commits, and after a pause, which
/// is short at first if another process or another revision may have to apply the events.
async fn poll<Fut: Future<Output = Result<bool, Error>>>(
    clock: &Clock,
    mut status: Option<watch::Receiver<ProjectionStatus>>,
    is_applied: impl Fn() -> Fut,
) -> Result<(), Error> {
    let is_here = status.as_ref().is_some_and(|status| {
        let status = status.borrow();
        status.live && status.state != ProjectionState::Standby
    });
    let mut pause = if is_here { MAX_PAUSE } else { Duration::from_millis(1) };
    loop {
        // Read before the look at the position, so that a batch that commits during the look is not missed.
        let before = status.as_ref().map(|status| status.borrow().applied);
        if is_applied().await? {
            return Ok(());
        }
        let committed = async {
            match &mut status {
                Some(status) => status.wait_for(|now| Some(now.applied) != before).await.is_ok(),
                None => false,
            }
        };
        tokio::select! {
            true = committed => {}
            () = clock.sleep(pause) => pause = (pause * 2).min(MAX_PAUSE),
        }
    }
}

impl<F: Feed> Clone for ProjectionHandle<F> {
    fn clone(&self) -> Self {
        let Self { feed, name, revision, clock, status } = self;
        let (feed, name, revision) = (feed.clone(), name.clone(), *revision);
        Self { feed, name, revision, clock: clock.clone(), status: status.clone() }
    }
}

impl<F: Feed> fmt::Debug for ProjectionHandle<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, revision, .. } = self;
        f.debug_struct("ProjectionHandle")
            .field("name", name)
            .field("revision", revision)
            .finish_non_exhaustive()
    }
}
