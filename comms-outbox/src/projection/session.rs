//! A session: begins with the lease, and reads and applies events until the lease is lost.

use std::{
    collections::HashSet,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use comms_core::{
    Error, ErrorKind,
    clock::Sleep,
    event_sourcing::{Recorded, Stream},
};

use super::{
    ParkedEvent, ParkedEventState, context::Context, feed::Feed, reader::Reader, status::ProjectionState,
};
use crate::relay::{
    CALL_LIMIT, Changes, LeaseHolder, LeaseRequest, Page, Position, RecordedAt, Row, Start, limited,
};

/// The least pause between two look-ups of the id of the last event.
const LAG_INTERVAL: Duration = Duration::from_secs(1);

/// How a session ended without an error.
#[derive(Debug)]
pub(super) enum End {
    Shutdown,
    /// Another owner has the lease.
    NoLease,
    /// Another session took the lease, or the database went through a recovery.
    Lost,
}

/// An event of a page. A row that does not decode has the error instead.
pub(super) struct Event {
    pub(super) id: i64,
    category: Arc<str>,
    key: Option<Bytes>,
    pub(super) version: u64,
    pub(super) recorded: Result<Recorded, Error>,
}

impl Event {
    fn new(row: Row, at: RecordedAt) -> Self {
        let version = u64::try_from(at.version).unwrap_or(0);
        let recorded_at = Duration::from_micros(u64::try_from(at.micros).unwrap_or(0));
        let recorded = row.message.map(|message| Recorded { version, recorded_at, message });
        Self { id: row.id, category: row.topic, key: row.key, version, recorded }
    }

    pub(super) fn stream(&self) -> Stream {
        let key = String::from_utf8_lossy(self.key.as_deref().unwrap_or_default());
        Stream::new(self.category.clone(), &*key)
    }
}

pub(super) struct Session<'a, F: Feed> {
    pub(super) context: &'a Context<F>,
    pub(super) holder: LeaseHolder,
    reader: Reader,
    /// Every event up to this position is applied.
    pub(super) position: Position,
    /// The revision, or a higher one, has become the live one, which happens once without an operator.
    pub(super) live: bool,
    /// The stored event at which the projection is parked.
    pub(super) parked: Option<ParkedEvent>,
    pub(super) skipped: HashSet<i64>,
    /// Something was read or applied in this session.
    pub(super) progress: bool,
    pub(super) next_save: Pin<Box<Sleep>>,
    /// The id of the last event, and when it was read.
    last_id: Option<(i64, Instant)>,
}

impl<'a, F: Feed> Session<'a, F> {
    /// Runs one session. Returns how it ended, and whether it made progress.
    pub(super) async fn run<S>(context: &'a Context<F>, shutdown: Pin<&mut S>) -> (Result<End, Error>, bool)
    where
        S: Future<Output = ()> + Send,
    {
        let mut session = match Self::begin(context).await {
            Ok(Some(session)) => session,
            Ok(None) => return (Ok(End::NoLease), true),
            Err(error) => return (Err(error), false),
        };
        // A batch that is being applied is dropped, and so rolled back.
        let result = tokio::select! {
            biased;
            () = shutdown => Ok(End::Shutdown),
            result = session.work() => result,
        };
        if !matches!(result, Ok(End::Lost)) {
            session.release().await;
        }
        (result, session.progress)
    }

    /// Takes the lease. Returns `None` while another owner has it.
    async fn begin(context: &'a Context<F>) -> Result<Option<Self>, Error> {
        let (settings, feed) = (&context.settings, &context.feed);
        let commits = settings.commit_signal.subscribe();
        let request = LeaseRequest {
            relay: &settings.cursor,
            owner: &settings.owner,
            lease: settings.lease,
            covers: settings.categories.as_deref(),
            start: Start::Oldest,
        };
        let store = feed.store();
        let Some(lease) = limited(&settings.clock, CALL_LIMIT, store.acquire(&request)).await? else {
            return Ok(None);
        };
        let holder =
            LeaseHolder { relay: settings.cursor.clone(), token: lease.token, lease: settings.lease };
        let stored =
            limited(&settings.clock, CALL_LIMIT, feed.load(&settings.name, settings.revision)).await?;
        let mut session = Self {
            context,
            reader: Reader::new(store, settings, &holder, lease.position.clone(), commits),
            holder,
            position: lease.position,
            live: stored.highest_live.is_some_and(|highest| highest >= settings.revision),
            parked: None,
            skipped: HashSet::new(),
            progress: false,
            next_save: Box::pin(settings.clock.sleep(settings.lease / 3)),
            last_id: None,
        };
        if lease.covers.as_deref() != settings.categories.as_deref() {
            session.release().await;
            return Err(Error::misconfigured(format!(
                "the position of projection {}, revision {}, covers the categories {}, and this program names {}: set a \
                 higher revision, which begins at the first event",
                settings.name,
                settings.revision,
                named(lease.covers.as_deref()),
                named(settings.categories.as_deref())
            )));
        }
        for event in stored.events {
            match event.state {
                ParkedEventState::Skipped => drop(session.skipped.insert(event.row)),
                _ => session.parked = Some(event),
            }
        }
        context.reporter.live(session.live);
        context.reporter.state(ProjectionState::CatchingUp);
        tracing::info!(projection = %settings.name, revision = settings.revision, "projection took the lease");
        Ok(Some(session))
    }

    /// Reads and applies events until the session is lost.
    async fn work(&mut self) -> Result<End, Error> {
        loop {
            self.context.beat();
            let (page, caught_up) = tokio::select! {
                biased;
                () = self.next_save.as_mut() => {
                    if !self.save().await? {
                        return Ok(End::Lost);
                    }
                    continue;
                }
                read = self.reader.next() => match read? {
                    Some(read) => read,
                    None => return Ok(End::Lost),
                },
            };
            if !self.accept(page, caught_up).await? {
                return Ok(End::Lost);
            }
        }
    }

    /// Applies the events of a page. Returns `false` if the session is lost.
    async fn accept(&mut self, page: Page, caught_up: Option<Instant>) -> Result<bool, Error> {
        let Page { rows, recorded, age, within, after, .. } = page;
        self.progress = true;
        let last = rows.last().map(|row| row.id);
        let events = rows.into_iter().zip(recorded).filter(|(row, _)| !self.skipped.contains(&row.id));
        let events: Vec<_> = events.map(|(row, at)| Event::new(row, at)).collect();
        if let Some(first) = events.first() {
            self.report_lag(first.id - 1, age).await?;
        }
        if events.is_empty() && (self.live || caught_up.is_none()) {
            self.position = after;
        } else if !self.apply_all(&events, &within, &after, caught_up).await? {
            return Ok(false);
        }
        let reporter = &self.context.reporter;
        reporter.state(if caught_up.is_some() { ProjectionState::Live } else { ProjectionState::CatchingUp });
        match last {
            _ if caught_up.is_some() => reporter.lag(0, 0, Duration::ZERO),
            Some(last) => self.report_lag(last, Duration::ZERO).await?,
            None => {}
        }
        Ok(true)
    }

    /// Reports the lag, if the events up to `applied` are applied. The last id is read at most once a second.
    async fn report_lag(&mut self, applied: i64, age: Duration) -> Result<(), Error> {
        let (clock, feed) = (&self.context.settings.clock, &self.context.feed);
        let now = clock.now();
        if self.last_id.is_none_or(|(_, at)| now.saturating_duration_since(at) >= LAG_INTERVAL) {
            self.last_id = Some((limited(clock, CALL_LIMIT, feed.last_id()).await?, now));
        }
        let last = self.last_id.map_or(applied, |(id, _)| id.max(applied));
        self.context.reporter.lag(applied, last, age);
        Ok(())
    }

    /// Stores the position, which may have passed events of other categories, and renews the lease.
    pub(super) async fn save(&mut self) -> Result<bool, Error> {
        let (settings, store) = (&self.context.settings, self.context.feed.store());
        let changes = Changes::default();
        let save = store.save(&self.holder, &self.position, &changes);
        let saved = limited(&settings.clock, CALL_LIMIT, save).await?;
        self.next_save.as_mut().reset(settings.lease / 3);
        Ok(saved)
    }

    /// Renews the lease, and leaves the stored position unchanged.
    pub(super) async fn renew(&mut self) -> Result<bool, Error> {
        let (settings, feed) = (&self.context.settings, &self.context.feed);
        let renewed = limited(&settings.clock, CALL_LIMIT, feed.renew(&self.holder)).await?;
        self.next_save.as_mut().reset(settings.lease / 3);
        Ok(renewed)
    }

    /// Releases the lease. The position is not written: a commit whose result was not awaited may have moved it.
    async fn release(&mut self) {
        self.holder.lease = Duration::ZERO;
        if let Err(error) = self.renew().await {
            let error = error.chain();
            tracing::warn!(projection = %self.context.settings.name, %error, "the lease was not released");
        }
    }
}

/// The kinds of failures that an event can cause. Any other failure has its cause outside the events.
pub(super) fn is_of_event(kind: ErrorKind) -> bool {
    use ErrorKind as E;
    matches!(kind, E::Invalid | E::NotFound | E::Unauthenticated | E::PermissionDenied | E::Internal)
}

fn named(categories: Option<&[String]>) -> String {
    categories.map_or_else(|| "of all events".to_owned(), |categories| format!("{categories:?}"))
}
