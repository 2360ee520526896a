//! A broker in memory: a log per topic, and a position per group.

mod run;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use tokio::sync::watch;

use super::transport::{ConsumerSetup, Transport};
use crate::{Error, Message, Publisher, testing::MemoryPublisher, transport::Receipt};

/// A [`Transport`] in memory. Clones share the messages.
///
/// Each topic is a log with one partition, 0. A group has a position in each log, as in Kafka: a consumer that starts
/// again gets the messages from the first unsettled one on. The consumer is a
/// [`Worker`](crate::transport::Worker) per topic, as in the consumers of `comms-kafka` and `comms-outbox`. The messages
/// stay in memory until the last clone is dropped.
#[derive(Clone, Default)]
pub struct MemoryTransport {
    shared: Arc<Shared>,
    dead_letters: MemoryPublisher,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// The number of messages in all logs.
    appended: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    logs: BTreeMap<Arc<str>, Vec<Message>>,
    /// The offset of the next message for a group and topic.
    positions: BTreeMap<(Arc<str>, Arc<str>), i64>,
}

impl State {
    fn append(&mut self, message: Message) -> Receipt {
        let log = self.logs.entry(message.topic().into()).or_default();
        log.push(message);
        Receipt::at(0, i64::try_from(log.len()).unwrap_or(i64::MAX) - 1)
    }
}

impl MemoryTransport {
    /// Creates a broker without messages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn publish(&self, messages: Vec<Message>) -> Result<Vec<Receipt>, Error> {
        let appended = messages.len();
        let receipts = {
            let mut state = self.state();
            messages.into_iter().map(|message| state.append(message)).collect()
        };
        self.shared.appended.send_modify(|count| *count += appended);
        Ok(receipts)
    }

    fn dead_letters(&self) -> Arc<dyn Publisher> {
        Arc::new(self.dead_letters.clone())
    }

    async fn run(&self, consumer: ConsumerSetup, stop: BoxFuture<'static, ()>) -> Result<(), Error> {
        run::run(self.clone(), consumer, stop).await
    }

    async fn rewind(&self, group: &str, topics: &[Arc<str>]) -> Result<(), Error> {
        let mut state = self.state();
        for topic in topics {
            state.positions.remove(&(group.into(), topic.clone()));
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport")
            .field("messages", &*self.shared.appended.borrow())
            .finish_non_exhaustive()
    }
}
