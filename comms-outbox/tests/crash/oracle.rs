//! The check after each round: every committed message was delivered, each key in order.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    ledger::{Delivered, Ledger},
    relays::Relays,
    rng::Rng,
    writers::{message, sql, tables},
};

/// The counts of one test.
#[derive(Default)]
pub struct Oracle {
    rounds: u32,
    /// Rounds in which transaction ids were given out again after the crash.
    pub reused: u32,
    /// Rounds by the kind of crash.
    pub crashes: HashMap<&'static str, u32>,
    /// Prepared transactions that were left open for the next round.
    pub prepared: usize,
    rows: usize,
    /// Committed messages that were not delivered.
    pub lost: HashSet<String>,
    lossy_rounds: u32,
    /// Second and later deliveries of messages that are committed.
    again: u64,
    /// Delivered messages whose transaction was lost in a crash.
    phantoms: usize,
    out_of_order: usize,
    /// Parked rows and branches after every message was delivered.
    held: i64,
    /// The greatest id of the latest rounds. Older rows are deleted.
    ends: Vec<i64>,
    known: HashSet<String>,
    marks: u64,
}

struct Row {
    id: i64,
    message: String,
    key: Vec<u8>,
}

impl Oracle {
    /// Waits until the relays have delivered every committed message: until they deliver a message that is committed
    /// now. `xid` is the greatest transaction id before the crash. A message under an id that is given out again could
    /// be lost itself.
    pub async fn quiet(&mut self, conn: &mut PgConnection, relays: &mut Relays, ledger: &Ledger, xid: u64) {
        burn(conn, xid).await;
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            self.marks += 1;
            let id = format!("mark {}", self.marks);
            tables().enqueue(conn, &[message(&id, &id, 0)]).await.unwrap();
            let next = Instant::now() + Duration::from_secs(2);
            while Instant::now() < next {
                if ledger.find(&id).is_some() {
                    return;
                }
                relays.check().await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            assert!(Instant::now() < limit, "the relays have delivered nothing for 60 s; {self}");
        }
    }

    /// Compares the table with the deliveries. Call it after [`Oracle::quiet`].
    pub async fn check(&mut self, conn: &mut PgConnection, ledger: &Ledger) {
        self.rounds += 1;
        let rows = rows(conn).await;
        let lost = rows.iter().filter(|row| ledger.find(&row.message).is_none());
        let lost: Vec<_> = lost.map(|row| row.message.clone()).collect();
        let before = self.lost.len();
        self.lost.extend(lost);
        if self.lost.len() > before {
            self.lossy_rounds += 1;
            println!("round {}: {} messages lost; {:?}", self.rounds, self.lost.len() - before, self.crashes);
        }
        self.rows += rows.iter().filter(|row| !self.known.contains(&row.message)).count();
        self.out_of_order += out_of_order(&rows, ledger);
        self.held += held(conn).await;
        self.known = rows.iter().map(|row| row.message.clone()).collect();
        self.phantoms += ledger.retain(|id| self.known.contains(id)).len();
        self.forget_old_rows(conn, &rows, ledger).await;
    }

    /// Deletes rows that are four rounds old.
    async fn forget_old_rows(&mut self, conn: &mut PgConnection, rows: &[Row], ledger: &Ledger) {
        self.ends.push(rows.last().map_or(0, |row| row.id));
        if self.ends.len() < 5 {
            return;
        }
        let end = self.ends.remove(0);
        for row in rows.iter().filter(|row| row.id <= end) {
            self.known.remove(&row.message);
        }
        sql(conn, &format!("DELETE FROM comms_outbox WHERE id <= {end}; DELETE FROM other")).await.unwrap();
        self.again += repeated(&ledger.retain(|id| self.known.contains(id)));
    }

    /// Prints the counts, and panics if a guarantee was violated.
    pub fn judge(&mut self, test: &str, ledger: &Ledger) {
        self.again += repeated(&ledger.retain(|_| false));
        println!("{test}: {self}");
        assert!(self.lost.is_empty(), "{test} lost messages: {self}");
        assert_eq!((self.out_of_order, self.held), (0, 0), "{test}: {self}");
        assert!(self.rows > 10 * self.rounds as usize, "{test} has hardly written: {self}");
    }
}

impl fmt::Display for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rounds {}, by crash {:?}, with reused ids {}, prepared across {}, rows {}, lost {} (in {} rounds), \
             again {}, phantoms {}, out of order {}, held {}",
            self.rounds,
            self.crashes,
            self.reused,
            self.prepared,
            self.rows,
            self.lost.len(),
            self.lossy_rounds,
            self.again,
            self.phantoms,
            self.out_of_order,
            self.held
        )
    }
}

async fn rows(conn: &mut PgConnection) -> Vec<Row> {
    let select = "SELECT id, msg_id, key FROM comms_outbox ORDER BY id";
    let rows: Vec<(i64, String, Vec<u8>)> = sqlx::query_as(select).fetch_all(conn).await.unwrap();
    rows.into_iter().map(|(id, message, key)| Row { id, message, key }).collect()
}

/// Returns the messages whose first delivery came before that of an older message of their key.
fn out_of_order(rows: &[Row], ledger: &Ledger) -> usize {
    let mut last = HashMap::<&[u8], u64>::new();
    let mut count = 0;
    for row in rows {
        let Some(delivered) = ledger.find(&row.message) else { continue };
        let last = last.entry(&row.key).or_default();
        count += usize::from(delivered.place < *last);
        *last = delivered.place.max(*last);
    }
    count
}

/// Counts the rows of the tables of parked rows and branches. One of the tables may not exist.
async fn held(conn: &mut PgConnection) -> i64 {
    let mut held = 0;
    for table in ["comms_outbox_parked", "comms_outbox_branch"] {
        let exists = "SELECT to_regclass($1) IS NOT NULL";
        if sqlx::query_scalar(exists).bind(table).fetch_one(&mut *conn).await.unwrap() {
            let count = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            held += sqlx::query_scalar::<_, i64>(count).fetch_one(&mut *conn).await.unwrap();
        }
    }
    held
}

/// Returns the number of deliveries after the first one.
fn repeated(messages: &[Delivered]) -> u64 {
    messages.iter().map(|delivered| delivered.times - 1).sum()
}

/// Consumes transaction ids until the next one is above `xid`.
async fn burn(conn: &mut PgConnection, xid: u64) {
    let next = crate::cluster::next_xid(conn).await;
    let count = xid.saturating_sub(next) + 1;
    let burn = format!(
        "DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    );
    sql(conn, &burn).await.unwrap();
}

/// Commits or rolls back `share` of the prepared transactions, and returns how many are left.
pub async fn end_prepared(conn: &mut PgConnection, share: f64, rng: &Rng) -> usize {
    let prepared: Vec<String> =
        sqlx::query_scalar("SELECT gid FROM pg_prepared_xacts").fetch_all(&mut *conn).await.unwrap();
    let mut left = 0;
    for gid in prepared {
        if !rng.chance(share) {
            left += 1;
            continue;
        }
        let end = if rng.chance(0.7) { "COMMIT" } else { "ROLLBACK" };
        sql(conn, &format!("{end} PREPARED '{gid}'")).await.unwrap();
    }
    left
}
