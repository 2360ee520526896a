//! A worker whose handler follows a script, and which is polled only when it was woken.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tower_service::Service;

use super::{super::*, batch_script::ScriptedBatch};
use crate::{
    Delivery, Error, ErrorKind, Message, MessageParts, Outcome, Position,
    clock::Clock,
    transport::{AttemptConfig, BoxBatchHandler, BoxHandler, Budget},
};

/// The course of one attempt. An attempt without a plan succeeds at its first poll.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Plan {
    Done,
    Err(ErrorKind),
    /// Succeeds when the gate is opened.
    Wait,
    /// Fails when the gate is opened.
    WaitAndFail(ErrorKind),
    WaitAndPanicInDrop,
    /// The service is ready when the gate is opened.
    NotReady,
    /// Never ends by itself.
    Stuck,
    PanicInCall,
    PanicInPoll,
    PanicInDrop,
    /// Fails the whole batch.
    FailBatch(ErrorKind),
    WaitAndFailBatch(ErrorKind),
}

impl Plan {
    const fn waits(self) -> bool {
        matches!(
            self,
            Self::Wait | Self::WaitAndFail(_) | Self::WaitAndFailBatch(_) | Self::WaitAndPanicInDrop
        )
    }

    pub(super) const fn panics_in_drop(self) -> bool {
        matches!(self, Self::PanicInDrop | Self::WaitAndPanicInDrop)
    }
}

/// What the handler is to do, and what it has done.
#[derive(Default)]
pub(super) struct World {
    plans: HashMap<u64, VecDeque<Plan>>,
    gates: Vec<Waker>,
    open: u64,
    pub(super) calls: Vec<u64>,
    /// The deliveries of each call of the batch handler.
    pub(super) batches: Vec<Vec<u64>>,
    /// The deliveries that succeeded. A panic in the drop of the future rolls back.
    pub(super) effects: Vec<u64>,
    running: HashMap<String, u32>,
    pub(super) violations: Vec<String>,
    /// The plan of the next readiness: set before a delivery is pushed, because `poll_ready` has no delivery.
    not_ready: bool,
}

#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(super) fn running(&self) -> u32 {
        self.lock().running.values().sum()
    }
}

#[derive(Clone)]
struct Scripted(Shared);

impl Service<Delivery> for Scripted {
    type Response = Outcome;
    type Error = Error;
    type Future = Scene;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.lock().ready(cx.waker())
    }

    fn call(&mut self, delivery: Delivery) -> Scene {
        let (tag, key) = identity(&delivery);
        let mut world = self.0.lock();
        let plan = world.call(tag);
        if plan == Plan::PanicInCall {
            drop(world);
            resume_unwind(Box::new("in call"));
        }
        world.enter(&key);
        let born = world.open;
        drop(world);
        Scene { world: self.0.clone(), tag, key, plan, born }
    }
}

/// Returns the tag and the key of a delivery. A delivery without a key has a key of its own here.
pub(super) fn identity(delivery: &Delivery) -> (u64, String) {
    let tag = delivery.position.offset.unwrap() as u64;
    (tag, delivery.message.key().map_or_else(|| format!("tag {tag}"), |key| format!("{key:?}")))
}

impl World {
    pub(super) fn ready(&mut self, waker: &Waker) -> Poll<Result<(), Error>> {
        if self.not_ready {
            self.gates.push(waker.clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Records a call, and returns its plan.
    pub(super) fn call(&mut self, tag: u64) -> Plan {
        self.calls.push(tag);
        self.plans.get_mut(&tag).and_then(VecDeque::pop_front).unwrap_or(Plan::Done)
    }

    pub(super) fn enter(&mut self, key: &str) {
        let running = self.running.entry(key.to_owned()).or_default();
        *running += 1;
        if *running > 1 {
            self.violations.push(format!("two calls of {key} run at the same time"));
        }
    }

    pub(super) fn leave(&mut self, key: &str) {
        *self.running.get_mut(key).unwrap() -= 1;
    }

    /// Returns whether an attempt with `plan` that began after `born` openings of the gate waits.
    pub(super) fn waits(&mut self, plan: Plan, born: u64, waker: &Waker) -> bool {
        let waits = plan == Plan::Stuck || plan.waits() && self.open == born;
        if waits {
            self.gates.push(waker.clone());
        }
        waits
    }

    /// Returns the result of an attempt that ends.
    pub(super) fn result(&mut self, tag: u64, plan: Plan) -> Result<Outcome, Error> {
        if let Plan::Err(kind)
        | Plan::WaitAndFail(kind)
        | Plan::FailBatch(kind)
        | Plan::WaitAndFailBatch(kind) = plan
        {
            return Err(Error::new(kind, "no"));
        }
        if !plan.panics_in_drop() {
            self.effects.push(tag);
        }
        Ok(Outcome::Done)
    }

    pub(super) const fn opened(&self) -> u64 {
        self.open
    }
}

struct Scene {
    world: Shared,
    tag: u64,
    key: String,
    plan: Plan,
    /// The number of openings of the gate before this attempt.
    born: u64,
}

impl Future for Scene {
    type Output = Result<Outcome, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut world = self.world.lock();
        if world.waits(self.plan, self.born, cx.waker()) {
            return Poll::Pending;
        }
        if self.plan == Plan::PanicInPoll {
            drop(world);
            resume_unwind(Box::new("in poll"));
        }
        Poll::Ready(world.result(self.tag, self.plan))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.world.lock().leave(&self.key);
        if self.plan.panics_in_drop() {
            resume_unwind(Box::new("in drop"));
        }
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// A worker with a scripted handler on a manual clock.
pub(super) struct Rig {
    pub(super) worker: Worker,
    pub(super) world: Shared,
    pub(super) budget: Budget,
    pub(super) clock: Clock,
    pub(super) holds: crate::transport::Holds,
    woken: Arc<Flag>,
}

impl Rig {
    pub(super) fn new(config: WorkerConfig) -> Self {
        Self::with(AttemptConfig { max_attempts: 3, ..AttemptConfig::default() }, config)
    }

    pub(super) fn with(attempts: AttemptConfig, config: WorkerConfig) -> Self {
        let (world, clock) = (Shared::default(), Clock::manual(Duration::from_secs(1)));
        let handler = BoxHandler::new(Scripted(world.clone()));
        let processor = Processor::new(handler, attempts, clock.clone(), "test");
        Self::of(processor, world, clock, config)
    }

    /// Creates a rig with a batch handler.
    pub(super) fn batch(attempts: AttemptConfig, config: WorkerConfig) -> Self {
        let (world, clock) = (Shared::default(), Clock::manual(Duration::from_secs(1)));
        let handler = BoxBatchHandler::new(ScriptedBatch(world.clone()));
        let processor = Processor::batch(handler, attempts, clock.clone(), "test");
        Self::of(processor, world, clock, config)
    }

    fn of(processor: Processor, world: Shared, clock: Clock, config: WorkerConfig) -> Self {
        let holds = processor.holds().clone();
        let budget = config.budget.clone();
        let woken = Arc::new(Flag(true.into()));
        Self { worker: Worker::new(processor, config), world, budget, clock, holds, woken }
    }

    /// Pushes a delivery whose attempts follow `plans`, and returns its settlement.
    pub(super) fn push<'a>(
        &mut self,
        tag: u64,
        key: impl Into<Option<&'a str>>,
        plans: impl IntoIterator<Item = Plan>,
    ) -> Option<String> {
        let plans: VecDeque<_> = plans.into_iter().collect();
        {
            let mut world = self.world.lock();
            world.not_ready |= plans.front() == Some(&Plan::NotReady);
            world.plans.insert(tag, plans.into_iter().filter(|plan| *plan != Plan::NotReady).collect());
        }
        self.push_delivery(delivery(tag, key.into(), MessageParts::default()), tag)
    }

    /// Pushes `delivery`, and returns its settlement.
    pub(super) fn push_delivery(&mut self, delivery: Delivery, tag: u64) -> Option<String> {
        let waker = Waker::from(self.woken.clone());
        // The inline poll may have stored this waker, so the owner polls after its pushes.
        self.woken.0.store(true, SeqCst);
        let settled = self.worker.push(delivery, tag, &mut Context::from_waker(&waker));
        settled.map(|settled| {
            assert_eq!(settled.tag, tag);
            text(&settled.result)
        })
    }

    /// Polls the worker once, whether it was woken or not.
    pub(super) fn polled(&mut self) -> Poll<Option<String>> {
        self.woken.0.store(false, SeqCst);
        let waker = Waker::from(self.woken.clone());
        let polled = self.worker.poll_settled(&mut Context::from_waker(&waker));
        let violations = std::mem::take(&mut self.world.lock().violations);
        assert!(violations.is_empty(), "{violations:?}");
        if polled.is_ready() {
            self.woken.0.store(true, SeqCst);
        }
        polled.map(|settled| settled.map(|settled| format!("{} {}", settled.tag, text(&settled.result))))
    }

    /// Polls for as long as the worker settles deliveries or has been woken.
    pub(super) fn settled(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while self.woken.0.load(SeqCst) {
            match self.polled() {
                Poll::Ready(Some(settled)) => all.push(settled),
                Poll::Ready(None) => break,
                Poll::Pending => {}
            }
        }
        all
    }

    /// Moves the clock and opens the gate until the worker is empty, for a day at most.
    pub(super) fn drain(&mut self) -> Vec<String> {
        let mut all = self.settled();
        for _ in 0..24 * 60 * 6 {
            if self.worker.is_empty() {
                return all;
            }
            self.clock.advance(Duration::from_secs(10));
            self.open();
            all.extend(self.settled());
        }
        panic!("{} deliveries are never settled: {all:?}", self.worker.len());
    }

    /// Moves the clock, and returns what is settled then.
    pub(super) fn after(&mut self, time: Duration) -> Vec<String> {
        self.clock.advance(time);
        self.settled()
    }

    /// Opens the gate for the attempts that wait now.
    pub(super) fn open(&self) {
        let gates = {
            let mut world = self.world.lock();
            world.open += 1;
            world.not_ready = false;
            std::mem::take(&mut world.gates)
        };
        gates.into_iter().for_each(Waker::wake);
    }

    /// Makes the service ready, and wakes nothing.
    pub(super) fn ready_without_a_wake(&self) {
        self.world.lock().not_ready = false;
    }

    pub(super) fn is_woken(&self) -> bool {
        self.woken.0.load(SeqCst)
    }

    pub(super) fn calls(&self) -> Vec<u64> {
        self.world.lock().calls.clone()
    }
}

pub(super) fn text(settlement: &Settlement) -> String {
    match settlement {
        Settlement::Done(outcome) => outcome.as_str().to_owned(),
        Settlement::DeadLettered => "dead-lettered".into(),
        Settlement::Refused { error, attempts } => format!("refused {} {attempts}", error.kind),
        Settlement::Held { error, attempts } => format!("held {} {attempts}", error.kind),
        Settlement::Behind(_) => "behind".into(),
        Settlement::Abandoned => "abandoned".into(),
        Settlement::Stopped(error) => format!("stopped {}", error.kind),
    }
}

/// Returns a delivery with the identity `tag`, and otherwise of `parts`.
pub(super) fn delivery(tag: u64, key: Option<&str>, parts: MessageParts<'_>) -> Delivery {
    let id = tag.to_string();
    let key = key.map(str::as_bytes);
    let message = Message::new(MessageParts { source: "s", id: &id, topic: "t", key, ..parts });
    Delivery::new(message, "g").at(Position::at(0, tag as i64))
}
