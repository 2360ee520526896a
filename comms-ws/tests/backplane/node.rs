//! A backplane with a receiver that records.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::{Error, bytes::Bytes};
use comms_ws::backplane::{Backplane, History, Position, Publication, Published, Receiver, Retention};
use tokio::{sync::Notify, time::timeout};

/// Enough for every test: a wait that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// The retention of topics whose retention is not the subject of the test.
pub(crate) const KEEP: Retention = Retention { messages: 10_000, age: Duration::from_secs(3_600) };

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) topic: String,
    pub(crate) position: Option<Position>,
    pub(crate) body: Bytes,
}

#[derive(Default)]
pub(crate) struct Recorder {
    arrived: Mutex<Vec<Arrived>>,
    interruptions: Mutex<usize>,
    behind: Mutex<Vec<String>>,
    changed: Notify,
}

/// A backplane, and what it delivers.
pub(crate) struct Node {
    pub(crate) backplane: Arc<dyn Backplane>,
    pub(crate) recorder: Arc<Recorder>,
}

impl Receiver for Recorder {
    fn deliver(&self, topic: &str, position: Option<Position>, body: Bytes) {
        self.arrived.lock().unwrap().push(Arrived { topic: topic.to_owned(), position, body });
        self.changed.notify_waiters();
    }

    fn behind(&self, topic: &str) {
        self.behind.lock().unwrap().push(topic.to_owned());
        self.changed.notify_waiters();
    }

    fn interrupted(&self) {
        *self.interruptions.lock().unwrap() += 1;
        self.changed.notify_waiters();
    }
}

impl Recorder {
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.after(0)
    }

    pub(crate) fn count(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }

    /// Returns the messages after the first `count`.
    pub(crate) fn after(&self, count: usize) -> Vec<Arrived> {
        self.arrived.lock().unwrap().get(count..).unwrap_or_default().to_vec()
    }

    pub(crate) fn of(&self, topic: &str) -> Vec<Arrived> {
        self.arrived().into_iter().filter(|arrived| arrived.topic == topic).collect()
    }

    pub(crate) fn interruptions(&self) -> usize {
        *self.interruptions.lock().unwrap()
    }

    /// Returns the topics that were reported to be behind.
    pub(crate) fn behind(&self) -> Vec<String> {
        self.behind.lock().unwrap().clone()
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let met = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if condition(self) {
                    return;
                }
                changed.await;
            }
        };
        assert!(timeout(LIMIT, met).await.is_ok(), "{what}: {} messages arrived", self.count());
    }

    /// Waits until `count` messages of `topic` have arrived.
    pub(crate) async fn until_count(&self, topic: &str, count: usize) -> Vec<Arrived> {
        self.until(topic, |recorder| recorder.of(topic).len() >= count).await;
        self.of(topic)
    }
}

impl Node {
    pub(crate) fn new(backplane: Arc<dyn Backplane>) -> Self {
        let recorder = Arc::new(Recorder::default());
        let receiver: Arc<dyn Receiver> = recorder.clone();
        backplane.attach(Arc::downgrade(&receiver)).unwrap();
        Self { backplane, recorder }
    }

    pub(crate) async fn try_publish(
        &self,
        topic: &str,
        id: &str,
        body: impl Into<Bytes>,
        retention: Option<Retention>,
    ) -> Result<Published, Error> {
        self.backplane.publish(Publication { topic, id, body: body.into(), retention }).await
    }

    /// Publishes a new message of a topic with history.
    pub(crate) async fn publish(&self, topic: &str, id: &str) -> Position {
        match self.try_publish(topic, id, id.to_owned(), Some(KEEP)).await.unwrap() {
            Published::New(Some(position)) => position,
            other => panic!("{topic} {id}: {other:?}"),
        }
    }

    pub(crate) async fn subscribe(&self, topic: &str) -> Position {
        self.backplane.subscribe(topic, Some(KEEP)).await.unwrap().unwrap()
    }

    pub(crate) async fn history(&self, topic: &str, since: Position) -> History {
        self.backplane.history(topic, KEEP, since, usize::MAX).await.unwrap()
    }

    /// Reads the contents after `since`. `None`: not all of them are kept.
    pub(crate) async fn bodies(&self, topic: &str, since: Position) -> Option<Vec<String>> {
        let messages = self.history(topic, since).await.messages?;
        Some(messages.into_iter().map(|(_, body)| String::from_utf8_lossy(&body).into_owned()).collect())
    }
}
