//! Rows that were handed to the publisher and are not acknowledged yet.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use comms_core::{
    Error, Message,
    transport::{Acks, Receipt},
};

use super::{
    row::Row,
    store::{Lane, Position, RowToPark},
};
use crate::parked::Refusal;

/// The identity and size of a row, without its message.
#[derive(Debug, Clone)]
pub(super) struct RowRef {
    pub(super) id: i64,
    pub(super) topic: Arc<str>,
    pub(super) key: Option<Bytes>,
    pub(super) bytes: usize,
}

impl RowRef {
    pub(super) fn of(row: &Row) -> Self {
        let bytes = row.message.as_ref().map_or(0, Message::size);
        Self { id: row.id, topic: row.topic.clone(), key: row.key.clone(), bytes }
    }

    pub(super) fn lane(&self) -> Option<Lane> {
        Some((self.topic.clone(), self.key.clone()?))
    }

    /// Returns the lane with a copy of the key, so that it does not keep the messages of the whole page in memory.
    pub(super) fn lane_to_keep(&self) -> Option<Lane> {
        Some((self.topic.clone(), Bytes::copy_from_slice(self.key.as_deref()?)))
    }

    pub(super) fn park(self, refusal: Refusal) -> RowToPark {
        let key = self.key.as_deref().map(Bytes::copy_from_slice);
        RowToPark { outbox_id: self.id, topic: self.topic, key, refusal }
    }
}

/// The age of the oldest row of a page, and when the page was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowAge {
    pub(super) read_at: Instant,
    /// At `read_at`, by the database's clock.
    pub(super) age: Duration,
}

impl RowAge {
    /// Returns the age at `now`.
    pub(super) fn at(&self, now: Instant) -> Duration {
        self.age + now.saturating_duration_since(self.read_at)
    }
}

/// Rows that were handed to the publisher in one call.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) rows: Vec<RowRef>,
    /// A position in the window of the rows.
    pub(super) within: Position,
    /// The position after the rows; `None` if further rows of the page follow in another batch.
    pub(super) after: Option<Position>,
    pub(super) age: RowAge,
}

/// The publisher's result for each row of a batch.
pub(super) type Results = Vec<Result<Receipt, Error>>;

/// The batches of one track that are with the publisher, oldest first.
///
/// Only the oldest batch is polled. A publisher may assume that a result which it returned has been processed, so a
/// result must not wait here behind an older batch.
#[derive(Default)]
pub(super) struct InFlight {
    batches: VecDeque<(Batch, Acks)>,
    rows: usize,
    bytes: usize,
    /// A row was refused while the session ends. Later acknowledgements do not move the position.
    stopped: bool,
}

impl InFlight {
    pub(super) fn push(&mut self, batch: Batch, acks: Acks) {
        self.rows += batch.rows.len();
        self.bytes += batch.rows.iter().map(|row| row.bytes).sum::<usize>();
        self.batches.push_back((batch, acks));
    }

    /// Makes `after` the position that is reached once all batches are acknowledged. Returns `after` if none is in
    /// flight.
    pub(super) fn advance(&mut self, after: Position) -> Option<Position> {
        let Some((last, _)) = self.batches.back_mut() else { return Some(after) };
        last.after = Some(after);
        None
    }

    /// Resolves with the oldest batch once it is acknowledged, and with `None` if no batch is in flight. Cancel safe.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Batch, Results)>> {
        let Some((_, acks)) = self.batches.front_mut() else { return Poll::Ready(None) };
        let results = ready!(acks.as_mut().poll(cx));
        let Some((batch, _)) = self.batches.pop_front() else { return Poll::Ready(None) };
        self.rows -= batch.rows.len();
        self.bytes -= batch.rows.iter().map(|row| row.bytes).sum::<usize>();
        Poll::Ready(Some((batch, results)))
    }

    pub(super) fn stop_at_refusal(&mut self) {
        self.stopped = true;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn oldest(&self) -> Option<RowAge> {
        self.batches.front().map(|(batch, _)| batch.age)
    }

    pub(super) fn row_refs(&self) -> impl Iterator<Item = &RowRef> {
        self.batches.iter().flat_map(|(batch, _)| &batch.rows)
    }
}
