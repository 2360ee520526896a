//! Rows handed to the publisher and not yet acknowledged, in the order they were handed over.

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use comms_core::{
    Error, Message,
    transport::{Acks, Receipt},
};

use super::store::{Lane, Park, Position, Row};
use crate::parked::Refusal;

/// What remains here of a row whose message is with the publisher.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) id: i64,
    pub(super) topic: std::sync::Arc<str>,
    pub(super) key: Option<bytes::Bytes>,
    pub(super) bytes: usize,
}

impl Sent {
    pub(super) fn of(row: &Row) -> Self {
        let bytes = row.message.as_ref().map_or(0, Message::size);
        Self { id: row.id, topic: row.destination.clone(), key: row.key.clone(), bytes }
    }

    pub(super) fn lane(&self) -> Option<Lane> {
        Some((self.topic.clone(), self.key.clone()?))
    }

    pub(super) fn park(self, refusal: Refusal) -> Park {
        Park { outbox_id: self.id, topic: self.topic, key: self.key, refusal }
    }
}

/// When rows were read, and how old the oldest was: an age that goes on growing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aged {
    pub(super) read: Instant,
    pub(super) age: Duration,
}

/// Rows that were handed over together.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) rows: Vec<Sent>,
    /// The window that they belong to.
    pub(super) within: Position,
    /// Where reading stands once they are done; `None` for the first part of a divided page.
    pub(super) after: Option<Position>,
    pub(super) aged: Aged,
}

/// All flights, answered in their order. Only the oldest is asked: a publisher may take an answer that was
/// given for one that is known here, so none may lie in a buffer behind an older flight.
#[derive(Default)]
pub(super) struct Flights {
    flights: VecDeque<(Flight, Acks)>,
    rows: usize,
    bytes: usize,
    /// A row was refused, and what is acknowledged behind it moves no cursor.
    stopped: bool,
}

/// What the publisher said of each row.
pub(super) type Results = Vec<Result<Receipt, Error>>;

impl Flights {
    pub(super) fn push(&mut self, flight: Flight, acks: Acks) {
        self.rows += flight.rows.len();
        self.bytes += flight.rows.iter().map(|row| row.bytes).sum::<usize>();
        self.flights.push_back((flight, acks));
    }

    /// A position that adds no rows to those in flight. Gives it back where nothing is.
    pub(super) fn advance(&mut self, after: Position) -> Option<Position> {
        let Some((last, _)) = self.flights.back_mut() else { return Some(after) };
        last.after = Some(after);
        None
    }

    /// The oldest flight once it is answered; `None` at once where there is none. Cancel safe.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Flight, Results)>> {
        let Some((_, acks)) = self.flights.front_mut() else { return Poll::Ready(None) };
        let results = ready!(acks.as_mut().poll(cx));
        let Some((flight, _)) = self.flights.pop_front() else { return Poll::Ready(None) };
        self.rows -= flight.rows.len();
        self.bytes -= flight.rows.iter().map(|row| row.bytes).sum::<usize>();
        Poll::Ready(Some((flight, results)))
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

    pub(super) fn oldest(&self) -> Option<Aged> {
        self.flights.front().map(|(flight, _)| flight.aged)
    }

    pub(super) fn sent(&self) -> impl Iterator<Item = &Sent> {
        self.flights.iter().flat_map(|(flight, _)| &flight.rows)
    }
}
