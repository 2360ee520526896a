//! What the attempts of a hedged call share.

use std::sync::{
    Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use comms_core::context::Deadline;

/// The state that the attempts of a hedged call share.
pub(in crate::client) struct Hedged {
    /// The deadline that the policy must observe and does not know.
    pub(in crate::client) policy_deadline: Option<Deadline>,
    /// The addresses of the endpoints that the attempts were sent to.
    endpoints: Mutex<Vec<String>>,
    /// Whether an attempt waits for a connection.
    waits: AtomicBool,
    /// The number of the attempt whose result is that of the call.
    decided: OnceLock<u32>,
}

impl Hedged {
    pub(super) fn new(policy_deadline: Option<Deadline>) -> Self {
        let (endpoints, waits) = (Mutex::default(), AtomicBool::new(false));
        Self { policy_deadline, endpoints, waits, decided: OnceLock::new() }
    }

    /// Returns the addresses of the endpoints that the attempts were sent to.
    pub(in crate::client) fn endpoints(&self) -> MutexGuard<'_, Vec<String>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the result of the attempt with `number` is that of the call. The others have lost.
    pub(in crate::client) fn decide(&self, number: u32) {
        self.decided.get_or_init(|| number);
    }

    /// Returns whether an attempt that began after the one with `number` has decided the call.
    pub(in crate::client) fn was_overtaken(&self, number: u32) -> bool {
        self.decided.get().is_some_and(|winner| *winner > number)
    }

    /// Begins the wait of an attempt for a connection, or returns `None` if another attempt waits: a second request would
    /// be sent at the same time as the first one.
    pub(in crate::client) fn wait_for_connection(&self) -> Option<Waiting<'_>> {
        (!self.waits.swap(true, Relaxed)).then(|| Waiting(&self.waits))
    }
}

/// An attempt that waits for a connection, until this value is dropped.
pub(in crate::client) struct Waiting<'a>(&'a AtomicBool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}
