//! A subscribed topic: its handler, and whether it is paused.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use comms_core::transport::Processor;

/// A topic of a consumer, shared by its assignments.
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) processor: Processor,
    paused: AtomicBool,
}

impl Topic {
    pub(super) const fn new(name: Arc<str>, processor: Processor) -> Self {
        Self { name, processor, paused: AtomicBool::new(false) }
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
        Self::new(name.into(), Processor::new(handler, config, Clock::system(), "kafka"))
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name).finish()
    }
}
