//! Pings, silence, stalled sockets and expiry of all sessions, from one task.
//!
//! A timer in each session would cost memory in each session, and many timers that fire at the same time. The watch has a
//! list of connections for each moment, and wakes a session only to end it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio_util::sync::CancellationToken;

use super::{registry::Registry, streams::Streams};
use crate::{
    close::Close,
    connection::{Connection, Item, WaitingList, WeakConnections},
    environment::Environment,
};

/// The connections that the watch looks at, by the time at which it does.
pub(crate) struct Watch {
    env: Arc<Environment>,
    /// The connections whose queue is not empty.
    pub(crate) waiting: Arc<WaitingList>,
    pub(crate) streams: Streams,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By milliseconds of [`Environment::now`].
    pings: BTreeMap<u64, WeakConnections>,
    /// By seconds after the Unix epoch, and the number of the connection. A connection that ends is removed: its token may
    /// be valid for days.
    expiries: BTreeMap<(u64, u64), Weak<Connection>>,
}

impl Watch {
    pub(super) fn new(env: Arc<Environment>) -> Self {
        Self { env, waiting: Arc::default(), streams: Streams::default(), state: Mutex::default() }
    }

    /// Watches a new connection: its pings and its expiry.
    pub(crate) fn add(&self, connection: &Arc<Connection>) {
        let first_ping = self.next_ping(self.env.now());
        let mut state = self.lock();
        state.pings.entry(first_ping).or_default().push(Arc::downgrade(connection));
        state.add_expiry(connection);
    }

    /// Sets the expiry of a connection, in seconds after the Unix epoch, and watches it.
    pub(crate) fn set_expiry(&self, connection: &Arc<Connection>, seconds: u64) {
        let mut state = self.lock();
        state.remove_expiry(connection);
        connection.peer.set_expires(seconds);
        state.add_expiry(connection);
    }

    /// Watches a connection that has ended no longer.
    pub(crate) fn remove(&self, connection: &Connection) {
        if !connection.hears() {
            self.streams.remove(connection.id);
        }
        self.lock().remove_expiry(connection);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add_expiry(&mut self, connection: &Arc<Connection>) {
        if connection.peer.expires() != u64::MAX {
            let key = (connection.peer.expires(), connection.id);
            self.expiries.insert(key, Arc::downgrade(connection));
        }
    }

    fn remove_expiry(&mut self, connection: &Connection) {
        self.expiries.remove(&(connection.peer.expires(), connection.id));
    }
}

/// Looks after the connections from time to time, until the hub has stopped and the last session has ended.
pub(super) async fn run(watch: Arc<Watch>, registry: Arc<Registry>, stop: CancellationToken) {
    let ended = async {
        stop.cancelled().await;
        registry.ended().await;
    };
    tokio::select! {
        () = ended => {}
        () = watch.look_after() => {}
    }
}

impl Watch {
    async fn look_after(&self) {
        let tick = self.env.config.tick();
        loop {
            self.env.clock.sleep(tick).await;
            self.close_stalled();
            self.close_expired();
            self.ping();
        }
    }

    /// Closes the connections whose socket has taken nothing for too long. An event stream ends with that: its server does not
    /// poll it.
    fn close_stalled(&self) {
        let limit = self.env.config.write_timeout;
        self.waiting.retain(|connection| match connection.stalled() {
            Some(stalled) if stalled >= limit => {
                connection.close(Close::TOO_SLOW);
                self.streams.abandon(connection.id);
                false
            }
            stalled => stalled.is_some(),
        });
    }

    /// Closes the connections whose token has expired.
    fn close_expired(&self) {
        let now = self.env.clock.unix().as_secs();
        let due = {
            let mut state = self.lock();
            let later = state.expiries.split_off(&(now + 1, 0));
            std::mem::replace(&mut state.expiries, later)
        };
        for connection in due.into_values().filter_map(|connection| connection.upgrade()) {
            // The token may have been refreshed since the list was taken.
            if connection.peer.expires() <= now {
                connection.close(Close::TOKEN_EXPIRED);
            }
        }
    }

    /// Pings the connections that are due, and closes those that have been silent for two intervals.
    fn ping(&self) {
        let now = self.env.now();
        let due = {
            let mut state = self.lock();
            let later = state.pings.split_off(&(now + 1));
            std::mem::replace(&mut state.pings, later)
        };
        let interval = self.env.config.ping_interval;
        for connection in due.into_values().flatten().filter_map(|connection| connection.upgrade()) {
            if !connection.is_open() {
                continue;
            }
            if connection.hears() && connection.peer.silence(now) >= interval * 2 {
                connection.close(Close::SILENT);
                continue;
            }
            connection.send(Item::Raw(connection.encoding.ping()));
            let next = self.next_ping(now);
            self.lock().pings.entry(next).or_default().push(Arc::downgrade(&connection));
        }
    }

    /// Returns the time of the next ping after `now`, spread by 10%, so that connections that started together do not
    /// get their pings together.
    fn next_ping(&self, now: u64) -> u64 {
        let interval = self.env.config.ping_interval;
        let wait = interval.mul_f64(0.9 + 0.2 * self.env.clock.random_unit());
        let next = now.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        // Connections with about the same time share an entry of the list.
        let step = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX) / 64;
        next - next % step.max(1)
    }
}
