//! Takes a delivery that failed once, or that is held, to its settlement.

use std::sync::atomic::AtomicBool;
use tokio::sync::watch;

use super::{config::WorkerConfig, settlement::Settlement};
use crate::{
    Delivery, Error,
    transport::{
        Processor,
        processor::{Rules, Verdict},
    },
};

/// The parts that a worker shares with its slow deliveries.
pub(super) struct Shared {
    pub(super) processor: Processor,
    pub(super) config: WorkerConfig,
    /// The handler blocks its thread, so attempts get tasks of their own.
    pub(super) blocks: AtomicBool,
}

impl Shared {
    /// Returns whether an earlier push of `delivery` was settled as `Held`.
    #[inline]
    pub(super) fn is_held(&self, delivery: &Delivery) -> bool {
        self.processor.config.hold_in_place.is_some() && self.processor.holds().contains(delivery)
    }

    /// Attempts `delivery` until its result is final, and writes its dead letter if need be.
    pub(super) async fn settle(
        &self,
        mut delivery: Delivery,
        failed: Option<Error>,
        mut stopping: watch::Receiver<bool>,
    ) -> Settlement {
        let budget = Some(&self.config.budget);
        let rules = Rules { budget, failure_policy: &self.config.failure_policy, blocks: Some(&self.blocks) };
        let verdict = {
            let stopped = std::pin::pin!(stopped(&mut stopping));
            self.processor.run(&mut delivery, failed, rules, stopped).await
        };
        match verdict {
            Verdict::Done(outcome) => Settlement::Done(outcome),
            Verdict::Held { error, attempts } => Settlement::Held { error, attempts },
            Verdict::Abandoned => Settlement::Abandoned,
            Verdict::Stop(error) => {
                Settlement::Stopped(error.context(format_args!("at {}", delivery.origin())))
            }
            Verdict::DeadLetter { error, attempts } => match &self.config.dead_letters {
                None => Settlement::Refused { error, attempts },
                Some(dead_letters) => {
                    match dead_letters.write(&delivery, &error, attempts, stopped(&mut stopping)).await {
                        Some(_) => Settlement::DeadLettered,
                        None => Settlement::Abandoned,
                    }
                }
            },
        }
    }
}

/// Resolves when the worker is stopped or dropped.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
