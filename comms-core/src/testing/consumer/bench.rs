//! A consumer on the transport under test, with a topic and a group of its own.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle};

use super::log::{Calls, Log, Reaction};
use crate::{
    Error, Message, MessageParts,
    clock::Clock,
    resilience::Backoff,
    testing::{Broken, ConsumerSetup, MemoryPublisher, Transport, check::unique},
    transport::{AttemptConfig, BatchConfig, BoxHandler, BudgetConfig, FailurePolicy, Holds, Ordering},
};

pub(super) struct Bench<T> {
    transport: T,
    topic: Arc<str>,
    pub(super) setup: ConsumerSetup,
    pub(super) log: Arc<Log>,
    pub(super) dead_letters: MemoryPublisher,
    running: Option<Running>,
}

struct Running {
    /// Dropping it stops the consumer.
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl<T: Transport + Clone> Bench<T> {
    /// Prepares a consumer whose handler does what `react` returns for a message and the number of its call.
    pub(super) async fn new(
        transport: &T,
        react: impl Fn(&str, usize) -> Reaction + Clone + Send + Sync + 'static,
    ) -> Result<Self, Broken> {
        let (log, clock) = (Arc::new(Log::default()), Clock::system());
        let topic: Arc<str> = transport.qualify(&unique("suite")).into();
        transport.prepare(std::slice::from_ref(&topic)).await?;
        let dead_letters = MemoryPublisher::new();
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(20))?;
        let setup = ConsumerSetup {
            group: transport.qualify(&unique("group")).into(),
            handlers: vec![(topic.clone(), BoxHandler::new(log.handler(react)).into())],
            batch: BatchConfig::default(),
            attempts: AttemptConfig::default().backoff(backoff).max_attempts(3),
            ordering: Ordering::Key,
            failure_policy: FailurePolicy::DeadLetter.into(),
            budget: BudgetConfig::default(),
            holds: Holds::new(clock.clone()),
            dead_letter: Arc::new(dead_letters.clone()),
            clock,
        };
        Ok(Self { transport: transport.clone(), topic, setup, log, dead_letters, running: None })
    }

    /// Publishes the messages with `ids`. The id of a message is `<key>-<number>`.
    pub(super) async fn publish(&self, ids: impl IntoIterator<Item = String>) -> Result<(), Broken> {
        let message = |id: String| {
            let key = id.rsplit_once('-').map_or(&*id, |(key, _)| key);
            Message::new(MessageParts {
                source: "suite",
                id: &id,
                topic: &self.topic,
                key: (!key.is_empty()).then_some(key.as_bytes()),
                payload: Some(id.as_bytes()),
                ..MessageParts::default()
            })
        };
        self.transport.publish(ids.into_iter().map(message).collect()).await?;
        Ok(())
    }

    pub(super) fn start(&mut self) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (transport, setup) = (self.transport.clone(), self.setup.clone());
        let run =
            async move { transport.run(setup, Box::pin(async { stopped.await.unwrap_or_default() })).await };
        self.running = Some(Running { stop, task: tokio::spawn(run) });
    }

    /// Stops the consumer, and waits for its end.
    pub(super) async fn stop(&mut self) -> Result<(), Broken> {
        let Some(Running { stop, .. }) = &mut self.running else { return Ok(()) };
        drop(std::mem::replace(stop, oneshot::channel().0));
        self.ended("the consumer ends when it is stopped").await?.map_err(Broken::from)
    }

    /// Waits for the end of the consumer, and returns its result.
    pub(super) async fn ended(&mut self, what: &str) -> Result<Result<(), Error>, Broken> {
        let Some(Running { stop: _stop, task }) = self.running.take() else { return Ok(Ok(())) };
        match Clock::system().timeout(self.limit(), task).await {
            Ok(joined) => Ok(joined?),
            Err(_) => Err(Broken::new(what, format!("it runs after {:?}", self.limit()))),
        }
    }

    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Calls) -> bool) -> Result<(), Broken> {
        self.log.until(what, self.limit(), holds).await
    }

    /// Waits until each message of `ids` is handled.
    pub(super) async fn until_done(&self, ids: &[String]) -> Result<(), Broken> {
        self.until("every message is handled", |calls| ids.iter().all(|id| calls.is_done(id))).await
    }

    /// Waits until there are `count` dead letters.
    pub(super) async fn until_dead_letters(&self, count: usize) -> Result<Vec<Message>, Broken> {
        let (clock, written) = (Clock::system(), || self.dead_letters.messages());
        let wait = async {
            while written().len() < count {
                clock.sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = clock.timeout(self.limit(), wait).await.is_ok();
        let letters = written();
        match in_time {
            true => Ok(letters),
            false => Err(Broken::new(
                "a failed message is dead-lettered",
                format!("{} dead letters", letters.len()),
            )),
        }
    }

    fn limit(&self) -> Duration {
        self.transport.settle_limit()
    }
}

/// Returns the ids of `count` messages of `key`.
pub(super) fn ids(key: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{key}-{n}")).collect()
}

/// Returns the ids of `count` messages of each of `keys`, alternately.
pub(super) fn mixed(keys: &[&str], count: usize) -> Vec<String> {
    (0..count).flat_map(|n| keys.iter().map(move |key| format!("{key}-{n}"))).collect()
}
