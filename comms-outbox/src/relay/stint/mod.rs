//! One session: from having the lease to losing it or giving it back. Read, hand over, settle, write the cursor.
//!
//! A failure of the database ends the session, and the next one begins from what the database says: there is one
//! way of recovery, and a crash takes it too. A refusal of the publisher sets the destination apart
//! ([`branches`](super::branches)) and ends nothing.

mod cursor;
mod settle;
mod status;
mod tracks;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use comms_core::Error;
use tokio::{sync::watch, time::Sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    CALL_LIMIT, READ_LIMIT, Relay, branches,
    flights::Flight,
    limited,
    parking::Parking,
    release::Releases,
    store::{Changes, Holder, Query},
    track::{Event, Track},
};
pub(super) use settle::is_the_messages;
use tracks::Tracks;

/// How far the written cursor may lag behind what is acknowledged: what a crash repeats.
const SAVE_EVERY: Duration = Duration::from_millis(100);
/// The first sleep after rows were found; doubled until `idle`.
const HOT: Duration = Duration::from_millis(1);

/// How a session ended well.
#[derive(Debug)]
pub(super) enum End {
    Shutdown,
    /// Another has the lease.
    NoLease,
    /// The lease went to another session, or the history of the database is another one.
    Lost,
}

pub(super) struct Stint<'a> {
    pub(super) relay: &'a Relay,
    holder: Holder,
    /// Until when the lease is certainly ours: counted from before it was asked for.
    valid_until: Instant,
    pub(super) tracks: Tracks,
    pub(super) parking: Parking,
    pub(super) releases: Releases,
    /// What is written with the next save, beside parking and branches.
    pending: Changes,
    /// Something was acknowledged that the cursor does not know of.
    dirty: bool,
    progress: bool,
    /// Ending: a refusal stops the cursor, and sets nothing apart any more.
    draining: bool,
    bell: watch::Receiver<()>,
    pause: Duration,
    save: Pin<Box<Sleep>>,
}

impl<'a> Stint<'a> {
    /// Takes the lease; `None` while another has it.
    pub(super) async fn begin(relay: &'a Relay) -> Result<Option<Self>, Error> {
        let settings = &relay.settings;
        let bell = relay.wake.listen();
        let asked = relay.clock.now();
        let named = settings.topics.as_deref();
        let (name, owner, start) = (&settings.name, &settings.owner, settings.start);
        let acquire = relay.store.acquire(name, owner, settings.lease, named, start);
        let Some(lease) = limited(CALL_LIMIT, acquire).await? else { return Ok(None) };
        tracing::info!(relay = %settings.name, token = %lease.token, "relay has the lease");
        let holder =
            Holder { relay: settings.name.clone(), token: lease.token.clone(), lease: settings.lease };
        let plan = branches::plan(&lease, named, &relay.store.oldest(), start);
        let moved = plan.main != lease.position;
        let covers = (plan.covers != lease.covers).then(|| plan.covers.clone());
        let mut stint = Self {
            relay,
            holder,
            valid_until: asked + settings.lease,
            tracks: Tracks::new(plan.main, plan.covers, settings.topics.clone()),
            parking: Parking::default(),
            releases: Releases::new(),
            pending: Changes { covers, ..Changes::default() },
            dirty: false,
            progress: false,
            draining: false,
            bell,
            pause: HOT,
            save: Box::pin(tokio::time::sleep(settings.lease / 3)),
        };
        for branch in lease.branches {
            stint.tracks.resume(branch, &relay.clock);
        }
        for (destination, position) in plan.begin {
            tracing::info!(relay = %settings.name, %destination, "destination begins apart from the others");
            if stint.tracks.names(&destination) {
                stint.tracks.begin(destination, position);
            } else {
                stint.pending.branches.push(stint.tracks.set_apart(destination, position));
            }
        }
        stint.load_parked().await?;
        // Before anything is read under it.
        if (moved || !stint.pending.is_empty() || stint.tracks.changed()) && !stint.write().await? {
            return Ok(None);
        }
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
                return Ok(End::Lost);
            }
            if !self.lease_is_sure() && !self.write().await? {
                return Ok(End::Lost);
            }
            self.join();
            // A write may take longer than the lease it renews: then the next one has to come first.
            if self.lease_is_sure() {
                self.start_release().await?;
                if !self.releases.waits_for_room() {
                    self.hand_over();
                }
            }
            let settings = &self.relay.settings;
            let room = self.tracks.room(settings);
            let waiting = self.releases.waits_for_room() || self.tracks.all().any(has_unsent);
            tokio::select! {
                biased;
                () = shutdown.as_mut() => return Ok(End::Shutdown),
                () = self.save.as_mut() => {
                    if !self.write().await? {
                        return Ok(End::Lost);
                    }
                }
                (track, event) = next(&mut self.tracks, room) => match event {
                    Event::Settled(flight, results) => self.settle(track, flight, results)?,
                    Event::Due => self.start_read(track),
                    Event::Read(page) => match page? {
                        Some(page) => self.take(track, page),
                        None => {
                            tracing::warn!(
                                relay = %self.holder.relay,
                                "the session has ended: another one began, or the database was restarted"
                            );
                            return Ok(End::Lost);
                        }
                    },
                },
                answered = self.releases.next() => {
                    if let Some((rows, results)) = answered && !self.settle_release(rows, results).await? {
                        return Ok(End::Lost);
                    }
                }
                ready = self.relay.publisher.ready(), if waiting => ready?,
                // Not heard during a read, which may have begun before the commit: it is kept for afterwards.
                Ok(()) = self.bell.changed(), if self.tracks.main.reading.is_none() => {
                    self.tracks.main.look = None;
                }
            }
        }
    }

    /// Nothing may be handed over under a lease that may be another's by now.
    pub(super) fn lease_is_sure(&self) -> bool {
        self.relay.clock.now() < self.valid_until
    }

    /// Starts a read in a task of its own, so that the loop renews the lease meanwhile. A read inside the loop would not be
    /// polled while the loop awaits a write, and would keep its connection: with a pool of one, the write waits for ever.
    fn start_read(&mut self, track: usize) {
        let settings = &self.relay.settings;
        let (filter, upto) = self.tracks.query(track);
        let Some(track) = self.tracks.get(track) else { return };
        track.target.clone_from(&upto);
        let query = Query {
            relay: self.holder.relay.clone(),
            token: self.holder.token.clone(),
            from: track.read.clone(),
            scan: track.scan.take(),
            upto,
            filter,
            // A held destination is tried with one message, not with a page of them.
            rows: if track.fault.is_some() { 1 } else { settings.page.into() },
            bytes: i64::try_from(settings.page_bytes).unwrap_or(i64::MAX),
        };
        let store = self.relay.store.clone();
        let read = async move { limited(READ_LIMIT, store.read(query)).await };
        track.reading = Some(AbortOnDropHandle::new(tokio::spawn(read)));
    }

    fn hand_over(&mut self) {
        let publisher = &self.relay.publisher;
        self.tracks.each(|track| {
            if !has_unsent(track) {
                return;
            }
            let (messages, unsent) = (&mut track.unsent.messages, &mut track.unsent.rows);
            let before = messages.len();
            let acks = publisher.enqueue(messages);
            let taken = before.saturating_sub(messages.len());
            let Some(aged) = track.unsent.aged.filter(|_| taken > 0) else { return };
            let rows = unsent.drain(..taken).collect();
            let after = track.unsent.after.clone().filter(|_| messages.is_empty());
            track.flights.push(Flight { rows, within: track.unsent.within.clone(), after, aged }, acks);
        });
    }
}

fn has_unsent(track: &Track) -> bool {
    !track.unsent.messages.is_empty()
}

/// The next event of any track, and which track it is. Cancel safe.
async fn next(tracks: &mut Tracks, room: bool) -> (usize, Event) {
    poll_fn(|cx| {
        for at in tracks.turns() {
            let may_read = room && tracks.may_read(at);
            if let Some(track) = tracks.get(at)
                && let Poll::Ready(event) = track.poll(cx, may_read)
            {
                return Poll::Ready((at, event));
            }
        }
        Poll::Pending
    })
    .await
}
