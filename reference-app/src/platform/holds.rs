//! The registry of held and parked messages, for `/holds` of the admin listener.
//!
//! A consumer holds a delivery whose cause of failure is outside the message. A relay holds or parks a message that
//! its publisher refused.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use comms_core::{
    Error,
    clock::rfc3339,
    transport::{Hold, Holds},
};
use comms_outbox::{Branch, Parked};
use serde::Serialize;

use super::{db::Db, message_key};

/// The hold lists of this process's consumers, and the tables of its relays. Clones share them.
#[derive(Clone, Default)]
pub struct HoldRegistry(Arc<Mutex<Registered>>);

#[derive(Default)]
struct Registered {
    consumers: Vec<Holds>,
    relays: Vec<RelayHandle>,
}

/// Access to the tables of one relay.
#[derive(Clone)]
pub struct RelayHandle {
    service: &'static str,
    name: String,
    db: Db,
}

/// All held and parked messages, without payloads and headers.
#[derive(Serialize)]
pub struct HoldReport {
    consumers: Vec<HeldDelivery>,
    relays: Vec<RelayReport>,
}

/// A delivery that a consumer holds until the cause is gone.
#[derive(Serialize)]
struct HeldDelivery {
    group: String,
    topic: String,
    key: Option<String>,
    since: String,
    kind: &'static str,
    reason: String,
    attempts: u32,
}

/// The branches and parked messages of one relay.
#[derive(Serialize)]
struct RelayReport {
    service: &'static str,
    relay: String,
    branches: Vec<ReportedBranch>,
    parked: Vec<ParkedMessage>,
    /// The reason why the tables could not be read. Both lists are empty then.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<String>,
}

/// A topic that is delivered apart from the relay's main position: held with a reason, catching up, or not named by
/// the process with the lease.
#[derive(Serialize)]
struct ReportedBranch {
    topic: String,
    since: String,
    kind: Option<String>,
    reason: Option<String>,
}

/// A message that a relay keeps back.
#[derive(Serialize)]
struct ParkedMessage {
    topic: String,
    key: Option<String>,
    source: String,
    id: String,
    event_type: Option<String>,
    state: &'static str,
    since: String,
    kind: Option<String>,
    reason: String,
    attempts: u32,
}

impl HoldRegistry {
    /// Adds the hold list of a consumer.
    pub fn add_consumer(&self, holds: Holds) {
        self.lock().consumers.push(holds);
    }

    /// Adds the relay `name` of a service's outbox.
    pub fn add_relay(&self, service: &'static str, name: &str, db: Db) {
        self.lock().relays.push(RelayHandle { service, name: name.to_owned(), db });
    }

    /// Returns all held and parked messages. If the database of a relay does not answer, the report contains the
    /// reason.
    pub async fn report(&self) -> HoldReport {
        let (holds, relays) = {
            let registered = self.lock();
            (registered.consumers.iter().flat_map(Holds::list).collect::<Vec<_>>(), registered.relays.clone())
        };
        let mut report =
            HoldReport { consumers: holds.iter().map(HeldDelivery::of).collect(), relays: Vec::new() };
        for relay in relays {
            report.relays.push(relay.report().await);
        }
        report
    }

    /// Returns the relay `name` of `service`.
    ///
    /// # Errors
    /// Returns `NotFound`, with the names of the relays, if this process has no such relay.
    pub fn relay(&self, service: &str, name: &str) -> Result<RelayHandle, Error> {
        let registered = self.lock();
        let found = registered.relays.iter().find(|relay| relay.service == service && relay.name == name);
        found.cloned().ok_or_else(|| {
            let names = registered.relays.iter().map(|relay| format!("{}/{}", relay.service, relay.name));
            Error::not_found(format!(
                "no relay {service}/{name} in this process; the relays are {:?}",
                names.collect::<Vec<_>>()
            ))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RelayHandle {
    /// Releases the parked messages with the key `key`, and returns their number. `None` releases the messages
    /// without a key.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet. Otherwise returns the kind that
    /// [`sql_error`](comms_outbox::sql_error) derives from the database's error.
    pub async fn release(&self, key: Option<&[u8]>) -> Result<u64, Error> {
        self.db.release(&self.name, key).await
    }

    async fn report(self) -> RelayReport {
        let read = async {
            let branches = self.db.branches(&self.name).await?;
            Ok::<_, Error>((branches, self.db.parked(&self.name).await?))
        };
        let read = read.await;
        let unavailable = read.as_ref().err().map(|error| error.chain().to_string());
        let (branches, parked) = read.unwrap_or_default();
        RelayReport {
            service: self.service,
            relay: self.name,
            branches: branches.into_iter().map(ReportedBranch::of).collect(),
            parked: parked.into_iter().map(ParkedMessage::of).collect(),
            unavailable,
        }
    }
}

impl HeldDelivery {
    fn of(hold: &Hold) -> Self {
        let since = hold.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            group: hold.group.to_string(),
            topic: hold.topic.to_string(),
            key: hold.key.as_deref().map(message_key::to_text),
            since: rfc3339(since),
            kind: hold.kind.as_str(),
            reason: hold.reason.clone(),
            attempts: hold.attempts,
        }
    }
}

impl ReportedBranch {
    fn of(branch: Branch) -> Self {
        Self {
            topic: branch.topic,
            since: rfc3339(branch.since),
            kind: branch.error_kind,
            reason: branch.error,
        }
    }
}

impl ParkedMessage {
    fn of(parked: Parked) -> Self {
        Self {
            topic: parked.topic,
            key: parked.key.as_deref().map(message_key::to_text),
            source: parked.source,
            id: parked.id,
            event_type: parked.event_type,
            state: parked.state.as_str(),
            since: rfc3339(parked.parked_at),
            kind: parked.error_kind,
            reason: parked.error,
            attempts: parked.attempts,
        }
    }
}
