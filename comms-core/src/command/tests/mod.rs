//! The fixture of the command tests: additions to a counter, an aggregate over the memory unit.

mod layers;
mod once;
mod retries;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    Error, Message, Scoped, UnitOfWork,
    clock::Clock,
    event::{Event, EventSource},
    event_sourcing::{Aggregate, AuthType, EventSet, Repository, one_of},
    testing::{FaultyUnit, MemoryTx, MemoryUnit},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Added {
    by: u64,
}

impl Event for Added {
    const TYPE: &'static str = "counter.added";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        String::new()
    }
}

impl EventSet for Added {
    fn message(&self, source: &EventSource) -> Result<Message, Error> {
        source.message(self)
    }
    fn decode(message: &Message) -> Result<Self, Error> {
        one_of(message).event(|event: Self| event).decode()
    }
}

#[derive(Debug, Clone, Default)]
struct Counter(u64);

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counter";
    type Command = u64;
    type Event = Added;
    fn decide(&self, by: u64) -> Result<Vec<Added>, Error> {
        Ok(vec![Added { by }])
    }
    fn evolve(&mut self, event: &Added) {
        self.0 += event.by;
    }
}

/// The command of the tests.
#[derive(Debug, Clone, Serialize)]
struct Add {
    by: u64,
}

/// A database with a counter, and the number of calls of the handler.
#[derive(Clone)]
struct Counters {
    unit: FaultyUnit<MemoryUnit>,
    repository: Repository<Counter, FaultyUnit<MemoryUnit>>,
    calls: Arc<AtomicUsize>,
}

impl Counters {
    fn new() -> Self {
        let unit = FaultyUnit::new(MemoryUnit::new());
        let repository = Repository::new(unit.clone(), EventSource::new("test", Clock::system()));
        Self { unit, repository, calls: Arc::default() }
    }

    /// Adds to the counter, and returns its value.
    async fn add(self, request: CommandRequest<Add>, mut tx: Scoped<MemoryTx>) -> Result<u64, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let counter = self.repository.audited(request.caller.audit());
        Ok(counter.execute(&mut tx, "1", request.command.by).await?.state.0)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn value(&self) -> u64 {
        let mut tx = self.unit.begin().await.unwrap();
        self.repository.load(&mut tx, "1").await.unwrap().state.0
    }
}

fn user(id: &str) -> Caller {
    Caller::new(AuthType::AppUser, id)
}

fn add(by: u64) -> CommandRequest<Add> {
    CommandRequest::new(user("ann"), Add { by })
}
