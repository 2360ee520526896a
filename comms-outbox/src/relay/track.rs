//! One reader of the outbox: the relay's main position, or one destination apart from it.

use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use comms_core::{Error, Message};
use tokio::time::Sleep;
use tokio_util::task::AbortOnDropHandle;

use super::{
    fault::Fault,
    flights::{Aged, Flight, Flights, Results, Sent},
    store::{Lane, Page, Position, Scan},
};

pub(super) type Reading = AbortOnDropHandle<Result<Option<Page>, Error>>;

/// What was read and not yet handed over.
#[derive(Default)]
pub(super) struct Unsent {
    pub(super) messages: VecDeque<Message>,
    pub(super) rows: VecDeque<Sent>,
    pub(super) within: Position,
    /// `None`: nothing was read yet.
    pub(super) after: Option<Position>,
    pub(super) aged: Option<Aged>,
}

/// Reads, hands over and settles on its own, from its own position.
pub(super) struct Track {
    /// `None`: the main track, which reads every destination that has no track of its own.
    pub(super) destination: Option<Arc<str>>,
    /// The position at which reading goes on.
    pub(super) read: Position,
    pub(super) scan: Option<Scan>,
    /// Everything up to here is delivered or parked.
    pub(super) acked: Position,
    pub(super) reading: Option<Reading>,
    pub(super) unsent: Unsent,
    pub(super) flights: Flights,
    /// When to read again; `None`: now.
    pub(super) look: Option<Pin<Box<Sleep>>>,
    /// Why the destination is held, and until when.
    pub(super) fault: Option<Fault>,
    /// The main track has no rows of this destination any more that are not settled.
    pub(super) clear: bool,
    /// Rows behind the first refused one that were delivered: they are not delivered again.
    pub(super) delivered: HashSet<i64>,
    /// Those of them that were passed over and would be read again if an earlier row is refused once more.
    pub(super) skipped: Vec<i64>,
    /// The position differs from the stored one.
    pub(super) changed: bool,
    /// Where the lap that is being read ends: the main position at its start.
    pub(super) target: Option<Position>,
    /// A lap ended at its target: the next one may bring the destination to the main position.
    pub(super) near: bool,
}

/// What a track has to do next.
pub(super) enum Event {
    Settled(Flight, Results),
    Read(Result<Option<Page>, Error>),
    /// It is time to read.
    Due,
}

impl Track {
    pub(super) fn new(destination: Option<Arc<str>>, position: Position) -> Self {
        Self {
            destination,
            read: position.clone(),
            scan: None,
            acked: position,
            reading: None,
            unsent: Unsent::default(),
            flights: Flights::default(),
            look: None,
            fault: None,
            clear: true,
            delivered: HashSet::new(),
            skipped: Vec::new(),
            changed: false,
            target: None,
            near: false,
        }
    }

    /// Whether nothing is under way, so that `acked` is where reading goes on.
    pub(super) fn is_quiet(&self) -> bool {
        self.reading.is_none() && self.unsent.rows.is_empty() && self.flights.rows() == 0
    }

    /// Whether it has rows of `destination` that are not settled.
    pub(super) fn holds(&self, destination: &str) -> bool {
        let mut flying = self.flights.sent();
        flying.any(|row| &*row.topic == destination)
            || self.unsent.rows.iter().any(|row| &*row.topic == destination)
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = Lane> {
        self.flights.sent().chain(&self.unsent.rows).filter_map(Sent::lane)
    }

    /// When the oldest row that is not settled was read, and its age.
    pub(super) fn oldest(&self) -> Option<Aged> {
        let unsent = self.unsent.aged.filter(|_| !self.unsent.rows.is_empty());
        self.flights.oldest().or(unsent).or(self.fault.as_ref().and_then(|fault| fault.aged))
    }

    /// The next event; cancel safe. `may_read`: there is room, and something to read.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, may_read: bool) -> Poll<Event> {
        if let Poll::Ready(Some((flight, results))) = self.flights.poll_next(cx) {
            return Poll::Ready(Event::Settled(flight, results));
        }
        if let Some(reading) = &mut self.reading
            && let Poll::Ready(page) = Pin::new(reading).poll(cx)
        {
            self.reading = None;
            let lost = |e| Err(Error::not_executed(e).context("read the outbox"));
            return Poll::Ready(Event::Read(page.unwrap_or_else(lost)));
        }
        if !may_read || self.reading.is_some() || !self.unsent.rows.is_empty() {
            return Poll::Pending;
        }
        let due = self.look.as_mut().is_none_or(|look| look.as_mut().poll(cx).is_ready());
        if due { Poll::Ready(Event::Due) } else { Poll::Pending }
    }

    pub(super) fn wait(&mut self, pause: Duration) {
        self.look = Some(Box::pin(tokio::time::sleep(pause)));
    }

    /// Moves past rows that need no hand-over.
    pub(super) fn pass(&mut self) {
        if self.unsent.rows.is_empty()
            && !self.flights.is_stopped()
            && let Some(after) = self.unsent.after.clone()
            && let Some(after) = self.flights.advance(after)
        {
            // Kept in memory; the next save writes it.
            self.acked = after;
            self.skipped.clear();
        }
    }

    /// Whether row `id` was delivered before the rows in front of it.
    pub(super) fn skips(&mut self, id: i64) -> bool {
        let skips = self.delivered.remove(&id);
        if skips {
            self.skipped.push(id);
        }
        skips
    }

    /// Drops the rows of `destination` that were read and not handed over.
    pub(super) fn forget_unsent(&mut self, destination: &str) {
        if !self.unsent.rows.is_empty() {
            self.retain_unsent(|row| &*row.topic != destination);
        }
    }

    /// Keeps, of the rows that were read and not handed over, those for which `keep` returns true.
    pub(super) fn retain_unsent(&mut self, mut keep: impl FnMut(&Sent) -> bool) {
        let rows = std::mem::take(&mut self.unsent.rows);
        let messages = std::mem::take(&mut self.unsent.messages);
        let kept = rows.into_iter().zip(messages).filter(|(row, _)| keep(row));
        (self.unsent.rows, self.unsent.messages) = kept.unzip();
        self.pass();
    }

    /// Goes back to `position`, after everything that was under way is settled or dropped.
    pub(super) fn rewind(&mut self, position: Position) {
        (self.read, self.acked) = (position.clone(), position);
        (self.scan, self.reading) = (None, None);
        self.unsent = Unsent::default();
        self.delivered.extend(self.skipped.drain(..));
        self.near = false;
        self.changed = true;
    }
}
