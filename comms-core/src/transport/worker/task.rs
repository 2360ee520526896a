//! Attempts in tasks of their own.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Cx, Poll},
    time::Instant,
};

use tokio::sync::OwnedSemaphorePermit;

use super::pending::AttemptEnd;
use crate::{
    Error,
    handler::Limited,
    transport::{Processor, processor::AbortOnDrop},
};

/// An attempt in a task of its own. Dropping it cancels the task at its next await.
pub(super) struct Task<A: Limited> {
    handle: AbortOnDrop<(A, A::Output)>,
    started: Instant,
}

impl<A, T> Task<A>
where
    A: Limited<Output = Result<T, Error>> + 'static,
    T: Send + 'static,
{
    pub(super) fn spawn(
        runtime: &tokio::runtime::Handle,
        processor: Processor,
        mut attempt: A,
        permit: OwnedSemaphorePermit,
        started: Instant,
    ) -> Self {
        let handle = runtime.spawn(async move {
            let result = processor.timed(&mut attempt).await;
            drop(permit);
            (attempt, result)
        });
        Self { handle: AbortOnDrop(handle), started }
    }

    /// Polls the task. Resolves to `None` if the runtime shuts down.
    pub(super) fn poll(&mut self, cx: &mut Cx<'_>) -> Poll<Option<AttemptEnd<A>>> {
        let started = self.started;
        Pin::new(&mut self.handle.0).poll(cx).map(|joined| {
            joined.ok().map(|(attempt, result)| AttemptEnd {
                attempt,
                result: Some(result),
                started,
                permit: None,
            })
        })
    }
}
