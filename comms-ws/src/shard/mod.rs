//! Shards: each has a part of the connections, and a task that writes to them.
//!
//! A connection belongs to one shard, so that one task alone writes events to it and the order of a topic is kept. A
//! published message is appended to the turn of its topic in each shard. The flusher of the shard takes the turns,
//! joins the messages of each to one write, and writes to every subscribed socket from its own task: the tasks of
//! the sessions sleep. Messages that arrive meanwhile form the next turn, so that a busy hub makes fewer and larger writes.
//!
//! - `subscribers.rs`: the subscribers of a topic in a shard, and what each of them gets.
//! - `window.rs`: what a session was sent and its client has not acknowledged.

mod subscribers;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use subscribers::Subscriber;
pub(crate) use window::Window;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

use crate::{
    connection::Connection,
    message::Message,
    meters::Meters,
    topic::{Filter, Topic},
};
use subscribers::{Subscribers, Turn};

/// The number of connections after which a flusher lets other tasks run.
const YIELD_AFTER: usize = 256;
/// The size of the waiting turns of a shard in bytes, above which publishers wait.
const FULL: usize = 8 * 1024 * 1024;
/// The size above which messages are refused: the task of the backplane, which delivers them, does not wait for room.
const OVERFULL: usize = 8 * FULL;

/// A part of the connections.
#[derive(Default)]
pub(crate) struct Shard {
    state: Mutex<State>,
    work: Notify,
    room: Notify,
    /// The size of the waiting turns.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct State {
    topics: HashMap<Arc<str>, Subscribers>,
    /// The topics whose turn is not empty.
    due: Vec<Arc<str>>,
}

impl Shard {
    /// Adds a subscriber of `topic`, or replaces the one of its connection.
    pub(crate) fn subscribe(&self, topic: &Topic, subscriber: Subscriber) {
        self.lock().topics.entry(topic.name.clone()).or_default().insert(subscriber);
    }

    /// Gives a subscriber another filter for the messages after those of the current turn. `confirmation` is sent to it between
    /// them, if there is one.
    pub(crate) fn change_filter(
        &self,
        topic: &Arc<str>,
        connection: u64,
        filter: Option<Arc<Filter>>,
        confirmation: Option<Arc<Message>>,
    ) {
        let mut state = self.lock();
        let State { topics, due } = &mut *state;
        let Some(subscribers) = topics.get_mut(topic) else { return };
        subscribers.change_filter(connection, filter, confirmation);
        if subscribers.set_due() {
            due.push(topic.clone());
            self.work.notify_one();
        }
    }

    pub(crate) fn unsubscribe(&self, topic: &str, connection: u64) {
        let mut state = self.lock();
        let Some(subscribers) = state.topics.get_mut(topic) else { return };
        subscribers.remove(connection);
        if subscribers.is_unused() {
            state.topics.remove(topic);
        }
    }

    /// Returns whether a further message has to be refused because the flusher is far behind.
    pub(crate) fn is_overfull(&self) -> bool {
        self.waiting.load(Relaxed) > OVERFULL
    }

    /// Appends a message to the turn of its topic. Never blocks.
    pub(crate) fn append(&self, message: &Arc<Message>) {
        let mut state = self.lock();
        let State { topics, due } = &mut *state;
        let Some(subscribers) = topics.get_mut(&message.topic.name) else { return };
        self.waiting.fetch_add(message.size(), Relaxed);
        subscribers.append(message.clone());
        if subscribers.set_due() {
            due.push(message.topic.name.clone());
            self.work.notify_one();
        }
    }

    /// Waits while the turns of this shard are full.
    pub(crate) async fn room(&self) {
        self.at_most(FULL).await;
    }

    /// Waits until the turns that wait now are written.
    pub(crate) async fn settled(&self) {
        self.at_most(0).await;
    }

    /// Waits until the waiting turns have at most `bytes`.
    async fn at_most(&self, bytes: usize) {
        while self.waiting.load(Relaxed) > bytes {
            let room = self.room.notified();
            if self.waiting.load(Relaxed) > bytes {
                room.await;
            }
        }
    }

    /// Writes the turns to the connections, for ever.
    pub(crate) async fn flush(self: Arc<Self>, meters: Arc<Meters>) {
        loop {
            self.work.notified().await;
            let due = std::mem::take(&mut self.lock().due);
            for topic in due {
                self.flush_topic(&topic, &meters).await;
            }
        }
    }

    async fn flush_topic(&self, topic: &str, meters: &Meters) {
        let Some(turn) = self.take_turn(topic) else { return };
        let size: usize = turn.batch.messages().iter().map(|message| message.size()).sum();
        let mut delivered = 0;
        for (index, (member, partial)) in turn.members.iter().enumerate() {
            delivered += member.deliver(partial.as_deref().unwrap_or(&turn.batch));
            if index % YIELD_AFTER == YIELD_AFTER - 1 {
                tokio::task::yield_now().await;
            }
        }
        turn.left.iter().for_each(|window| window.release());
        meters.delivered(delivered);
        self.waiting.fetch_sub(size, Relaxed);
        self.room.notify_waiters();
    }

    fn take_turn(&self, topic: &str) -> Option<Turn> {
        let mut state = self.lock();
        let subscribers = state.topics.get_mut(topic)?;
        let turn = subscribers.take_turn();
        if subscribers.is_unused() {
            state.topics.remove(topic);
        }
        Some(turn)
    }

    pub(crate) fn connections_of(&self, topic: &str) -> Vec<Arc<Connection>> {
        self.lock().topics.get(topic).map(Subscribers::connections).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
