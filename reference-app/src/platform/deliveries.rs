//! The deliveries that wait in this process: held by its consumers, held or parked by its relays.

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

use super::{db::Db, key};

/// The consumers and relays of this process. Clones share the list.
#[derive(Clone, Default)]
pub struct Deliveries(Arc<Mutex<Parts>>);

#[derive(Default)]
struct Parts {
    consumers: Vec<Holds>,
    relays: Vec<RelayTables>,
}

/// The tables of one relay.
#[derive(Clone)]
pub struct RelayTables {
    service: &'static str,
    name: String,
    db: Db,
}

/// Everything that waits, without payloads and headers.
#[derive(Serialize)]
pub struct Waiting {
    consumers: Vec<HeldDelivery>,
    relays: Vec<WaitingRelay>,
}

/// A delivery that a consumer holds. It goes on by itself when its cause is gone.
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

#[derive(Serialize)]
struct WaitingRelay {
    service: &'static str,
    relay: String,
    branches: Vec<ShownBranch>,
    parked: Vec<ParkedMessage>,
    /// Why the tables could not be read; both lists are empty then.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<String>,
}

/// A destination apart from the main position: held with a reason, catching up, or named by no process.
#[derive(Serialize)]
struct ShownBranch {
    topic: String,
    since: String,
    kind: Option<String>,
    reason: Option<String>,
}

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

impl Deliveries {
    /// Adds the holds of a consumer.
    pub fn add_consumer(&self, holds: Holds) {
        self.lock().consumers.push(holds);
    }

    /// Adds the relay `name` of a service's outbox.
    pub fn add_relay(&self, service: &'static str, name: &str, db: Db) {
        self.lock().relays.push(RelayTables { service, name: name.to_owned(), db });
    }

    /// What waits. A relay whose database does not answer is listed with the reason.
    pub async fn waiting(&self) -> Waiting {
        let (holds, relays) = {
            let parts = self.lock();
            (parts.consumers.iter().flat_map(Holds::list).collect::<Vec<_>>(), parts.relays.clone())
        };
        let mut waiting =
            Waiting { consumers: holds.iter().map(HeldDelivery::of).collect(), relays: Vec::new() };
        for relay in relays {
            waiting.relays.push(relay.waiting().await);
        }
        waiting
    }

    /// The relay `name` of `service`.
    ///
    /// # Errors
    /// Returns `NotFound` with the names that there are.
    pub fn relay(&self, service: &str, name: &str) -> Result<RelayTables, Error> {
        let parts = self.lock();
        let found = parts.relays.iter().find(|relay| relay.service == service && relay.name == name);
        found.cloned().ok_or_else(|| {
            let names = parts.relays.iter().map(|relay| format!("{}/{}", relay.service, relay.name));
            Error::not_found(format!(
                "no relay {service}/{name} here; there are {:?}",
                names.collect::<Vec<_>>()
            ))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RelayTables {
    /// Releases the parked messages of `key` (`None`: those without a key). Returns how many.
    ///
    /// # Errors
    /// Those of [`Db::release`].
    pub async fn release(&self, key: Option<&[u8]>) -> Result<u64, Error> {
        self.db.release(&self.name, key).await
    }

    async fn waiting(self) -> WaitingRelay {
        let read = async {
            let branches = self.db.branches(&self.name).await?;
            Ok::<_, Error>((branches, self.db.parked(&self.name).await?))
        };
        let read = read.await;
        let unavailable = read.as_ref().err().map(|error| error.chain().to_string());
        let (branches, parked) = read.unwrap_or_default();
        WaitingRelay {
            service: self.service,
            relay: self.name,
            branches: branches.into_iter().map(ShownBranch::of).collect(),
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
            key: hold.key.as_deref().map(key::show),
            since: rfc3339(since),
            kind: hold.kind.as_str(),
            reason: hold.reason.clone(),
            attempts: hold.attempts,
        }
    }
}

impl ShownBranch {
    fn of(branch: Branch) -> Self {
        Self {
            topic: branch.destination,
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
            key: parked.key.as_deref().map(key::show),
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
