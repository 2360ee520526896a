//! A subscribed topic: its handler, its metrics, and whether it is paused.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use metrics::Counter;

use comms_core::{telemetry, transport::Processor};

/// A topic of a consumer, shared by its assignments.
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) processor: Processor,
    pub(super) consumed: Counter,
    paused: AtomicBool,
}

impl Topic {
    pub(super) fn new(name: Arc<str>, processor: Processor, group: &str) -> Self {
        let labels = [
            ("messaging.system", "kafka".to_owned()),
            ("messaging.destination.name", name.to_string()),
            ("messaging.consumer.group.name", group.to_owned()),
        ];
        let consumed = metrics::counter!(telemetry::CONSUMED_MESSAGES, &labels);
        Self { name, processor, consumed, paused: AtomicBool::new(false) }
    }

    /// Returns whether the runners of the topic poll no records.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    #[cfg(test)]
    pub(super) fn of_test(name: &str) -> Self {
        use comms_core::{Delivery, Outcome, clock::Clock, handler_fn, transport};
        let handler = transport::BoxHandler::new(handler_fn(|_: Delivery| async { Ok(Outcome::Done) }));
        let config = transport::AttemptConfig::default();
        Self::new(name.into(), Processor::new(handler, config, Clock::system(), "kafka"), "group")
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name).finish()
    }
}
