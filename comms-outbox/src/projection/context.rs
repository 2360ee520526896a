//! Settings and collaborators of a projection, which its sessions use.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use comms_core::{Error, Scoped, clock::Clock, event_sourcing::Recorded, health, resilience::Backoff};

use super::{
    feed::{Feed, Tx},
    status::Reporter,
};
use crate::CommitSignal;

/// The function that applies a batch of events.
pub(super) type Apply<F> = Box<
    dyn Fn(Vec<Recorded>, Scoped<Tx<F>>) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>
        + Send
        + Sync,
>;

/// Settings of a projection, checked by its builder.
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) revision: u32,
    /// The name of the cursor.
    pub(super) cursor: Arc<str>,
    /// Sorted.
    pub(super) categories: Option<Arc<[String]>>,
    pub(super) owner: String,
    pub(super) lease: Duration,
    pub(super) max_events: u32,
    pub(super) max_bytes: usize,
    pub(super) max_attempts: u32,
    pub(super) poll_interval: Duration,
    pub(super) commit_signal: CommitSignal,
    pub(super) backoff: Backoff,
    pub(super) clock: Clock,
    pub(super) heartbeat: Option<health::Heartbeat>,
}

/// Everything that a session uses and does not own.
pub(super) struct Context<F: Feed> {
    pub(super) feed: Arc<F>,
    pub(super) settings: Settings,
    pub(super) apply: Apply<F>,
    pub(super) reporter: Reporter,
}

impl<F: Feed> Context<F> {
    pub(super) fn beat(&self) {
        if let Some(heartbeat) = &self.settings.heartbeat {
            heartbeat.beat();
        }
    }
}
