//! The types that a relay and a database exchange, and the trait that a backend implements.

use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;
use comms_core::{Error, ErrorKind, async_trait};

use super::{row::Row, start::Start};
use crate::parked::Refusal;

/// What the name of a projection's cursor begins with. A relay has no such name.
pub(crate) const CURSOR_OF_PROJECTION: &str = "projection:";

/// The unit of order: a topic and a key.
pub(crate) type Lane = (Arc<str>, Bytes);

/// The table that a reader reads. Both have the columns of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    Outbox,
    /// The events of the event store, which have a version as well.
    #[cfg_attr(not(feature = "event-store"), allow(dead_code, reason = "only projections read events"))]
    Events,
}

impl Log {
    pub(crate) const fn table(self) -> &'static str {
        match self {
            Self::Outbox => "comms_outbox",
            Self::Events => "comms_event",
        }
    }
}

/// A position in a log. Only the backend can tell which rows come after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// PostgreSQL: every row that is visible in this snapshot is done. Empty on SQLite.
    pub(crate) snapshot: Arc<str>,
    /// PostgreSQL: the snapshot up to which rows are being read, until all of them are read.
    pub(crate) window: Option<Arc<str>>,
    /// The last row that is done: of the window on PostgreSQL (0 without a window), of all rows on SQLite.
    pub(crate) last_id: i64,
}

impl Position {
    /// Returns the position before row `id` of the same window.
    pub(crate) fn before(&self, id: i64) -> Self {
        Self { last_id: id - 1, ..self.clone() }
    }

    /// Returns the position at which the current window begins. A branch may catch up to this position.
    pub(crate) fn base(&self) -> Self {
        match self.window {
            Some(_) => Self { snapshot: self.snapshot.clone(), window: None, last_id: 0 },
            None => self.clone(),
        }
    }

    /// Returns whether no window is being read.
    pub(crate) fn is_settled(&self) -> bool {
        self.window.is_none()
    }
}

/// The topics whose rows a read returns.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these topics; `None`: all.
    pub(crate) only: Option<Arc<[String]>>,
    /// None of these topics.
    pub(crate) except: Arc<[String]>,
}

/// State that a backend keeps between two reads of one track. It is never stored.
pub(crate) type Scan = Arc<dyn Any + Send + Sync>;

/// A request for the next page of one track.
#[derive(Debug, Clone)]
pub struct Query {
    pub(crate) relay: Arc<str>,
    pub(crate) token: String,
    pub(crate) from: Position,
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "the SQLite backend keeps no state"))]
    pub(crate) scan: Option<Scan>,
    /// The position to read up to; `None`: up to the last committed row.
    pub(crate) up_to: Option<Position>,
    pub(crate) filter: Filter,
    pub(crate) max_rows: i64,
    pub(crate) max_bytes: i64,
}

/// The result of a [`Query`].
#[derive(Debug)]
pub struct Page {
    /// Committed rows, in order.
    pub(crate) rows: Vec<Row>,
    /// The place in its stream of each of these rows; empty for rows of the outbox.
    #[cfg_attr(not(feature = "event-store"), allow(dead_code, reason = "only projections read it"))]
    pub(crate) recorded: Vec<RecordedAt>,
    /// The age of the oldest of these rows, by the database's clock.
    pub(crate) age: Duration,
    /// A position in the window of these rows, from which the position before each of them is made.
    pub(crate) within: Position,
    /// The position after these rows.
    pub(crate) after: Position,
    pub(crate) scan: Option<Scan>,
    /// Whether the window has further rows, so that the next read need not wait.
    pub(crate) more: bool,
}

impl Page {
    /// A page without rows that leaves the position at `at`.
    pub(crate) fn empty(at: Position) -> Self {
        Self {
            rows: Vec::new(),
            recorded: Vec::new(),
            age: Duration::ZERO,
            within: at.clone(),
            after: at,
            scan: None,
            more: false,
        }
    }
}

/// The columns that an event has besides those of the outbox.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "event-store"), allow(dead_code, reason = "only projections read it"))]
pub(crate) struct RecordedAt {
    /// The version in its stream.
    pub(crate) version: i64,
    /// The time of the write, in microseconds since 1970.
    pub(crate) micros: i64,
}

/// A request for the lease of a relay.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest<'a> {
    pub(crate) relay: &'a str,
    pub(crate) owner: &'a str,
    pub(crate) lease: Duration,
    /// The topics that a new cursor covers; `None`: all. An existing cursor keeps its own.
    pub(crate) covers: Option<&'a [String]>,
    /// Where a new cursor begins.
    pub(crate) start: Start,
}

/// A granted lease, with the stored state of the relay.
#[derive(Debug)]
pub struct Lease {
    /// The fencing token that the database drew for this session. Every write names it.
    pub(crate) token: String,
    pub(crate) position: Position,
    /// The topics that the position covers; `None`: all.
    pub(crate) covers: Option<Vec<String>>,
    pub(crate) branches: Vec<StoredBranch>,
}

/// A topic that is not at the position of its relay.
#[derive(Debug, Clone)]
pub(crate) struct StoredBranch {
    pub(crate) topic: Arc<str>,
    pub(crate) position: Position,
    /// Why the topic is held; `None`: it is catching up, or no process of the relay names it.
    pub(crate) held: Option<(ErrorKind, String)>,
}

/// The session that writes to a cursor. The database writes nothing if the cursor has another token.
#[derive(Debug, Clone)]
pub struct LeaseHolder {
    pub(crate) relay: Arc<str>,
    pub(crate) token: String,
    /// The length of the lease from the time of the write; zero releases the lease.
    pub(crate) lease: Duration,
}

/// A row that is to be parked or held, with the reason.
#[derive(Debug, Clone)]
pub(crate) struct RowToPark {
    pub(crate) outbox_id: i64,
    pub(crate) topic: Arc<str>,
    pub(crate) key: Option<Bytes>,
    pub(crate) refusal: Refusal,
}

impl RowToPark {
    pub(crate) fn lane(&self) -> Option<Lane> {
        Some((self.topic.clone(), self.key.clone()?))
    }
}

/// Changes that are written in one transaction with the position.
#[derive(Debug, Default)]
pub struct Changes {
    /// The topics that the position covers from now on. Set once, at the start of a session.
    pub(crate) covers: Option<Option<Vec<String>>>,
    /// Branches to store.
    pub(crate) branches: Vec<StoredBranch>,
    /// Topics that joined the main position: their branches are deleted.
    pub(crate) joined: Vec<Arc<str>>,
    /// Rows to park or hold. A row that is parked already keeps its reason.
    pub(crate) park: Vec<RowToPark>,
    /// Ids of rows that were delivered after their release.
    pub(crate) unpark: Vec<i64>,
    /// Rows that failed again after their release. They and the released rows of their lane are parked again.
    pub(crate) repark: Vec<RowToPark>,
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

/// The lanes with parked rows, as a relay loads them.
#[derive(Debug, Default)]
pub struct ParkedLanes {
    pub(crate) lanes: Vec<Lane>,
    /// Whether any row is parked. Rows without a key have no lane.
    pub(crate) any: bool,
}

/// A database with an outbox. Sealed: implemented by `postgres::RelayStore` and `sqlite::RelayStore`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Returns the position before the oldest row.
    fn oldest(&self) -> Position;

    /// Takes the lease if it is free, has expired, or belongs to the same owner. Returns `None` if another owner has
    /// it. A new cursor is stored in the same transaction.
    async fn acquire(&self, request: &LeaseRequest<'_>) -> Result<Option<Lease>, Error>;

    /// Reads committed rows after `query.from`. Returns `None` if the session has ended: the caller discards its
    /// memory.
    async fn read(&self, query: Query) -> Result<Option<Page>, Error>;

    /// Writes position, changes and lease in one transaction. Returns `false`, without a write, if the session has
    /// ended.
    async fn save(&self, holder: &LeaseHolder, position: &Position, changes: &Changes)
    -> Result<bool, Error>;

    /// Returns the lanes with parked rows.
    async fn parked_lanes(&self, relay: &str) -> Result<ParkedLanes, Error>;

    /// Releases the held rows whose time has come, and returns released rows of the topics of `filter`, in order, with
    /// the parked rows before them in their lanes. Returns at most `max_rows` rows, and no further row after
    /// `max_bytes`.
    async fn released(
        &self,
        relay: &str,
        filter: &Filter,
        max_rows: i64,
        max_bytes: i64,
    ) -> Result<Vec<Row>, Error>;
}
