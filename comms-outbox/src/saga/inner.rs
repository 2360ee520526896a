//! What all transactions of a coordinator share.

use std::time::Duration;

use comms_core::{
    Error,
    clock::Clock,
    context::Context,
    event::EventSource,
    health,
    resilience::Backoff,
    saga::{Definitions, Effect},
};
use futures::future::BoxFuture;
use tokio::sync::Notify;

use super::{RunChange, RunId, SagaStore, context, report::Reporter};

/// The application's writes after a change of a run.
pub(super) type OnTransition<Tx> =
    Box<dyn for<'a> Fn(&'a [RunChange], &'a mut Tx) -> BoxFuture<'a, Result<(), Error>> + Send + Sync>;

/// Settings of a coordinator, checked by its builder.
pub(super) struct Settings {
    pub(super) poll_interval: Duration,
    pub(super) page: u32,
    pub(super) concurrency: usize,
    pub(super) sweep_interval: Duration,
    pub(super) early_retention: Duration,
    pub(super) backoff: Backoff,
    pub(super) heartbeat: Option<health::Heartbeat>,
}

/// Settings and collaborators, which all transactions use.
pub(super) struct Inner<U: SagaStore> {
    pub(super) store: U,
    pub(super) events: EventSource,
    pub(super) definitions: Definitions,
    pub(super) on_transition: Option<OnTransition<U::Tx>>,
    pub(super) settings: Settings,
    /// Ends the pause of the timer loop.
    pub(super) wake: Notify,
    pub(super) reporter: Reporter,
}

impl<U: SagaStore> Inner<U> {
    pub(super) fn clock(&self) -> &Clock {
        self.events.clock()
    }

    /// Returns `context` with everything that the commands of `run` carry.
    pub(super) fn complete(&self, context: Context, run: &RunId) -> Context {
        context::complete(context, run, self.clock())
    }

    /// Reports committed changes, and ends the pause of the timer loop if one of them set an early timer.
    pub(super) fn committed(&self, changes: &[RunChange]) {
        let is_early = |effect: &Effect| match effect {
            Effect::SetTimer(_, after) => *after < self.settings.poll_interval,
            _ => false,
        };
        for change in changes {
            self.reporter.transition(change);
        }
        if changes.iter().flat_map(|change| &change.effects).any(is_early) {
            self.wake.notify_one();
        }
    }
}
