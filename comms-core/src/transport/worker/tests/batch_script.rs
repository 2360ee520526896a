//! A batch handler that follows a script.

use std::{
    collections::BTreeSet,
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll},
};

use tower_service::Service;

use super::script::{Plan, Shared, identity};
use crate::{BatchResults, Delivery, Error};

#[derive(Clone)]
pub(super) struct ScriptedBatch(pub(super) Shared);

/// One call. Each delivery follows its plan, and waits behind a failed one of its key.
pub(super) struct BatchScene {
    world: Shared,
    deliveries: Vec<(u64, String, Plan)>,
    born: u64,
}

impl Service<Vec<Delivery>> for ScriptedBatch {
    type Response = BatchResults;
    type Error = Error;
    type Future = BatchScene;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.lock().ready(cx.waker())
    }

    fn call(&mut self, batch: Vec<Delivery>) -> BatchScene {
        let mut world = self.0.lock();
        let deliveries: Vec<_> =
            batch.iter().map(identity).map(|(tag, key)| (tag, key, world.call(tag))).collect();
        world.batches.push(deliveries.iter().map(|(tag, ..)| *tag).collect());
        if deliveries.iter().any(|(_, _, plan)| *plan == Plan::PanicInCall) {
            drop(world);
            resume_unwind(Box::new("in call"));
        }
        let scene = BatchScene { world: self.0.clone(), deliveries, born: world.opened() };
        scene.keys().iter().for_each(|key| world.enter(key));
        scene
    }
}

impl BatchScene {
    fn keys(&self) -> BTreeSet<&str> {
        self.deliveries.iter().map(|(_, key, _)| &**key).collect()
    }
}

impl Future for BatchScene {
    type Output = Result<BatchResults, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut world = self.world.lock();
        if self.deliveries.iter().any(|(_, _, plan)| world.waits(*plan, self.born, cx.waker())) {
            return Poll::Pending;
        }
        let plans = || self.deliveries.iter().map(|(_, _, plan)| *plan);
        if plans().any(|plan| plan == Plan::PanicInPoll) {
            drop(world);
            resume_unwind(Box::new("in poll"));
        }
        for plan in plans() {
            if let Plan::FailBatch(kind) | Plan::WaitAndFailBatch(kind) = plan {
                return Poll::Ready(Err(Error::new(kind, "the batch")));
            }
        }
        let rolls_back = plans().any(Plan::panics_in_drop);
        let mut failed = BTreeSet::new();
        let results = self.deliveries.iter().map(|(tag, key, plan)| {
            if failed.contains(key) {
                return Err(Error::not_executed("behind"));
            }
            let plan = if rolls_back { Plan::PanicInDrop } else { *plan };
            let result = world.result(*tag, plan);
            failed.extend(result.is_err().then_some(key));
            result
        });
        Poll::Ready(Ok(results.collect()))
    }
}

impl Drop for BatchScene {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        self.keys().iter().for_each(|key| world.leave(key));
        drop(world);
        if self.deliveries.iter().any(|(_, _, plan)| plan.panics_in_drop()) {
            resume_unwind(Box::new("in drop"));
        }
    }
}
