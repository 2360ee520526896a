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

use super::super::*;
use crate::{
    Error, ErrorKind, MessageParts, Position,
    clock::Clock,
    transport::{AttemptConfig, BoxHandler, Budget},
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
}

/// What the handler is to do, and what it has done.
#[derive(Default)]
pub(super) struct World {
    plans: HashMap<u64, VecDeque<Plan>>,
    gates: Vec<Waker>,
    open: u64,
    pub(super) calls: Vec<u64>,
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
        let mut world = self.0.lock();
        if world.not_ready {
            world.gates.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Delivery) -> Scene {
        let tag = delivery.position.offset.unwrap() as u64;
        // A delivery without a key has a key of its own here.
        let key = delivery.message.key().map_or_else(|| format!("tag {tag}"), |key| format!("{key:?}"));
        let mut world = self.0.lock();
        world.calls.push(tag);
        let plan = world.plans.get_mut(&tag).and_then(VecDeque::pop_front).unwrap_or(Plan::Done);
        if plan == Plan::PanicInCall {
            drop(world);
            resume_unwind(Box::new("in call"));
        }
        let running = world.running.entry(key.clone()).or_default();
        *running += 1;
        if *running > 1 {
            world.violations.push(format!("{tag} of {key} runs beside another one"));
        }
        let born = world.open;
        drop(world);
        Scene { world: self.0.clone(), key, plan, born }
    }
}

struct Scene {
    world: Shared,
    key: String,
    plan: Plan,
    /// The number of openings of the gate before this attempt.
    born: u64,
}

impl Future for Scene {
    type Output = Result<Outcome, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut world = self.world.lock();
        let waits = matches!(self.plan, Plan::Wait | Plan::WaitAndFail(_) | Plan::WaitAndPanicInDrop);
        if self.plan == Plan::Stuck || waits && world.open == self.born {
            world.gates.push(cx.waker().clone());
            return Poll::Pending;
        }
        drop(world);
        match self.plan {
            Plan::Err(kind) | Plan::WaitAndFail(kind) => Poll::Ready(Err(Error::new(kind, "no"))),
            Plan::PanicInPoll => resume_unwind(Box::new("in poll")),
            _ => Poll::Ready(Ok(Outcome::Done)),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        *self.world.lock().running.get_mut(&self.key).unwrap() -= 1;
        if matches!(self.plan, Plan::PanicInDrop | Plan::WaitAndPanicInDrop) {
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
        let (id, key) = (tag.to_string(), key.into());
        let message = Message::new(MessageParts {
            source: "s",
            id: &id,
            topic: "t",
            key: key.map(str::as_bytes),
            ..MessageParts::default()
        });
        let delivery = Delivery::new(message, "g").at(Position::at(0, tag as i64));
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
