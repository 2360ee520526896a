//! A handler that follows a script.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use tower_service::Service;

use crate::{Delivery, Error, ErrorKind, Outcome};

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
    pub(super) plans: HashMap<u64, VecDeque<Plan>>,
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
    pub(super) not_ready: bool,
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
pub(super) struct Scripted(pub(super) Shared);

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
    /// Opens the gate, and returns the attempts that wait at it.
    pub(super) fn open(&mut self) -> Vec<Waker> {
        self.open += 1;
        self.not_ready = false;
        std::mem::take(&mut self.gates)
    }

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

pub(super) struct Scene {
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
