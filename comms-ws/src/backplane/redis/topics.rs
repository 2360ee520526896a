//! The subscribed topics, and the delivery of their messages.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use comms_core::{bytes::Bytes, clock::Clock, telemetry::LogLimit};
use tokio::sync::{Notify, oneshot};

use super::{
    Position, Receiver, Retention,
    topic::Topic,
    wire::{self, Delivery},
};

/// The subscribed topics by their channels.
pub(super) struct Topics {
    /// The identity of this node in messages of topics without history.
    node: u64,
    clock: Clock,
    state: Mutex<State>,
    changed: Notify,
    malformed: LogLimit,
}

#[derive(Default)]
struct State {
    receiver: Option<Weak<dyn Receiver>>,
    topics: HashMap<Arc<str>, Topic>,
    /// The number of calls of [`Topics::subscribe`].
    calls: u64,
    /// Whether the subscriber has a connection.
    connected: bool,
    /// The channels that were subscribed or unsubscribed since the connection was brought up to date.
    changes: BTreeSet<Arc<str>>,
}

/// The channels to subscribe and to unsubscribe.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) subscribe: Vec<Arc<str>>,
    pub(super) unsubscribe: Vec<Arc<str>>,
}

/// A topic with history, for a check of its last message.
#[derive(Clone)]
pub(super) struct Checked {
    pub(super) channel: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) retention: Retention,
}

impl Topics {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            node: u64::from_be_bytes(clock.random()),
            clock: clock.clone(),
            state: Mutex::default(),
            changed: Notify::new(),
            malformed: LogLimit::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn node(&self) -> u64 {
        self.node
    }

    /// Sets the receiver. Returns `false` if there is one.
    pub(super) fn attach(&self, receiver: Weak<dyn Receiver>) -> bool {
        let mut state = self.lock();
        let is_free = state.receiver.as_ref().and_then(Weak::upgrade).is_none();
        if is_free {
            state.receiver = Some(receiver);
        }
        is_free
    }

    /// Adds a topic. Returns the number of the call if the topic is new, for [`undo`](Self::undo), and a channel that gets
    /// a value when the server has confirmed the subscription.
    pub(super) fn subscribe(
        &self,
        channel: String,
        name: &str,
        retention: Option<Retention>,
    ) -> (Option<u64>, oneshot::Receiver<()>) {
        let (confirmed, confirmation) = oneshot::channel();
        let channel: Arc<str> = channel.into();
        let mut state = self.lock();
        state.calls += 1;
        let call = state.calls;
        let new = (!state.topics.contains_key(&channel)).then_some(call);
        let topic = state.topics.entry(channel.clone()).or_insert_with(|| Topic::new(name));
        (topic.retention, topic.last_call) = (retention, call);
        if topic.confirmed {
            let _ = confirmed.send(());
            return (new, confirmation);
        }
        // Callers that gave up.
        topic.waiting.retain(|waiting| !waiting.is_closed());
        topic.waiting.push(confirmed);
        if state.connected {
            state.changes.insert(channel);
            self.changed.notify_one();
        }
        (new, confirmation)
    }

    pub(super) fn unsubscribe(&self, channel: &str) {
        self.remove(&mut self.lock(), channel);
    }

    /// Removes the topic that the failed `call` of [`subscribe`](Self::subscribe) has added, unless there was a later call:
    /// the topic belongs to that one then.
    pub(super) fn undo(&self, channel: &str, call: u64) {
        let mut state = self.lock();
        if state.topics.get(channel).is_some_and(|topic| topic.last_call == call) {
            self.remove(&mut state, channel);
        }
    }

    fn remove(&self, state: &mut State, channel: &str) {
        let Some((channel, _)) = state.topics.remove_entry(channel) else { return };
        if state.connected {
            state.changes.insert(channel);
            self.changed.notify_one();
        }
    }

    /// Records that the receiver has the messages of a topic up to `position`.
    pub(super) fn seen(&self, channel: &str, position: Position) {
        if let Some(topic) = self.lock().topics.get_mut(channel) {
            topic.see(position);
        }
    }

    /// Delivers a message of a channel.
    pub(super) fn deliver(&self, channel: &str, message: Vec<u8>) {
        match wire::delivery(message) {
            // The node delivered its own message when it was published.
            Some(Delivery::Plain { node, .. }) if node == self.node => {}
            Some(Delivery::Plain { body, .. }) => self.deliver_body(channel, None, body),
            Some(Delivery::Positioned(position, body)) => self.deliver_body(channel, Some(position), body),
            None => {
                if let Some(suppressed) = self.malformed.admit(&self.clock) {
                    tracing::warn!(channel, suppressed, "a message of another form was published in redis");
                }
            }
        }
    }

    /// Delivers the content of a message, if its topic is subscribed.
    pub(super) fn deliver_body(&self, channel: &str, position: Option<Position>, body: Bytes) {
        if let Some((name, receiver)) = self.find(channel, position) {
            receiver.deliver(&name, position, body);
        }
    }

    /// Reports to the receiver that messages of one topic may have been lost.
    pub(super) fn behind(&self, channel: &str, top: Position) {
        if let Some((name, receiver)) = self.find(channel, Some(top)) {
            receiver.behind(&name);
        }
    }

    /// Returns the name of a subscribed topic, and the receiver, which gets the messages up to `position` now.
    fn find(&self, channel: &str, position: Option<Position>) -> Option<(Arc<str>, Arc<dyn Receiver>)> {
        let mut state = self.lock();
        let topic = state.topics.get_mut(channel)?;
        position.into_iter().for_each(|position| topic.see(position));
        let name = topic.name.clone();
        Some((name, state.receiver.as_ref()?.upgrade()?))
    }

    /// Reports to the receiver that messages of all topics may have been lost.
    pub(super) fn interrupted(&self) {
        let receiver = self.lock().receiver.as_ref().and_then(Weak::upgrade);
        if let Some(receiver) = receiver {
            receiver.interrupted();
        }
    }

    /// Begins a new connection, which has no subscription: every topic is a change.
    pub(super) fn connected(&self) {
        let mut state = self.lock();
        state.connected = true;
        state.changes = state.topics.keys().cloned().collect();
    }

    pub(super) fn disconnected(&self) {
        let mut state = self.lock();
        state.connected = false;
        state.changes = BTreeSet::new();
        state.topics.values_mut().for_each(|topic| topic.confirmed = false);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.lock().connected
    }

    /// Resolves when there are changes.
    pub(super) async fn changed(&self) {
        while self.lock().changes.is_empty() {
            self.changed.notified().await;
        }
    }

    /// Takes at most `max` changes.
    pub(super) fn take_changes(&self, max: usize) -> Changes {
        let mut state = self.lock();
        let mut changes = Changes::default();
        for _ in 0..max {
            let Some(channel) = state.changes.pop_first() else { break };
            let wanted = state.topics.contains_key(&channel);
            if wanted { &mut changes.subscribe } else { &mut changes.unsubscribe }.push(channel);
        }
        changes
    }

    /// Records that the server has confirmed the subscription of `channels`.
    pub(super) fn confirm(&self, channels: &[Arc<str>]) {
        let mut state = self.lock();
        for channel in channels {
            let Some(topic) = state.topics.get_mut(channel) else { continue };
            topic.confirmed = true;
            for waiting in std::mem::take(&mut topic.waiting) {
                let _ = waiting.send(());
            }
        }
    }

    /// Returns the topics with history whose subscription is confirmed.
    pub(super) fn to_check(&self) -> Vec<Checked> {
        let state = self.lock();
        let confirmed = state.topics.iter().filter(|(_, topic)| topic.confirmed);
        let checked = confirmed.filter_map(|(channel, topic)| {
            let retention = topic.retention?;
            Some(Checked { channel: channel.clone(), name: topic.name.clone(), retention })
        });
        checked.collect()
    }

    /// Compares the last position of a topic with what arrived, see [`Topic::check`].
    pub(super) fn check(&self, channel: &str, top: Position) -> bool {
        self.lock().topics.get_mut(channel).is_some_and(|topic| topic.check(top))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn topics() -> Topics {
        Topics::new(&Clock::manual(Duration::ZERO))
    }

    /// An attempt of a feed that has ended fails late, when the next feed of the topic has subscribed.
    #[test]
    fn a_failure_removes_only_a_topic_without_a_later_call() {
        let topics = topics();
        topics.connected();
        let (first, _) = topics.subscribe("a".into(), "a", None);
        topics.unsubscribe("a");
        let (second, _) = topics.subscribe("a".into(), "a", None);
        let (shared, mut confirmation) = topics.subscribe("a".into(), "a", None);
        assert!(shared.is_none());
        [first, second].into_iter().flatten().for_each(|failed| topics.undo("a", failed));
        topics.confirm(&topics.take_changes(10).subscribe);
        assert!(confirmation.try_recv().is_ok());
        let (alone, _) = topics.subscribe("b".into(), "b", None);
        topics.undo("b", alone.unwrap());
        assert_eq!(topics.take_changes(10).unsubscribe.len(), 1);
    }

    #[test]
    fn a_new_connection_subscribes_every_topic_and_unsubscribes_none() {
        let topics = topics();
        let (_, mut first) = topics.subscribe("a".into(), "a", None);
        topics.unsubscribe("b");
        topics.connected();
        let changes = topics.take_changes(10);
        assert_eq!((changes.subscribe.len(), changes.unsubscribe.len()), (1, 0));
        assert!(first.try_recv().is_err());
        topics.confirm(&changes.subscribe);
        assert!(first.try_recv().is_ok());
        topics.unsubscribe("a");
        assert_eq!(topics.take_changes(10).unsubscribe.len(), 1);
        topics.disconnected();
        let (_, mut second) = topics.subscribe("a".into(), "a", None);
        topics.unsubscribe("a");
        assert!(second.try_recv().is_err());
        topics.connected();
        assert!(topics.take_changes(10).subscribe.is_empty());
    }
}
