//! Pings, silence, stalled sockets and expiry of all sessions, from one task.
//!
//! A timer in each session would cost memory in each session, and many timers that fire at the same time. The watch has a
//! list of connections for each moment, and wakes a session only to end it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use comms_core::clock::Clock;

use super::state::HubState;
use crate::{
    close::Close,
    connection::{Connection, Item, WeakConnections},
};

/// The connections that the watch looks at, by the time at which it does.
#[derive(Default)]
pub(crate) struct Watch(Mutex<State>);

#[derive(Default)]
struct State {
    /// By milliseconds of [`HubState::now`].
    pings: BTreeMap<u64, WeakConnections>,
    /// By seconds after the Unix epoch, and the number of the connection. A connection that ends is removed: its token may
    /// be valid for days.
    expiries: BTreeMap<(u64, u64), Weak<Connection>>,
    /// The connections whose queue is not empty.
    waiting: WeakConnections,
}

impl Watch {
    /// Watches a new connection: its pings and its expiry.
    pub(crate) fn add(&self, connection: &Arc<Connection>, first_ping: u64) {
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

    /// Watches the expiry of a connection that has ended no longer.
    pub(crate) fn remove(&self, connection: &Connection) {
        self.lock().remove_expiry(connection);
    }

    /// Watches a connection whose queue is not empty any more.
    pub(crate) fn waits(&self, connection: Weak<Connection>) {
        self.lock().waiting.push(connection);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Looks after the connections once in each `tick`, until the hub is dropped.
pub(crate) async fn run(hub: Weak<HubState>, clock: Clock, tick: Duration) {
    loop {
        clock.sleep(tick).await;
        let Some(hub) = hub.upgrade() else { return };
        let now = hub.now();
        look_at_waiting(&hub);
        look_at_expiries(&hub);
        ping(&hub, now);
    }
}

/// Closes the connections whose socket has taken nothing for too long.
fn look_at_waiting(hub: &HubState) {
    let waiting = std::mem::take(&mut hub.watch.lock().waiting);
    let (limit, mut still) = (hub.config.write_timeout, Vec::new());
    for connection in &waiting {
        let Some(connection) = connection.upgrade() else { continue };
        match connection.stalled() {
            Some(stalled) if stalled >= limit => connection.close(Close::TOO_SLOW),
            Some(_) => still.push(Arc::downgrade(&connection)),
            None => {}
        }
    }
    hub.watch.lock().waiting.append(&mut still);
}

/// Closes the connections whose token has expired.
fn look_at_expiries(hub: &HubState) {
    let now = hub.clock.unix().as_secs();
    let due = {
        let mut state = hub.watch.lock();
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
fn ping(hub: &HubState, now: u64) {
    let due = {
        let mut state = hub.watch.lock();
        let later = state.pings.split_off(&(now + 1));
        std::mem::replace(&mut state.pings, later)
    };
    let interval = hub.config.ping_interval;
    for connection in due.into_values().flatten().filter_map(|connection| connection.upgrade()) {
        if !connection.is_open() {
            continue;
        }
        if connection.hears() && connection.peer.silence(now) >= interval * 2 {
            connection.close(Close::SILENT);
            continue;
        }
        connection.send(Item::Raw(connection.encoding.ping()));
        let next = hub.next_ping(now);
        hub.watch.lock().pings.entry(next).or_default().push(Arc::downgrade(&connection));
    }
}

impl HubState {
    /// Returns the time of the next ping after `now`, spread by 10%, so that connections that started together do not
    /// get their pings together.
    pub(crate) fn next_ping(&self, now: u64) -> u64 {
        let wait = self.config.ping_interval.mul_f64(0.9 + 0.2 * self.clock.random_unit());
        let next = now.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        // Connections with about the same time share an entry of the list.
        next - next % self.ping_step()
    }

    fn ping_step(&self) -> u64 {
        (u64::try_from(self.config.ping_interval.as_millis()).unwrap_or(u64::MAX) / 64).max(1)
    }
}
