//! One reader of the outbox: the main track, or the branch of one topic.

use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use comms_core::{
    Error, Message,
    clock::{Clock, Sleep},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    fault::Fault,
    in_flight::{Batch, InFlight, Results, RowAge, RowRef},
    store::{Lane, Page, Position, Scan},
};

pub(super) type ReadTask = AbortOnDropHandle<Result<Option<Page>, Error>>;

/// Rows that were read and are not handed to the publisher yet.
#[derive(Default)]
pub(super) struct Unsent {
    pub(super) messages: VecDeque<Message>,
    pub(super) rows: VecDeque<RowRef>,
    pub(super) within: Position,
    /// The position after the rows; `None` before the first read.
    pub(super) after: Option<Position>,
    pub(super) age: Option<RowAge>,
}

/// A reader with separate positions: reads pages, hands their rows to the publisher, and settles them.
pub(super) struct Track {
    /// The topic of a branch; `None` for the main track, which reads every topic without a branch.
    pub(super) topic: Option<Arc<str>>,
    /// The position at which the next read begins.
    pub(super) read_position: Position,
    pub(super) scan: Option<Scan>,
    /// The position up to which every row is delivered or parked.
    pub(super) settled_position: Position,
    pub(super) read_task: Option<ReadTask>,
    pub(super) unsent: Unsent,
    pub(super) in_flight: InFlight,
    /// When to read again; `None`: now.
    pub(super) next_read: Option<Pin<Box<Sleep>>>,
    /// Why the topic is held; `None`: it is not held.
    pub(super) fault: Option<Fault>,
    /// The main track has no unsettled rows of this topic any more.
    pub(super) main_is_clear: bool,
    /// Rows behind a refused row that were delivered. They are not delivered again.
    pub(super) delivered_ahead: HashSet<i64>,
    /// Rows of `delivered_ahead` that were skipped, and are read again if an earlier row is refused once more.
    pub(super) skipped: Vec<i64>,
    /// The branch differs from the stored one.
    pub(super) unsaved: bool,
    /// The position at which the current lap of a branch ends: the main position when the lap began.
    pub(super) lap_end: Option<Position>,
    /// A lap ended at `lap_end`, so the next lap may reach the main position.
    pub(super) near_main: bool,
}

/// The next step of a track.
pub(super) enum TrackEvent {
    /// The publisher has acknowledged or refused each row of a batch.
    Acknowledged(Batch, Results),
    /// A read has ended.
    Read(Result<Option<Page>, Error>),
    /// It is time to read.
    ReadDue,
}

impl Track {
    pub(super) fn new(topic: Option<Arc<str>>, position: Position) -> Self {
        Self {
            topic,
            read_position: position.clone(),
            scan: None,
            settled_position: position,
            read_task: None,
            unsent: Unsent::default(),
            in_flight: InFlight::default(),
            next_read: None,
            fault: None,
            main_is_clear: true,
            delivered_ahead: HashSet::new(),
            skipped: Vec::new(),
            unsaved: false,
            lap_end: None,
            near_main: false,
        }
    }

    /// Returns whether no read runs and no row is unsettled, so that the settled position is the read position.
    pub(super) fn is_quiet(&self) -> bool {
        self.read_task.is_none() && self.unsent.rows.is_empty() && self.in_flight.rows() == 0
    }

    /// Returns whether the track has messages to hand to the publisher.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.messages.is_empty()
    }

    /// Returns whether the track has unsettled rows of `topic`.
    pub(super) fn has_rows_of(&self, topic: &str) -> bool {
        let mut in_flight = self.in_flight.row_refs();
        in_flight.any(|row| &*row.topic == topic) || self.unsent.rows.iter().any(|row| &*row.topic == topic)
    }

    /// Returns the lanes of all unsettled rows.
    pub(super) fn lanes(&self) -> impl Iterator<Item = Lane> {
        self.in_flight.row_refs().chain(&self.unsent.rows).filter_map(RowRef::lane)
    }

    /// Returns the age of the oldest unsettled row.
    pub(super) fn oldest(&self) -> Option<RowAge> {
        let unsent = self.unsent.age.filter(|_| !self.unsent.rows.is_empty());
        self.in_flight.oldest().or(unsent).or(self.fault.as_ref().and_then(|fault| fault.age))
    }

    /// Resolves with the next event. `may_read`: there is room in flight, and there may be rows to read. Cancel safe.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, may_read: bool) -> Poll<TrackEvent> {
        if let Poll::Ready(Some((batch, results))) = self.in_flight.poll_next(cx) {
            return Poll::Ready(TrackEvent::Acknowledged(batch, results));
        }
        if let Some(task) = &mut self.read_task
            && let Poll::Ready(page) = Pin::new(task).poll(cx)
        {
            self.read_task = None;
            let lost = |e| Err(Error::not_executed(e).context("read the outbox"));
            return Poll::Ready(TrackEvent::Read(page.unwrap_or_else(lost)));
        }
        if !may_read || self.read_task.is_some() || !self.unsent.rows.is_empty() {
            return Poll::Pending;
        }
        let due = self.next_read.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_ready());
        if due { Poll::Ready(TrackEvent::ReadDue) } else { Poll::Pending }
    }

    /// Delays the next read by `pause`.
    pub(super) fn wait(&mut self, pause: Duration, clock: &Clock) {
        self.next_read = Some(Box::pin(clock.sleep(pause)));
    }

    /// Moves the settled position past a page without rows to hand over.
    pub(super) fn pass_empty_page(&mut self) {
        if self.unsent.rows.is_empty()
            && !self.in_flight.is_stopped()
            && let Some(after) = self.unsent.after.clone()
            && let Some(after) = self.in_flight.advance(after)
        {
            // In memory only. The next save stores it.
            self.settled_position = after;
            self.skipped.clear();
        }
    }

    /// Returns whether row `id` was delivered before an earlier refused row, and marks it as skipped.
    pub(super) fn skip_delivered(&mut self, id: i64) -> bool {
        let delivered = self.delivered_ahead.remove(&id);
        if delivered {
            self.skipped.push(id);
        }
        delivered
    }

    /// Drops the unsent rows of `topic`.
    pub(super) fn drop_unsent(&mut self, topic: &str) {
        if !self.unsent.rows.is_empty() {
            self.retain_unsent(|row| &*row.topic != topic);
        }
    }

    /// Keeps the unsent rows for which `keep` returns true.
    pub(super) fn retain_unsent(&mut self, mut keep: impl FnMut(&RowRef) -> bool) {
        let rows = std::mem::take(&mut self.unsent.rows);
        let messages = std::mem::take(&mut self.unsent.messages);
        let kept = rows.into_iter().zip(messages).filter(|(row, _)| keep(row));
        (self.unsent.rows, self.unsent.messages) = kept.unzip();
        self.pass_empty_page();
    }

    /// Goes back to `position` and drops the unsent rows. No row may be in flight.
    pub(super) fn rewind(&mut self, position: Position) {
        (self.read_position, self.settled_position) = (position.clone(), position);
        (self.scan, self.read_task) = (None, None);
        self.unsent = Unsent::default();
        self.delivered_ahead.extend(self.skipped.drain(..));
        self.near_main = false;
        self.unsaved = true;
    }
}
