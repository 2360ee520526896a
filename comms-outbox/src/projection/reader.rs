//! Reads pages of events, one page ahead of the transaction that applies them.

use std::{
    future::pending,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use comms_core::{
    Error,
    clock::{Clock, Sleep},
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::context::Settings;
use crate::relay::{Filter, LeaseHolder, Page, Position, Query, READ_LIMIT, Scan, Store, limited};

/// The pause before the next read after events were found. It doubles up to the poll interval.
const MIN_PAUSE: Duration = Duration::from_millis(1);

/// A page, and when its read ended. `None` if the session has ended.
type Read = Result<Option<(Page, Instant)>, Error>;

pub(super) struct Reader {
    store: Arc<dyn Store>,
    clock: Clock,
    query: Query,
    /// The position of the next read.
    from: Position,
    scan: Option<Scan>,
    task: Option<AbortOnDropHandle<Read>>,
    commits: watch::Receiver<()>,
    poll_interval: Duration,
    pause: Duration,
    /// The pause after a read that found nothing.
    wait: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    pub(super) fn new(
        store: Arc<dyn Store>,
        settings: &Settings,
        holder: &LeaseHolder,
        from: Position,
        commits: watch::Receiver<()>,
    ) -> Self {
        let only = settings.categories.clone();
        let query = Query {
            relay: holder.relay.clone(),
            token: holder.token.clone(),
            from: from.clone(),
            scan: None,
            up_to: None,
            filter: Filter { only, ..Filter::default() },
            max_rows: settings.max_events.into(),
            max_bytes: i64::try_from(settings.max_bytes).unwrap_or(i64::MAX),
        };
        let (clock, poll_interval) = (settings.clock.clone(), settings.poll_interval);
        Self {
            store,
            clock,
            query,
            from,
            scan: None,
            task: None,
            commits,
            poll_interval,
            pause: MIN_PAUSE,
            wait: None,
        }
    }

    /// Returns the next page, and when it was read if it ended at the last committed event then. Returns `None` if
    /// the session has ended. If the page has events, the next page is being read when this function returns. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<(Page, Option<Instant>)>, Error> {
        if let Some(wait) = &mut self.wait {
            tokio::select! {
                () = wait.as_mut() => {}
                Ok(()) = self.commits.changed() => {}
            }
            self.wait = None;
        }
        self.start();
        let read = match &mut self.task {
            Some(task) => task.await,
            None => pending().await,
        };
        self.task = None;
        let Some((mut page, read_at)) = read.map_err(Error::not_executed)?? else { return Ok(None) };
        // A window of several pages may have ended long before the last committed event.
        let caught_up = (self.from.is_settled() && !page.more).then_some(read_at);
        self.from = page.after.clone();
        self.scan = page.scan.take();
        if page.more || !page.rows.is_empty() {
            self.pause = MIN_PAUSE.min(self.poll_interval);
            self.start();
        } else {
            self.wait = Some(Box::pin(self.clock.sleep(self.pause)));
            self.pause = (self.pause * 2).min(self.poll_interval);
        }
        Ok(Some((page, caught_up)))
    }

    /// Starts a read in a separate task, so that it continues during a transaction.
    fn start(&mut self) {
        if self.task.is_some() {
            return;
        }
        self.commits.mark_unchanged();
        let query = Query { from: self.from.clone(), scan: self.scan.take(), ..self.query.clone() };
        let (store, clock) = (self.store.clone(), self.clock.clone());
        let read = async move {
            let page = limited(&clock, READ_LIMIT, store.read(query)).await?;
            Ok(page.map(|page| (page, clock.now())))
        };
        self.task = Some(AbortOnDropHandle::new(tokio::spawn(read)));
    }
}
