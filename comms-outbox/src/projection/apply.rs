//! Applies the events of a page, and finds the event that cannot be applied.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use comms_core::{Error, ErrorKind, lend};
use futures::FutureExt;

use super::{
    ParkedEvent, ParkedEventState,
    feed::{Checkpoint, Feed},
    session::{Event, Session, is_of_event},
    status::ProjectionState,
};
use crate::{
    parked::sanitize,
    relay::{CALL_LIMIT, Position, READ_LIMIT, limited},
};

/// The pause between two looks at the state of a parked event.
const PARKED_PAUSE: Duration = Duration::from_millis(500);

/// Why a batch is not committed.
enum Failure {
    /// The batch was rolled back.
    RolledBack(Error),
    /// The batch may have been committed, or the database is away: the next session begins at the stored position.
    Session(Error),
    /// Another session began.
    Lost,
}

impl<F: Feed> Session<'_, F> {
    /// Applies `events`, which lie between the current position and `after`. Returns `false` if the session is lost.
    ///
    /// After a failure, half of the batch is attempted: an event that causes the failure is alone after a logarithmic number
    /// of attempts, and a batch that is too large for the database becomes smaller.
    pub(super) async fn apply_all(
        &mut self,
        events: &[Event],
        within: &Position,
        after: &Position,
        caught_up: Option<Instant>,
    ) -> Result<bool, Error> {
        let settings = &self.context.settings;
        // The first `suspects` events failed as a batch; 0 if none is known.
        let (mut rest, mut suspects, mut failures, mut holds) = (events, 0, 0, 0);
        loop {
            self.context.beat();
            if let Some(first) = rest.first().filter(|first| self.is_parked_at(first)) {
                match self.wait_for_operator().await? {
                    None => return Ok(false),
                    Some(ParkedEventState::Skipped) => {
                        self.skipped.insert(first.id);
                        rest = &rest[1..];
                    }
                    Some(_) => {}
                }
                (suspects, failures) = (0, 0);
            }
            let take = if suspects == 0 { rest.len() } else { (suspects / 2).max(1) };
            // A batch ends before the parked event.
            let take = rest.iter().position(|event| self.is_parked_at(event)).map_or(take, |at| take.min(at));
            let to = rest.get(take).map_or_else(|| after.clone(), |next| within.before(next.id));
            // A revision becomes the live one soon after the read, and not after a long retry.
            let fresh = caught_up.is_some_and(|read_at| settings.clock.now() - read_at < settings.lease);
            let go_live = fresh && take == rest.len() && !self.live;
            let error = match self.commit_batch(&rest[..take], &to, go_live).await {
                Ok(()) => {
                    (rest, suspects, failures, holds) = (&rest[take..], suspects.saturating_sub(take), 0, 0);
                    self.next_save.as_mut().reset(settings.lease / 3);
                    if rest.is_empty() {
                        return Ok(true);
                    }
                    continue;
                }
                Err(Failure::Lost) => return Ok(false),
                Err(Failure::Session(error)) => return Err(error),
                Err(Failure::RolledBack(error)) if error.kind == ErrorKind::Fatal => return Err(error),
                Err(Failure::RolledBack(error)) => error,
            };
            if take > 1 {
                suspects = take;
            }
            if is_of_event(error.kind) && take > 1 {
                continue;
            }
            if is_of_event(error.kind) {
                failures += 1;
            } else {
                holds += 1;
            }
            if failures >= settings.max_attempts
                && is_of_event(error.kind)
                && let Some(first) = rest.first()
            {
                if !self.park(first, &error).await? {
                    return Ok(false);
                }
                continue;
            }
            let chain = error.chain().to_string();
            tracing::warn!(projection = %settings.name, failures, holds, error = %chain, "events were not applied: they are retried");
            self.context.reporter.state(ProjectionState::Retrying { reason: chain });
            let backoff = settings.backoff.delay(failures + holds, &settings.clock);
            let pause = error.retry_after.map_or(backoff, |least| least.min(settings.lease).max(backoff));
            if !self.pause(pause).await? {
                return Ok(false);
            }
        }
    }

    /// Applies `events` and stores the position `to` in one transaction.
    async fn commit_batch(&mut self, events: &[Event], to: &Position, go_live: bool) -> Result<(), Failure> {
        let transaction = self.transaction(events, to, go_live);
        tokio::select! {
            result = transaction => result?,
            () = self.keep_lease() => return Err(Failure::Lost),
        }
        self.position = to.clone();
        if self.passes_parked(events) {
            self.parked = None;
        }
        self.live |= go_live;
        self.context.reporter.live(self.live);
        self.context.reporter.applied(events.len() as u64);
        Ok(())
    }

    async fn transaction(&self, events: &[Event], to: &Position, go_live: bool) -> Result<(), Failure> {
        let (settings, feed) = (&self.context.settings, &self.context.feed);
        let mut recorded = Vec::with_capacity(events.len());
        for event in events {
            match &event.recorded {
                Ok(event) => recorded.push(event.clone()),
                Err(damaged) => {
                    let error = Error::new(damaged.kind, damaged.chain().to_string());
                    return Err(Failure::RolledBack(error));
                }
            }
        }
        let mut tx = feed.begin().await.map_err(Failure::Session)?;
        if !recorded.is_empty() {
            let apply = |tx| {
                let applied = AssertUnwindSafe(async { (self.context.apply)(recorded, tx).await });
                applied.catch_unwind().map(|result| result.unwrap_or_else(|_| Err(panicked())))
            };
            (tx, ()) = lend(tx, apply).await.map_err(Failure::RolledBack)?;
        }
        let checkpoint = Checkpoint {
            holder: &self.holder,
            position: to,
            name: &settings.name,
            revision: settings.revision,
            go_live,
            unpark: self.passes_parked(events),
        };
        let commit = feed.commit(tx, &checkpoint);
        match limited(&settings.clock, READ_LIMIT, commit).await.map_err(not_committed)? {
            true => Ok(()),
            false => Err(Failure::Lost),
        }
    }

    /// Renews the lease while a transaction is open. Resolves if it is lost.
    async fn keep_lease(&self) {
        let settings = &self.context.settings;
        loop {
            settings.clock.sleep(settings.lease / 3).await;
            if !self.context.feed.renews_during_transaction() {
                continue;
            }
            // The checkpoint decides, so that a renewal may fail.
            let renewed = limited(&settings.clock, CALL_LIMIT, self.context.feed.renew(&self.holder)).await;
            if matches!(renewed, Ok(false)) {
                return;
            }
        }
    }

    fn is_parked_at(&self, event: &Event) -> bool {
        self.parked.as_ref().is_some_and(|p| p.row == event.id && p.state == ParkedEventState::Parked)
    }

    /// Whether `events` contain the parked event, or one behind it.
    fn passes_parked(&self, events: &[Event]) -> bool {
        let last = events.last().map(|last| last.id);
        self.parked.as_ref().is_some_and(|parked| last >= Some(parked.row))
    }

    async fn park(&mut self, event: &Event, error: &Error) -> Result<bool, Error> {
        let (settings, feed) = (&self.context.settings, &self.context.feed);
        let identity = event.recorded.as_ref().map(|event| (event.message.source(), event.message.id()));
        let (source, id) = identity.unwrap_or_default();
        // An event that does not decode is named by its row.
        let id = if id.is_empty() { event.id.to_string() } else { id.to_owned() };
        let parked = ParkedEvent {
            projection: settings.name.clone(),
            revision: settings.revision,
            row: event.id,
            source: source.to_owned(),
            id,
            stream: event.stream(),
            version: event.version,
            state: ParkedEventState::Parked,
            error_kind: error.kind.as_str().to_owned(),
            error: sanitize(error.chain().to_string()),
            parked_at: settings.clock.unix(),
            reason: None,
        };
        tracing::error!(projection = %settings.name, "{}", parked.text());
        let stored = limited(&settings.clock, CALL_LIMIT, feed.park(&self.holder, &parked)).await?;
        self.parked = Some(parked);
        Ok(stored)
    }

    /// Waits until an operator retries or skips the parked event. Returns `None` if the session is lost.
    async fn wait_for_operator(&mut self) -> Result<Option<ParkedEventState>, Error> {
        let Some(parked) = self.parked.clone() else { return Ok(Some(ParkedEventState::Retry)) };
        let (settings, feed) = (&self.context.settings, &self.context.feed);
        self.context.reporter.state(ProjectionState::Parked(Box::new(parked.clone())));
        loop {
            self.context.beat();
            let stored = feed.load(&settings.name, settings.revision);
            let stored = limited(&settings.clock, CALL_LIMIT, stored).await?;
            let event = stored.events.into_iter().find(|event| event.row == parked.row);
            let state = event.map_or(ParkedEventState::Retry, |event| event.state);
            if state != ParkedEventState::Parked {
                self.context.reporter.state(ProjectionState::CatchingUp);
                self.parked = Some(ParkedEvent { state, ..parked });
                return Ok(Some(state));
            }
            if !self.pause(PARKED_PAUSE).await? {
                return Ok(None);
            }
        }
    }

    /// Waits, and renews the lease meanwhile. Returns `false` if it is lost.
    async fn pause(&mut self, duration: Duration) -> Result<bool, Error> {
        let settings = &self.context.settings;
        let mut end = Box::pin(settings.clock.sleep(duration));
        loop {
            tokio::select! {
                biased;
                () = end.as_mut() => return Ok(true),
                () = self.next_save.as_mut() => {
                    self.context.beat();
                    if !self.renew().await? {
                        return Ok(false);
                    }
                }
            }
        }
    }
}

/// The failure of a checkpoint or a commit. A handler may have ignored the failure of a statement, or left a deferred
/// constraint violated; the database then rolls the transaction back.
fn not_committed(error: Error) -> Failure {
    if is_of_event(error.kind) || error.kind == ErrorKind::Conflict {
        Failure::RolledBack(error)
    } else {
        Failure::Session(error)
    }
}

fn panicked() -> Error {
    Error::internal("the function that applies events panicked")
}
