//! Writers of many kinds, which continue through crashes of their server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use comms_core::{Message, MessageParts};
use comms_outbox::postgres::Tables;

use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tokio::{sync::watch, task::JoinSet};

use crate::{cluster::options, rng::Rng};

/// The kinds of steps of a writer. Each step is one transaction.
#[derive(Clone, Copy)]
enum Kind {
    /// Commits one or two messages synchronously.
    Synchronous,
    /// Commits one or two messages asynchronously. A crash may lose them after they were delivered.
    Asynchronous,
    /// Commits 80 messages.
    ManyRows,
    /// Stays open for up to 0.4 s, with messages at its beginning and at its end.
    LongOpen,
    /// 70 to 150 subtransactions, more than the 64 that a snapshot caches, between two messages.
    Subtransactions,
    /// As above, but rolled back.
    RolledBackSubtransactions,
    RolledBack,
    /// Consumes a transaction id without a write. Its commit is asynchronous, whatever the setting.
    IdOnly,
    /// Commits asynchronously to another table.
    OtherTable,
    /// Prepares the transaction and leaves it.
    Prepared,
    Checkpoint,
}

/// The kinds of steps that the writers choose from.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    Paused,
    Everything,
    /// Only kinds that flush no WAL.
    Unflushed,
    /// Kinds that flush no WAL and write no messages: an idle phase for the relay.
    Idle,
}

impl Mode {
    fn kinds(self) -> &'static [Kind] {
        use Kind as K;
        match self {
            Self::Paused => &[],
            Self::Idle => &[K::RolledBack, K::IdOnly, K::OtherTable, K::RolledBackSubtransactions],
            Self::Unflushed => {
                &[K::Asynchronous, K::RolledBack, K::IdOnly, K::OtherTable, K::RolledBackSubtransactions]
            }
            Self::Everything => &[
                K::Synchronous,
                K::Synchronous,
                K::Synchronous,
                K::Synchronous,
                K::Synchronous,
                K::Asynchronous,
                K::Asynchronous,
                K::ManyRows,
                K::LongOpen,
                K::Subtransactions,
                K::RolledBackSubtransactions,
                K::RolledBack,
                K::IdOnly,
                K::OtherTable,
                K::Prepared,
                K::Checkpoint,
            ],
        }
    }
}

/// Three writers. The messages of one writer have one key, and its transactions follow one another.
pub struct Writers {
    mode: watch::Sender<(u64, Mode)>,
    port: Arc<AtomicU16>,
    /// The number of the mode that each writer is in.
    following: Arc<[AtomicU64]>,
    _tasks: JoinSet<()>,
}

impl Writers {
    /// Creates paused writers.
    pub fn start(port: u16, rng: &Rng) -> Self {
        let (mode, _) = watch::channel((0, Mode::Paused));
        let following: Arc<[AtomicU64]> = (0..3).map(|_| AtomicU64::new(0)).collect();
        let mut writers =
            Self { mode, port: Arc::new(AtomicU16::new(port)), following, _tasks: JoinSet::new() };
        for index in 0..writers.following.len() {
            let writer = Writer { index, count: 0, rng: rng.fork(), tables: tables() };
            let (port, following) = (writers.port.clone(), writers.following.clone());
            writers._tasks.spawn(writer.run(writers.mode.subscribe(), port, following));
        }
        writers
    }

    /// Makes the writers open new connections to the server at `port`.
    pub fn switch(&self, port: u16) {
        self.port.store(port, Ordering::SeqCst);
    }

    pub fn set(&self, mode: Mode) -> u64 {
        let number = self.mode.borrow().0 + 1;
        self.mode.send_replace((number, mode));
        number
    }

    /// Changes the mode, and waits until every writer has ended its current step.
    pub async fn set_and_wait(&self, mode: Mode) {
        let (number, limit) = (self.set(mode), Instant::now() + Duration::from_secs(30));
        while self.following.iter().any(|following| following.load(Ordering::SeqCst) < number) {
            assert!(Instant::now() < limit, "a writer has been busy for 30 s");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

struct Writer {
    index: usize,
    count: u64,
    rng: Rng,
    tables: Tables,
}

impl Writer {
    async fn run(
        mut self,
        mut mode: watch::Receiver<(u64, Mode)>,
        port: Arc<AtomicU16>,
        following: Arc<[AtomicU64]>,
    ) {
        let mut connection: Option<PgConnection> = None;
        loop {
            let (number, now) = *mode.borrow_and_update();
            following[self.index].store(number, Ordering::SeqCst);
            if now == Mode::Paused {
                connection = None;
                if mode.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let kind = *self.rng.pick(now.kinds());
            let mut conn = match connection.take() {
                Some(conn) => conn,
                None => match options(port.load(Ordering::SeqCst)).connect().await {
                    Ok(conn) => conn,
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    }
                },
            };
            // An error is caused by the crash. The next step opens a new connection.
            if self.step(&mut conn, kind).await.is_ok() {
                connection = Some(conn);
            }
        }
    }

    async fn step(&mut self, conn: &mut PgConnection, kind: Kind) -> Result<(), comms_core::Error> {
        match kind {
            Kind::Checkpoint if self.rng.chance(0.8) => return Ok(()),
            Kind::Checkpoint => return sql(conn, "CHECKPOINT").await,
            Kind::IdOnly => return sql(conn, "SELECT pg_current_xact_id()").await,
            _ => sql(conn, "BEGIN").await?,
        }
        let key = format!("writer {}", self.index);
        match kind {
            Kind::OtherTable => sql(conn, "INSERT INTO other VALUES (1)").await?,
            Kind::ManyRows => self.enqueue(conn, &key, 80).await?,
            Kind::Subtransactions | Kind::RolledBackSubtransactions => {
                self.enqueue(conn, &key, 1).await?;
                let savepoints = self.savepoints();
                sql(conn, &savepoints).await?;
                self.enqueue(conn, &key, 1).await?;
            }
            Kind::LongOpen => {
                self.enqueue(conn, &key, 1).await?;
                tokio::time::sleep(self.rng.millis(20.0, 400.0)).await;
                self.enqueue(conn, &key, self.rng.below(2)).await?;
            }
            // This transaction commits after the writer's next one, or never, so it must not share a key with another
            // transaction.
            Kind::Prepared => {
                let key = format!("prepared {} {}", self.index, self.count);
                self.enqueue(conn, &key, 2).await?;
            }
            _ => self.enqueue(conn, &key, 1 + self.rng.below(2)).await?,
        }
        let asynchronous = match kind {
            Kind::Asynchronous | Kind::OtherTable => true,
            Kind::Subtransactions | Kind::LongOpen => self.rng.chance(0.5),
            _ => false,
        };
        if asynchronous {
            // The setting at the commit matters. `enqueue` refuses messages while it is off.
            sql(conn, "SET LOCAL synchronous_commit = off").await?;
        }
        match kind {
            Kind::RolledBack | Kind::RolledBackSubtransactions => sql(conn, "ROLLBACK").await,
            Kind::Prepared => {
                let id = format!("{} {}", self.index, self.count);
                sql(conn, &format!("PREPARE TRANSACTION '{id}'")).await
            }
            _ => sql(conn, "COMMIT").await,
        }
    }

    /// Returns statements with many savepoints, some of which are rolled back.
    fn savepoints(&self) -> String {
        let savepoint = |n: usize| {
            let undo = if self.rng.chance(0.2) { format!("; ROLLBACK TO s{n}") } else { String::new() };
            format!("SAVEPOINT s{n}; INSERT INTO other VALUES ({n}){undo};")
        };
        (0..70 + self.rng.below(80)).map(savepoint).collect()
    }

    async fn enqueue(
        &mut self,
        conn: &mut PgConnection,
        key: &str,
        rows: usize,
    ) -> Result<(), comms_core::Error> {
        let messages = (0..rows).map(|_| {
            self.count += 1;
            message(&format!("{} {}", self.index, self.count), key, self.rng.below(5))
        });
        let messages: Vec<_> = messages.collect();
        self.tables.enqueue(conn, &messages).await
    }
}

pub fn message(id: &str, key: &str, topic: usize) -> Message {
    Message::new(MessageParts {
        source: "test",
        id,
        topic: &format!("topic-{topic}"),
        key: Some(key.as_bytes()),
        payload: Some(b"payload"),
        ..MessageParts::default()
    })
}

pub async fn sql(conn: &mut PgConnection, text: &str) -> Result<(), comms_core::Error> {
    let done = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(conn).await;
    done.map(drop).map_err(comms_outbox::sql_error)
}

pub fn tables() -> Tables {
    Tables::in_schema("public").unwrap()
}
