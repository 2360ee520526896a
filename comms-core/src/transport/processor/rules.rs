//! The limits under which a processor attempts a delivery.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::sync::OwnedSemaphorePermit;

use crate::transport::{Budget, FailureDecision};

/// The limits of [`Processor::run`](super::Processor::run).
#[derive(Clone, Copy)]
pub(in crate::transport) struct Rules<'a> {
    /// Limits the running handlers.
    pub(in crate::transport) budget: Option<&'a Budget>,
    /// Decides what becomes of a delivery that failed for good.
    pub(in crate::transport) failure_policy: &'a FailureDecision,
    /// Whether the handler blocks its thread: its attempts get tasks of their own then.
    pub(in crate::transport) blocks: Option<&'a AtomicBool>,
}

impl Rules<'_> {
    pub(super) fn blocks_thread(&self) -> bool {
        self.blocks.is_some_and(|blocks| blocks.load(Ordering::Relaxed))
    }

    /// Waits for a permit of the budget. Returns `None` if `stopping` resolves first.
    pub(super) async fn permit<S: Future<Output = ()>>(
        &self,
        stopping: Pin<&mut S>,
    ) -> Option<Option<OwnedSemaphorePermit>> {
        let Some(budget) = self.budget else { return Some(None) };
        tokio::select! {
            biased;
            () = stopping => None,
            permit = budget.permit() => Some(permit),
        }
    }
}
