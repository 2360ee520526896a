//! The settings of a subscriber, checked when it is made.

use std::{collections::HashMap, sync::Arc, time::Duration};

use comms_core::{
    Delivery, Error, Handler,
    clock::Clock,
    handler_fn, telemetry,
    transport::{AttemptConfig, BoxHandler, Holds, Lanes, Processor},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Route, Shared, Subscriber, blocks::Blocks};

/// The `messaging.system` of metrics and spans.
const SYSTEM: &str = "outbox";

/// Makes a [`Subscriber`].
#[must_use]
pub struct SubscriberBuilder {
    group: Arc<str>,
    handlers: Vec<(Arc<str>, BoxHandler)>,
    attempts: AttemptConfig,
    concurrency: usize,
    in_flight: u32,
    flush_limit: Duration,
    hold_retry: Duration,
    holds: Option<Holds>,
    clock: Clock,
}

/// How long a held message stays with the subscriber before the relay parks it, where [`AttemptConfig::hold_in_place`] is
/// not set.
const HOLD_IN_PLACE: Duration = Duration::from_secs(10);

impl SubscriberBuilder {
    pub(super) fn new(group: Arc<str>) -> Self {
        Self {
            group,
            handlers: Vec::new(),
            attempts: AttemptConfig::default(),
            concurrency: 16,
            in_flight: 10_000,
            flush_limit: Duration::from_secs(30),
            hold_retry: Duration::from_secs(5),
            holds: None,
            clock: Clock::system(),
        }
    }

    /// Delivers messages to `topic` to `handler`.
    pub fn on(mut self, topic: impl Into<Arc<str>>, handler: impl Handler) -> Self {
        self.handlers.push((topic.into(), BoxHandler::new(handler)));
        self
    }

    /// How often and how long a message is attempted. Default [`AttemptConfig::default`], with 10 s for
    /// [`AttemptConfig::hold_in_place`]: a key that is held for longer is parked, so that the relay's cursor moves on.
    pub fn attempts(mut self, attempts: AttemptConfig) -> Self {
        self.attempts = attempts;
        self
    }

    /// Handlers that run at the same time, of any key; a key that waits for its next try takes no place.
    /// Waiting for a place counts towards [`AttemptConfig::timeout`]. More than the database has connections
    /// makes handlers wait there instead. Default 16.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// Messages taken and not yet answered. Default 10,000.
    pub fn in_flight(mut self, messages: u32) -> Self {
        self.in_flight = messages;
        self
    }

    /// How long a flush waits. Default 30 s.
    pub fn flush_limit(mut self, limit: Duration) -> Self {
        self.flush_limit = limit;
        self
    }

    /// The least time between two attempts of a message that is parked as held; 5 ms more for each held message, and
    /// what the failure asks for. Default 5 s.
    pub fn hold_retry(mut self, wait: Duration) -> Self {
        self.hold_retry = wait;
        self
    }

    /// The list in which held deliveries are registered. Default one of its own, see [`Subscriber::holds`].
    pub fn holds(mut self, holds: Holds) -> Self {
        self.holds = Some(holds);
        self
    }

    /// The clock of backoff and durations. Default the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The subscriber.
    ///
    /// # Errors
    /// `Invalid` without a group or a handler, with two handlers of a topic, or without room.
    pub fn build(self) -> Result<Subscriber, Error> {
        if self.group.is_empty() || self.group.len() > 200 {
            return Err(Error::invalid("a consumer group has a name of 1 to 200 bytes"));
        }
        if self.handlers.is_empty() {
            return Err(Error::invalid(
                "a subscriber without a handler delivers nothing: call on(topic, handler)",
            ));
        }
        if self.in_flight == 0 || !(1..=Semaphore::MAX_PERMITS).contains(&self.concurrency) {
            return Err(Error::invalid("a subscriber needs room for at least one message and one handler"));
        }
        let mut attempts = self.attempts;
        attempts.hold_in_place.get_or_insert(HOLD_IN_PLACE);
        let holds = self.holds.unwrap_or_else(|| Holds::new(self.clock.clone()));
        let places = Arc::new(Semaphore::new(self.concurrency));
        let mut routes = HashMap::new();
        for (topic, handler) in self.handlers {
            let consumed = metrics::counter!(
                telemetry::CONSUMED_MESSAGES,
                "messaging.system" => SYSTEM,
                "messaging.destination.name" => topic.to_string(),
                "messaging.consumer.group.name" => self.group.to_string(),
            );
            let handler = limited(handler, places.clone());
            let processor = Processor::new(handler, attempts.clone(), self.clock.clone(), SYSTEM);
            let processor = processor.with_holds(holds.clone());
            if routes.insert(topic.clone(), Route { processor, consumed }).is_some() {
                return Err(Error::invalid(format!("two handlers for {topic}: a group has one per topic")));
            }
        }
        let shared = Arc::new(Shared {
            group: self.group,
            routes,
            blocks: Arc::new(Blocks::default()),
            holds,
            hold_retry: self.hold_retry,
            stop: CancellationToken::new(),
            room: Arc::new(Semaphore::new(self.in_flight as usize)),
            bound: self.in_flight,
            flush_limit: self.flush_limit,
        });
        let worker = shared.clone();
        let lanes = Lanes::new(move |item| worker.clone().run(item));
        Ok(Subscriber { shared, lanes })
    }
}

fn limited(handler: BoxHandler, places: Arc<Semaphore>) -> BoxHandler {
    BoxHandler::new(handler_fn(move |delivery: Delivery| {
        let (handler, places) = (handler.clone(), places.clone());
        async move {
            let _place = places.acquire().await.map_err(Error::fatal)?;
            handler.handle(delivery).await
        }
    }))
}
