//! Who the client of a connection is, and when it was last heard of.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use uuid::Uuid;

/// The client of a connection.
pub(crate) struct Peer {
    /// The identity of the session for its client and in logs.
    pub(crate) name: Uuid,
    principal: Mutex<Option<Arc<str>>>,
    /// When the client last sent a frame, in milliseconds of the hub.
    heard: AtomicU64,
    /// The time at which the session ends, in seconds after the Unix epoch.
    expires: AtomicU64,
}

impl Peer {
    pub(super) fn new(name: Uuid, principal: Option<Arc<str>>, expires: u64, now: u64) -> Self {
        Self { name, principal: Mutex::new(principal), heard: now.into(), expires: expires.into() }
    }

    /// Returns the principal, or `None` if the client has not authenticated.
    pub(crate) fn principal(&self) -> Option<Arc<str>> {
        self.lock().clone()
    }

    pub(crate) fn set_principal(&self, principal: &Arc<str>) {
        *self.lock() = Some(principal.clone());
    }

    /// Returns the end of the session in seconds after the Unix epoch, or the largest number if it has none.
    pub(crate) fn expires(&self) -> u64 {
        self.expires.load(Relaxed)
    }

    pub(crate) fn set_expires(&self, unix_seconds: u64) {
        self.expires.store(unix_seconds, Relaxed);
    }

    /// Notes that the client has sent something at `now`, in milliseconds of the hub.
    pub(crate) fn heard_at(&self, now: u64) {
        self.heard.store(now, Relaxed);
    }

    /// Notes that the session does not read, until [`heard_at`](Self::heard_at): no silence counts meanwhile.
    pub(crate) fn pause(&self) {
        self.heard.store(u64::MAX, Relaxed);
    }

    /// Returns for how long the client has sent nothing until `now`.
    pub(crate) fn silence(&self, now: u64) -> Duration {
        Duration::from_millis(now.saturating_sub(self.heard.load(Relaxed)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.principal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
