//! The saga, its services and what is between them, one step at a time, on SQLite.

mod end;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::{
    Delivery, Error, HeadersRef, Message, MessageParts, Outcome, clock::Clock, event::EventSource,
    saga::Definition, transport::BoxHandler,
};
use comms_outbox::{saga::Coordinator, sqlite::SqliteUnit};
use sqlx::Row as _;
use tower_service::Service;

use super::{
    backend::{Database, Sqlite, coordinator},
    books::Answer,
    orders::{EVENTS, PAYMENT, Placed, SHIPPING, STOCK, Style, Times, service},
    points::{Fault, Faults, Points},
    services::{SERVICES, handler, trigger},
};

/// The id of the run of a world.
pub const RUN: &str = "7";

/// The receiver of events for the saga.
const SAGA: &str = "saga";

/// Waits that end only when a test ends them.
pub const NEVER: Times =
    Times { limit: Duration::from_secs(3_600), attempts: 2, backoff: Duration::from_secs(3_600) };

type Saga = Coordinator<Points<SqliteUnit>>;

/// A call, by its number from now, and what happens there.
pub type Planned = Option<(usize, Fault)>;

pub struct World {
    pub database: Sqlite,
    services: Vec<char>,
    is_choreographed: bool,
    handlers: BTreeMap<&'static str, BoxHandler>,
    /// Two processes, which handle the inputs in turns.
    coordinators: [Saga; 2],
    answer: Arc<Mutex<Answer>>,
    faults: Arc<Faults>,
    /// The messages to each service, in order.
    requests: BTreeMap<&'static str, VecDeque<Message>>,
    /// The events for the saga. Topics have no order between them.
    replies: Vec<Message>,
    /// Every message with its receiver.
    history: Vec<(&'static str, Message)>,
    /// The last row of the outbox that was read.
    position: i64,
    inputs: usize,
}

impl World {
    /// Creates the world of the run [`RUN`], which has not started. The tables are empty then.
    pub async fn new(
        database: &Sqlite,
        style: Style,
        definition: &Definition<()>,
        services: &[char],
    ) -> Self {
        let clear = "DELETE FROM comms_outbox; DELETE FROM comms_inbox; DELETE FROM comms_saga; DELETE FROM comms_saga_timer;
            DELETE FROM comms_saga_log; DELETE FROM comms_saga_early; DELETE FROM record; DELETE FROM effect";
        sqlx::raw_sql(clear).execute(&database.pool).await.unwrap();
        let points = Points::new(database.unit());
        let answer = Arc::new(Mutex::new(Answer::Accept));
        let judge = || {
            let answer = answer.clone();
            Arc::new(move |_: char, _: &Message| *answer.lock().unwrap())
        };
        let handlers = [
            BoxHandler::new(handler::<_, PAYMENT>(points.clone(), judge())),
            BoxHandler::new(handler::<_, STOCK>(points.clone(), judge())),
            BoxHandler::new(handler::<_, SHIPPING>(points.clone(), judge())),
        ];
        let build = || {
            let builder = coordinator(&points, definition).poll_interval(Duration::from_millis(1));
            builder.sweep_interval(Duration::from_millis(20)).concurrency(1).build().unwrap()
        };
        let coordinators = [build(), build()];
        let mut world = Self {
            database: database.clone(),
            services: services.to_vec(),
            is_choreographed: style == Style::Choreographed,
            handlers: SERVICES.map(service).into_iter().zip(handlers).collect(),
            coordinators,
            answer,
            faults: points.faults.clone(),
            requests: BTreeMap::new(),
            replies: Vec::new(),
            history: Vec::new(),
            position: 0,
            inputs: 0,
        };
        let placed = EventSource::new("shop", Clock::system()).message(&Placed(RUN.into()));
        world.route(&placed.unwrap());
        world
    }

    /// Delivers the oldest message of a service. It stays if `keep`, or if it was not acknowledged.
    pub async fn deliver(&mut self, pick: usize, answer: Answer, keep: bool, planned: Planned) -> bool {
        let queues: Vec<_> = self.requests.iter().filter(|(_, queue)| !queue.is_empty()).collect();
        let Some((service, queue)) = queues.get(pick % queues.len().max(1)) else { return false };
        let (service, message) = (**service, queue[0].clone());
        *self.answer.lock().unwrap() = answer;
        if self.hand(service, &message, planned).await && !keep {
            self.requests.get_mut(service).unwrap().pop_front();
        }
        true
    }

    /// Delivers one of the replies. It stays if `keep`, or if it was not acknowledged.
    pub async fn reply(&mut self, pick: usize, keep: bool, planned: Planned) -> bool {
        if self.replies.is_empty() {
            return false;
        }
        let index = pick % self.replies.len();
        let message = self.replies[index].clone();
        if self.hand(SAGA, &message, planned).await && !keep {
            self.replies.remove(index);
        }
        true
    }

    /// Delivers all replies in one batch. Those that were not acknowledged stay.
    pub async fn reply_all(&mut self, planned: Planned) {
        self.plan(planned);
        let batch: Vec<_> = self.replies.iter().map(|reply| Delivery::new(reply.clone(), SAGA)).collect();
        let result = self.faults.crash(self.coordinator().batch_handler().call(batch)).await;
        self.faults.clear();
        let results = match result {
            Some(Ok(results)) => results,
            Some(Err(error)) => vec![Err(error)],
            None => Vec::new(),
        };
        let failed = results.iter().find_map(|result| result.as_ref().err());
        assert!(failed.is_none() || self.happened(), "{failed:?}");
        let mut acknowledged = results.iter().map(Result::is_ok);
        self.replies.retain(|_| !acknowledged.next().unwrap_or(false));
        self.read().await;
    }

    /// Delivers a message again that was sent at any time before.
    pub async fn again(&mut self, pick: usize, planned: Planned) {
        if !self.history.is_empty() {
            let (receiver, message) = self.history[pick % self.history.len()].clone();
            self.hand(receiver, &message, planned).await;
        }
    }

    /// Loses the oldest command to a service.
    pub fn lose_command(&mut self, pick: usize) -> bool {
        let mut queues: Vec<_> = self.requests.values_mut().filter(|queue| !queue.is_empty()).collect();
        let count = queues.len().max(1);
        queues.get_mut(pick % count).is_some_and(|queue| queue.pop_front().is_some())
    }

    /// Loses a reply. The event that starts the run is not lost: no command repeats it.
    pub fn lose_reply(&mut self, pick: usize) -> bool {
        let replies: Vec<_> =
            (0..self.replies.len()).filter(|index| self.replies[*index].topic() != "order.placed").collect();
        let Some(index) = replies.get(pick % replies.len().max(1)) else { return false };
        self.replies.remove(*index);
        true
    }

    /// Gives a message to a handler. Returns whether it was acknowledged.
    async fn hand(&mut self, receiver: &str, message: &Message, planned: Planned) -> bool {
        self.plan(planned);
        let delivery = Delivery::new(message.clone(), receiver);
        let result: Option<Result<Outcome, Error>> = match self.handlers.get(receiver) {
            Some(handler) => self.faults.crash(handler.clone().call(delivery)).await,
            None => self.faults.crash(self.coordinator().handler().call(delivery)).await,
        };
        self.faults.clear();
        if let Some(Err(error)) = &result {
            assert!(self.happened(), "{error:?}");
        }
        self.read().await;
        matches!(result, Some(Ok(_)))
    }

    fn plan(&mut self, planned: Planned) {
        self.inputs += 1;
        let (at, fault) = planned.unwrap_or((0, Fault::Error));
        self.faults.set(at, fault);
    }

    /// Returns whether the fault of the last step has happened.
    pub fn happened(&self) -> bool {
        self.faults.happened()
    }

    /// The processes take turns.
    fn coordinator(&self) -> &Saga {
        &self.coordinators[self.inputs.wrapping_sub(1) % 2]
    }

    /// Reads the new rows of the outbox, as a relay does.
    async fn read(&mut self) {
        let text = "SELECT id, source, msg_id, topic, key, headers, payload FROM comms_outbox WHERE id > $1 ORDER BY id";
        let rows = sqlx::query(text).bind(self.position).fetch_all(&self.database.pool).await.unwrap();
        for row in rows {
            self.position = row.get("id");
            let message = Message::new(MessageParts {
                source: row.get("source"),
                id: row.get("msg_id"),
                topic: row.get("topic"),
                key: row.get("key"),
                headers: HeadersRef::decode(row.get("headers")).unwrap(),
                payload: row.get("payload"),
            });
            self.route(&message);
        }
    }

    /// Adds a message for each of its receivers.
    fn route(&mut self, message: &Message) {
        let is_for = |letter: &char| {
            let topic = message.topic();
            topic == service(*letter) || (self.is_choreographed && topic == trigger(*letter))
        };
        for name in SERVICES.into_iter().filter(is_for).map(service) {
            self.history.push((name, message.clone()));
            self.requests.entry(name).or_default().push_back(message.clone());
        }
        if EVENTS.contains(&message.topic()) {
            self.history.push((SAGA, message.clone()));
            self.replies.push(message.clone());
        }
    }
}
