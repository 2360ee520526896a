//! The subscribers of a topic in a shard.

use std::sync::Arc;

use indexmap::IndexMap;

use super::Batch;
use crate::{
    backplane::Position,
    connection::{Connection, Member},
    message::Message,
    topic::Filter,
};

/// A connection that gets the messages of a topic.
pub(crate) struct Subscriber {
    pub(crate) member: Arc<Member>,
    /// The position up to which the connection has the messages already, which may be ahead of the turns of this node.
    /// `None`: it gets the next turn completely.
    pub(crate) since: Option<Position>,
    pub(crate) filter: Option<Arc<Filter>>,
}

/// The subscribers of a topic, and the messages of the next turn.
#[derive(Default)]
pub(super) struct Subscribers {
    by_connection: IndexMap<u64, Subscriber>,
    turn: Vec<Arc<Message>>,
}

/// The messages of a turn, and the connections that get all of them, or a part.
pub(super) struct Turn {
    pub(super) batch: Batch,
    pub(super) members: Vec<(Arc<Member>, Option<Box<Batch>>)>,
}

impl Subscribers {
    pub(super) fn insert(&mut self, subscriber: Subscriber) {
        self.by_connection.insert(subscriber.member.connection.id, subscriber);
    }

    pub(super) fn remove(&mut self, connection: u64) {
        self.by_connection.swap_remove(&connection);
        self.by_connection.shrink_to(self.by_connection.len() * 4);
    }

    /// Returns whether there is neither a subscriber nor a message.
    pub(super) fn is_unused(&self) -> bool {
        self.by_connection.is_empty() && self.turn.is_empty()
    }

    /// Appends a message to the turn. Returns whether it is the first.
    pub(super) fn append(&mut self, message: Arc<Message>) -> bool {
        self.turn.push(message);
        self.turn.len() == 1
    }

    pub(super) fn take_turn(&mut self) -> Turn {
        let messages = std::mem::take(&mut self.turn);
        let mut members = Vec::with_capacity(self.by_connection.len());
        for subscriber in self.by_connection.values_mut() {
            let partial = subscriber.part_of(&messages);
            if partial.as_ref().is_none_or(|part| !part.is_empty()) {
                members.push((subscriber.member.clone(), partial.map(|part| Box::new(Batch::new(part)))));
            }
        }
        Turn { batch: Batch::new(messages), members }
    }

    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        self.by_connection.values().map(|subscriber| subscriber.member.connection.clone()).collect()
    }
}

impl Subscriber {
    /// Returns the messages that this subscriber gets, or `None` if it gets all.
    fn part_of(&mut self, messages: &[Arc<Message>]) -> Option<Vec<Arc<Message>>> {
        let since = self.since;
        if since.is_none() && self.filter.is_none() {
            return None;
        }
        let is_later = |message: &Message| match (since, message.position) {
            (Some(since), Some(at)) => at.epoch != since.epoch || at.offset > since.offset,
            _ => true,
        };
        if messages.last().is_some_and(|last| is_later(last)) {
            self.since = None;
        }
        let gets = |message: &&Arc<Message>| is_later(message) && self.passes(message);
        Some(messages.iter().filter(gets).cloned().collect())
    }

    fn passes(&self, message: &Message) -> bool {
        match (&self.filter, &message.head) {
            (Some(filter), Some(head)) => filter.passes(head),
            _ => true,
        }
    }
}
