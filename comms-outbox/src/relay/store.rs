//! What the relay asks of a database: the loop is written once, over this.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use comms_core::{Error, Message, async_trait};

use crate::parked::Refusal;

/// What keeps its order: a topic and a key.
pub(crate) type Lane = (Arc<str>, Bytes);

/// Where reading stands. Opaque to the loop; only the backend knows what comes after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// PostgreSQL: the snapshot whose rows are all done. Empty in SQLite.
    pub(crate) snap: String,
    /// PostgreSQL: the snapshot that is being read, where a page of it was cut off.
    pub(crate) window: Option<String>,
    /// The last row done: of the window in PostgreSQL, of all in SQLite.
    pub(crate) last_id: i64,
    /// PostgreSQL: least and greatest id of the window's new rows; found again where it is not known.
    pub(crate) bounds: Option<(i64, i64)>,
}

/// A committed message.
#[derive(Debug)]
pub struct Row {
    pub(crate) id: i64,
    /// By the database's clock, when it was read.
    pub(crate) age: Duration,
    pub(crate) message: Message,
}

/// Rows in their order, and where reading stands once they are done. Empty: nothing new.
#[derive(Debug)]
pub struct Page {
    pub(crate) rows: Vec<Row>,
    pub(crate) after: Position,
}

/// A lease that was had.
#[derive(Debug)]
pub struct Lease {
    pub(crate) epoch: i64,
    pub(crate) position: Position,
}

/// Who writes to the cursor: nothing is written once another epoch stands there.
#[derive(Debug, Clone)]
pub struct Holder {
    pub(crate) relay: Arc<str>,
    pub(crate) epoch: i64,
    /// From now; zero gives the lease back.
    pub(crate) lease: Duration,
}

/// A row to hold back.
#[derive(Debug, Clone)]
pub(crate) struct Park {
    pub(crate) outbox_id: i64,
    pub(crate) topic: Arc<str>,
    pub(crate) key: Option<Bytes>,
    pub(crate) refusal: Refusal,
}

/// What is written together with the position.
#[derive(Debug, Default)]
pub struct Changes {
    /// Rows to hold back; one that is there already keeps its reason.
    pub(crate) park: Vec<Park>,
    /// Rows that were delivered after their release.
    pub(crate) unpark: Vec<i64>,
    /// Rows that failed again after their release: they and their lane go back to waiting.
    pub(crate) repark: Vec<Park>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.park.is_empty() && self.unpark.is_empty() && self.repark.is_empty()
    }
}

/// A database with an outbox in it. Sealed: `postgres::RelayStore` and `sqlite::RelayStore` have it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Takes the lease if it is free, run out, or the same owner's. `None`: another has it.
    async fn acquire(&self, relay: &str, owner: &str, lease: Duration) -> Result<Option<Lease>, Error>;
    /// The committed rows after `from`, of `topics` if there are any named.
    async fn read(&self, from: &Position, topics: Option<&[String]>, limit: i64) -> Result<Page, Error>;
    /// Writes position, changes and lease in one transaction. `false`: the lease is another's now.
    async fn save(&self, holder: &Holder, position: &Position, changes: &Changes) -> Result<bool, Error>;
    /// The lanes that are held back, and whether any row is (rows without key have no lane).
    async fn parked_lanes(&self, relay: &str) -> Result<(Vec<Lane>, bool), Error>;
    /// Rows of every lane that has a released row, and released rows without a key, in order.
    async fn released(&self, relay: &str, limit: i64) -> Result<Vec<Row>, Error>;
}
