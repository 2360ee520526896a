//! A worker on a manual clock, which is polled only when it was woken.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::{
    super::*,
    batch_script::ScriptedBatch,
    script::{Plan, Scripted, Shared},
};
use crate::{
    Delivery, Message, MessageParts, Position,
    clock::Clock,
    transport::{AttemptConfig, BoxBatchHandler, BoxHandler, Budget},
};

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
        let processor = Processor::new(handler, attempts, clock.clone(), "test");
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

    /// Stops the worker. Its owner polls afterwards.
    pub(super) fn stop(&mut self) {
        self.worker.stop();
        self.woken.0.store(true, SeqCst);
    }

    /// Opens the gate for the attempts that wait now.
    pub(super) fn open(&self) {
        let gates = self.world.lock().open();
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
