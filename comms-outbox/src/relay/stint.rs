//! One lease: read, hand over, settle, write the cursor.
//!
//! Everything that goes wrong ends the stint, and the next one begins from what the database says: there is
//! one way of recovery, and a crash takes it too.

mod cursor;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use comms_core::{Error, ErrorKind, Message};
use tokio::{sync::watch, time::Sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    CALL_LIMIT, READ_LIMIT, Relay,
    flights::{Aged, Flight, Flights, Results, Sent},
    limited,
    parking::Parking,
    release::Releases,
    store::{Holder, Page, Position},
};
use crate::parked::Refusal;

/// How far the written cursor may lag behind what is acknowledged: what a crash repeats.
const SAVE_EVERY: Duration = Duration::from_millis(100);
/// The first sleep after rows were found; doubled until `idle`.
const HOT: Duration = Duration::from_millis(1);

/// How a lease ended well.
#[derive(Debug)]
pub(super) enum End {
    Shutdown,
    /// Another has it.
    NoLease,
}

/// What was read and not yet handed over.
#[derive(Default)]
struct Unsent {
    messages: VecDeque<Message>,
    rows: VecDeque<Sent>,
    after: Position,
    aged: Option<Aged>,
}

pub(super) struct Stint<'a> {
    pub(super) relay: &'a Relay,
    holder: Holder,
    /// Until when the lease is certainly ours: counted from before it was asked for.
    valid_until: Instant,
    /// Where reading goes on.
    read: Position,
    /// Everything up to here is delivered or parked.
    acked: Position,
    reading: Option<AbortOnDropHandle<Result<Page, Error>>>,
    unsent: Unsent,
    pub(super) flights: Flights,
    pub(super) parking: Parking,
    pub(super) releases: Releases,
    /// Rows were acknowledged that the cursor does not know of.
    dirty: bool,
    progress: bool,
    /// A flight failed: what is acknowledged behind it moves no cursor.
    broken: bool,
    bell: watch::Receiver<()>,
    pause: Duration,
    /// When to read again; `None`: now.
    look: Option<Pin<Box<Sleep>>>,
    save: Pin<Box<Sleep>>,
}

impl<'a> Stint<'a> {
    /// Takes the lease; `None` while another has it.
    pub(super) async fn begin(relay: &'a Relay) -> Result<Option<Self>, Error> {
        let settings = &relay.settings;
        let bell = relay.wake.listen();
        let asked = relay.clock.now();
        let acquire = relay.store.acquire(&settings.name, &settings.owner, settings.lease);
        let Some(lease) = limited(CALL_LIMIT, acquire).await? else { return Ok(None) };
        tracing::info!(relay = %settings.name, epoch = lease.epoch, "relay has the lease");
        let mut stint = Self {
            relay,
            holder: Holder { relay: settings.name.clone(), epoch: lease.epoch, lease: settings.lease },
            valid_until: asked + settings.lease,
            read: lease.position.clone(),
            acked: lease.position,
            reading: None,
            unsent: Unsent::default(),
            flights: Flights::default(),
            parking: Parking::default(),
            releases: Releases::new(),
            dirty: false,
            progress: false,
            broken: false,
            bell,
            pause: HOT,
            look: None,
            save: Box::pin(tokio::time::sleep(settings.lease / 3)),
        };
        stint.load_parked().await?;
        Ok(Some(stint))
    }

    pub(super) fn progress(&self) -> bool {
        self.progress
    }

    pub(super) async fn run<S>(&mut self, mut shutdown: Pin<&mut S>) -> Result<End, Error>
    where
        S: Future<Output = ()> + Send,
    {
        loop {
            self.relay.beat();
            if self.parking.pending() >= self.relay.settings.page as usize && !self.write().await? {
                return Ok(End::NoLease);
            }
            if !self.lease_is_sure() && !self.write().await? {
                return Ok(End::NoLease);
            }
            // A write may take longer than the lease it renews: then the next one has to come first.
            if self.lease_is_sure() {
                self.start_release().await?;
                if !self.releases.waits_for_room() {
                    self.hand_over();
                }
            }
            let room = self.unsent.messages.is_empty() && self.has_room();
            let waiting = !self.unsent.messages.is_empty() || self.releases.waits_for_room();
            tokio::select! {
                biased;
                () = shutdown.as_mut() => return Ok(End::Shutdown),
                () = self.save.as_mut() => {
                    if !self.write().await? {
                        return Ok(End::NoLease);
                    }
                }
                Some((flight, results)) = self.flights.next() => self.settle(flight, results)?,
                answered = self.releases.next() => {
                    if let Some((rows, results)) = answered && !self.settle_release(rows, results).await? {
                        return Ok(End::NoLease);
                    }
                }
                ready = self.relay.publisher.ready(), if waiting => ready?,
                page = answered(&mut self.reading) => {
                    self.reading = None;
                    self.take(page?);
                }
                () = elapsed(&mut self.look), if room && self.reading.is_none() => self.start_read(),
                // Not heard during a read, which may have begun before the commit: it is kept for afterwards.
                Ok(()) = self.bell.changed(), if room && self.reading.is_none() => self.look = None,
            }
        }
    }

    /// Nothing may be handed over under a lease that may be another's by now.
    pub(super) fn lease_is_sure(&self) -> bool {
        self.relay.clock.now() < self.valid_until
    }

    fn has_room(&self) -> bool {
        let settings = &self.relay.settings;
        self.flights.rows() < settings.in_flight && self.flights.bytes() < settings.in_flight_bytes
    }

    /// Beside everything else: a backlog is long in reading, and the lease must be renewed meanwhile. In a task
    /// of its own: a read that nobody polls would keep its connection from the write that is being awaited,
    /// for ever where the pool has one.
    fn start_read(&mut self) {
        let (store, from) = (self.relay.store.clone(), self.read.clone());
        let (topics, page) = (self.relay.settings.topics.clone(), self.relay.settings.page.into());
        let read = async move { limited(READ_LIMIT, store.read(&from, topics.as_deref(), page)).await };
        self.reading = Some(AbortOnDropHandle::new(tokio::spawn(read)));
    }

    fn take(&mut self, page: Page) {
        let Page { rows, after } = page;
        let idle = self.relay.settings.idle;
        self.look = rows.is_empty().then(|| Box::pin(tokio::time::sleep(self.pause)));
        self.pause = if rows.is_empty() { (self.pause * 2).min(idle) } else { HOT.min(idle) };
        if rows.is_empty() && self.flights.rows() == 0 {
            self.relay.set_behind(None);
        }
        let age = rows.iter().map(|row| row.age).max();
        self.unsent.aged = age.map(|age| Aged { read: self.relay.clock.now(), age });
        self.unsent.after = after.clone();
        self.read = after;
        for row in rows {
            self.unsent.rows.push_back(Sent::of(&row));
            self.unsent.messages.push_back(row.message);
        }
        self.sift();
    }

    /// Parks what waits to be handed over behind a parked row of its key.
    fn sift(&mut self) {
        let rows = std::mem::take(&mut self.unsent.rows);
        let messages = std::mem::take(&mut self.unsent.messages);
        let free = rows.into_iter().zip(messages).filter(|(row, _)| !self.parking.stops(row));
        (self.unsent.rows, self.unsent.messages) = free.unzip();
        if self.parking.pending() > 0 {
            self.mark_dirty();
        }
        if self.unsent.rows.is_empty()
            && let Some(after) = self.flights.advance(self.unsent.after.clone())
        {
            // An empty look moves the cursor only in memory; the next renewal writes it.
            self.acked = after;
        }
    }

    fn hand_over(&mut self) {
        let Unsent { messages, rows, after, aged } = &mut self.unsent;
        let Some(aged) = *aged else { return };
        if messages.is_empty() {
            return;
        }
        let before = messages.len();
        let acks = self.relay.publisher.enqueue(messages);
        let taken = before.saturating_sub(messages.len());
        if taken > 0 {
            let rows = rows.drain(..taken).collect();
            let after = messages.is_empty().then(|| after.clone());
            self.flights.push(Flight { rows, after, aged }, acks);
        }
    }

    /// An error leaves the rest of the flight unsettled: it is read again.
    fn settle(&mut self, flight: Flight, results: Results) -> Result<(), Error> {
        if results.len() != flight.rows.len() {
            return Err(Error::fatal("the publisher answered for another number of messages than it took"));
        }
        for (row, result) in flight.rows.into_iter().zip(results) {
            match result {
                Ok(_) => self.relay.metrics.relayed.increment(1),
                Err(error) if error.kind == ErrorKind::Invalid => self.park(row, &error),
                Err(error) => {
                    self.broken = true;
                    self.relay.set_behind(Some(flight.aged));
                    return Err(error.context("publish"));
                }
            }
        }
        self.progress = true;
        self.relay.set_behind(None);
        if let Some(after) = flight.after {
            self.acked = after;
        }
        self.mark_dirty();
        // What was read before its key was parked stands behind it too.
        if self.parking.pending() > 0 && !self.unsent.rows.is_empty() {
            self.sift();
        }
        Ok(())
    }

    fn mark_dirty(&mut self) {
        if !self.dirty {
            self.dirty = true;
            self.save = Box::pin(tokio::time::sleep(SAVE_EVERY.min(self.relay.settings.lease / 3)));
        }
    }

    fn park(&mut self, row: Sent, error: &Error) {
        let relay = &self.holder.relay;
        tracing::error!(%relay, outbox_id = row.id, topic = %row.topic, %error, "message parked");
        self.parking.refuse(row, Refusal::of(error));
        self.relay.metrics.dead_letters.increment(1);
    }
}

async fn elapsed(sleep: &mut Option<Pin<Box<Sleep>>>) {
    if let Some(sleep) = sleep {
        sleep.as_mut().await;
    }
}

async fn answered(read: &mut Option<AbortOnDropHandle<Result<Page, Error>>>) -> Result<Page, Error> {
    match read {
        Some(read) => read.await.unwrap_or_else(|e| Err(Error::not_executed(e).context("read the outbox"))),
        None => std::future::pending().await,
    }
}
