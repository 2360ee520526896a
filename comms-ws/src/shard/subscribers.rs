//! The subscribers of a topic in a shard.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::{
    backplane::Position,
    connection::{Connection, Member},
    message::{Batch, Message},
    shard::Window,
    topic::Filter,
};

/// A connection that gets the messages of a topic.
pub(crate) struct Subscriber {
    member: Arc<Member>,
    /// The position up to which the connection has the messages already, which may be ahead of the turns of this node.
    /// `None`: it gets everything from now on.
    since: Option<Position>,
    filter: Option<Arc<Filter>>,
    /// What the subscription, or a change of its filter, has taken from the current turn.
    taken: Option<Taken>,
    window: Option<Arc<Window>>,
    /// The task of the subscription sends the messages, until it replaces this subscriber.
    is_paused: bool,
}

/// The part of the current turn that was examined before.
struct Taken {
    messages: Vec<Arc<Message>>,
    /// The number of messages of the turn that were examined for it.
    examined: usize,
}

/// The subscribers of a topic, and the messages of the next turn.
#[derive(Default)]
pub(super) struct Subscribers {
    by_connection: IndexMap<u64, Subscriber>,
    turn: Vec<Arc<Message>>,
    /// The flusher is about to take the turn.
    is_due: bool,
}

/// The messages of a turn, and the connections that get all of them, or a part.
pub(super) struct Turn {
    pub(super) batch: Batch,
    pub(super) members: Vec<(Arc<Member>, Option<Box<Batch>>)>,
    /// The windows of the subscribers for which this is the last turn.
    pub(super) left: Vec<Arc<Window>>,
}

impl Subscribers {
    pub(super) fn insert(&mut self, subscriber: Subscriber) {
        // The messages of the current turn are older than the subscription, whatever their epoch.
        let examined = self.turn.len();
        let taken = (examined > 0).then_some(Taken { messages: Vec::new(), examined });
        let subscriber = Subscriber { taken, ..subscriber };
        self.by_connection.insert(subscriber.member.connection.id, subscriber);
    }

    pub(super) fn remove(&mut self, connection: u64) {
        self.by_connection.swap_remove(&connection);
        self.by_connection.shrink_to(self.by_connection.len() * 4);
    }

    /// Returns whether there is neither a subscriber nor a turn that the flusher is about to take.
    pub(super) fn is_unused(&self) -> bool {
        self.by_connection.is_empty() && !self.is_due
    }

    pub(super) fn append(&mut self, message: Arc<Message>) {
        self.turn.push(message);
    }

    /// Notes that the flusher has to take the turn. Returns `false` if it will do so anyhow.
    pub(super) fn set_due(&mut self) -> bool {
        !std::mem::replace(&mut self.is_due, true)
    }

    pub(super) fn change_filter(
        &mut self,
        connection: u64,
        filter: Option<Arc<Filter>>,
        confirmation: Option<Arc<Message>>,
    ) {
        let Some(subscriber) = self.by_connection.get_mut(&connection) else { return };
        let mut messages = subscriber.part_of(&self.turn).unwrap_or_else(|| self.turn.clone());
        messages.extend(confirmation);
        subscriber.taken = Some(Taken { messages, examined: self.turn.len() });
        subscriber.filter = filter;
    }

    pub(super) fn take_turn(&mut self) -> Turn {
        self.is_due = false;
        let messages = std::mem::take(&mut self.turn);
        let mut members = Vec::with_capacity(self.by_connection.len());
        let mut left = Vec::new();
        for subscriber in self.by_connection.values_mut().filter(|subscriber| !subscriber.is_paused) {
            let partial = subscriber.share_of(&messages);
            if let Some(window) = subscriber.window.take_if(|window| window.is_leaving()) {
                subscriber.is_paused = true;
                left.push(window);
            }
            if !partial.as_ref().unwrap_or(&messages).is_empty() {
                members.push((subscriber.member.clone(), partial.map(|part| Box::new(Batch::new(part)))));
            }
        }
        Turn { batch: Batch::new(messages), members, left }
    }

    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        self.by_connection.values().map(|subscriber| subscriber.member.connection.clone()).collect()
    }
}

impl Subscriber {
    pub(crate) fn new(
        member: Arc<Member>,
        since: Option<Position>,
        filter: Option<Arc<Filter>>,
        window: Option<Arc<Window>>,
    ) -> Self {
        Self { member, since, filter, taken: None, window, is_paused: false }
    }

    /// Returns the messages that this subscriber is sent, or `None` if it is sent all: those that it gets, as many of
    /// them as its window admits.
    fn share_of(&mut self, messages: &[Arc<Message>]) -> Option<Vec<Arc<Message>>> {
        let part = self.part_of(messages);
        let Some(window) = &self.window else { return part };
        let due = part.as_deref().unwrap_or(messages);
        let fitting = window.admit(due);
        if fitting < due.len() {
            return Some(due[..fitting].to_vec());
        }
        if let Some(end) = messages.last().and_then(|last| last.position) {
            window.reach(end);
        }
        part
    }

    /// Returns the messages that this subscriber gets, or `None` if it gets all.
    fn part_of(&mut self, messages: &[Arc<Message>]) -> Option<Vec<Arc<Message>>> {
        let (since, taken) = (self.since, self.taken.take());
        if since.is_none() && self.filter.is_none() && taken.is_none() {
            return None;
        }
        let Taken { messages: mut part, examined } =
            taken.unwrap_or(Taken { messages: Vec::new(), examined: 0 });
        let messages = messages.get(examined..).unwrap_or_default();
        let is_later = |message: &Message| match (since, message.position) {
            (Some(since), Some(at)) => at.epoch != since.epoch || at.offset > since.offset,
            _ => true,
        };
        if messages.last().is_some_and(|last| is_later(last)) {
            self.since = None;
        }
        let filter = self.filter.as_deref();
        let gets = |message: &&Arc<Message>| is_later(message) && message.passes(filter);
        part.extend(messages.iter().filter(gets).cloned());
        Some(part)
    }
}
