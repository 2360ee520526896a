//! What the relay asks of a database. The loop is written once, over this trait.

use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;
use comms_core::{Error, ErrorKind, Message, async_trait};

use super::Start;
use crate::parked::Refusal;

/// The unit of order: a destination and a key.
pub(crate) type Lane = (Arc<str>, Bytes);

/// A position in the outbox. Only the backend knows what comes after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// PostgreSQL: every row that is visible in this snapshot is done. Empty on SQLite.
    pub(crate) snap: Arc<str>,
    /// PostgreSQL: the snapshot up to which rows are being read, while that is not finished.
    pub(crate) window: Option<Arc<str>>,
    /// The last row done: of the window on PostgreSQL (0 without one), of all rows on SQLite.
    pub(crate) last_id: i64,
}

impl Position {
    /// The position before row `id` of the same window.
    pub(crate) fn before(&self, id: i64) -> Self {
        Self { last_id: id - 1, ..self.clone() }
    }

    /// The position in which the current window begins: what another reader can be brought up to.
    pub(crate) fn base(&self) -> Self {
        match self.window {
            Some(_) => Self { snap: self.snap.clone(), window: None, last_id: 0 },
            None => self.clone(),
        }
    }

    /// Whether no window is being read.
    pub(crate) fn is_settled(&self) -> bool {
        self.window.is_none()
    }
}

/// A committed row of the outbox.
#[derive(Debug)]
pub struct Row {
    pub(crate) id: i64,
    pub(crate) destination: Arc<str>,
    pub(crate) key: Option<Bytes>,
    /// The message, or why its columns do not decode.
    pub(crate) message: Result<Message, Error>,
}

/// Which destinations a read returns.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these; `None`: all.
    pub(crate) only: Option<Arc<[String]>>,
    /// Not these.
    pub(crate) except: Arc<[String]>,
}

/// What a backend keeps between two reads of the same reader. It is never stored.
pub(crate) type Scan = Arc<dyn Any + Send + Sync>;

/// One read.
#[derive(Debug, Clone)]
pub struct Query {
    pub(crate) relay: Arc<str>,
    pub(crate) token: String,
    pub(crate) from: Position,
    pub(crate) scan: Option<Scan>,
    /// The position to read up to; `None`: whatever is committed by now.
    pub(crate) upto: Option<Position>,
    pub(crate) filter: Filter,
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
}

/// The answer to a [`Query`].
#[derive(Debug)]
pub struct Page {
    /// Committed rows in their order.
    pub(crate) rows: Vec<Row>,
    /// The age of the oldest of them, by the database's clock.
    pub(crate) age: Duration,
    /// The window that the rows belong to.
    pub(crate) within: Position,
    /// The position once the rows are done.
    pub(crate) after: Position,
    pub(crate) scan: Option<Scan>,
    /// Whether more can be read at once: the window is not finished.
    pub(crate) more: bool,
}

/// A lease that was granted.
#[derive(Debug)]
pub struct Lease {
    /// Drawn by the database for this session: every write names it.
    pub(crate) token: String,
    pub(crate) position: Position,
    /// The destinations that the position stands for; `None`: all.
    pub(crate) covers: Option<Vec<String>>,
    pub(crate) branches: Vec<Branch>,
}

/// A destination that is not at the position of its relay.
#[derive(Debug, Clone)]
pub(crate) struct Branch {
    pub(crate) destination: Arc<str>,
    pub(crate) position: Position,
    /// Why it is held; `None`: it is catching up, or no process of the relay names it.
    pub(crate) held: Option<(ErrorKind, String)>,
}

/// Who writes to the cursor: nothing is written once another token stands there.
#[derive(Debug, Clone)]
pub struct Holder {
    pub(crate) relay: Arc<str>,
    pub(crate) token: String,
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

impl Park {
    pub(crate) fn lane(&self) -> Option<Lane> {
        Some((self.topic.clone(), self.key.clone()?))
    }
}

/// What is written together with the position.
#[derive(Debug, Default)]
pub struct Changes {
    /// The destinations that the position stands for from now on: set once, at the start of a session.
    pub(crate) covers: Option<Option<Vec<String>>>,
    /// Branches to store.
    pub(crate) branches: Vec<Branch>,
    /// Destinations that are at the relay's position again.
    pub(crate) joined: Vec<Arc<str>>,
    /// Rows to hold back; one that is there already keeps its reason.
    pub(crate) park: Vec<Park>,
    /// Rows that were delivered after their release.
    pub(crate) unpark: Vec<i64>,
    /// Rows that failed again after their release: they and their lane go back to waiting.
    pub(crate) repark: Vec<Park>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        let Self { covers, branches, joined, park, unpark, repark } = self;
        covers.is_none()
            && branches.is_empty()
            && joined.is_empty()
            && park.is_empty()
            && unpark.is_empty()
            && repark.is_empty()
    }
}

/// What a relay must know of its parked rows.
#[derive(Debug, Default)]
pub struct ParkedLanes {
    pub(crate) lanes: Vec<Lane>,
    /// Whether any row is parked: rows without a key have no lane.
    pub(crate) any: bool,
}

/// A database with an outbox in it. Sealed: `postgres::RelayStore` and `sqlite::RelayStore` have it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The position before the oldest row.
    fn oldest(&self) -> Position;
    /// Takes the lease if it is free, has run out, or is the same owner's. `None`: another has it.
    /// A new cursor stands for the destinations in `covers`; `None`: all. It begins where `start` says, in the
    /// transaction that stores it.
    async fn acquire(
        &self,
        relay: &str,
        owner: &str,
        lease: Duration,
        covers: Option<&[String]>,
        start: Start,
    ) -> Result<Option<Lease>, Error>;
    /// The committed rows after `query.from`. `None`: the session has ended; its memory means nothing any more.
    async fn read(&self, query: Query) -> Result<Option<Page>, Error>;
    /// Writes position, changes and lease in one transaction. `false`: the session has ended.
    async fn save(&self, holder: &Holder, position: &Position, changes: &Changes) -> Result<bool, Error>;
    /// The lanes that are held back.
    async fn parked_lanes(&self, relay: &str) -> Result<ParkedLanes, Error>;
    /// Released rows with what stands before them in their lanes, in order; at most `rows`, and no further one once
    /// they have `bytes`; to the destinations of `filter`. A row whose hold is over is released.
    async fn released(&self, relay: &str, filter: &Filter, rows: i64, bytes: i64) -> Result<Vec<Row>, Error>;
}
