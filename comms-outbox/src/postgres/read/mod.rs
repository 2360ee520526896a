//! Reading what was committed since a snapshot: no loss, no stall, no read that grows with the table.
//!
//! # The cursor
//! The cursor is a snapshot A whose rows are all done. A read takes the current snapshot B; the rows that are
//! visible in B and not in A are the *window*, a set that never changes again, delivered in the order of their
//! ids, page by page. So a row that commits late is in a later window however old it is; and of two
//! transactions that follow one another the first is never in a later window than the second.
//!
//! # Why the cursor survives a crash
//! A transaction id that no WAL record names is handed out again after a crash: a rolled-back transaction, a
//! commit that was not flushed. A cursor that rests on such an id takes the next row under it for delivered.
//! A snapshot may therefore be stored only if it was taken **in the same history** as, and before, the commit
//! record of the transaction that stores it. *Same history* means: no crash recovery, no promotion and no
//! restore in between.
//!
//! The history is known by a *guard*: a row of an UNLOGGED table with a random token that the server draws when
//! the lease is taken. Recovery empties unlogged tables (documentation of PostgreSQL, `CREATE TABLE`), so the
//! row is there as long as the history is the same. Each statement that takes a snapshot ([`LOOK`]) and each
//! that stores one (`SAVE`) asks for it; where it is gone the session ends, its memory is discarded, and the
//! next session begins with what is stored.
//!
//! 1. The guard is there at a save, so no recovery lies between the acquisition and the save, and every look in
//!    between belongs to this history.
//! 2. A transaction that B sees as ended wrote its commit or abort record before it left the process array, so
//!    before B was taken, so before the commit record of the transaction T that stores B.
//! 3. WAL survives as a prefix. Wherever T is found committed (after a crash, on a promoted standby, in a
//!    restored server) all of those transactions ended as before, and the next transaction id is above theirs:
//!    none of their ids is handed out again.
//! 4. What B does not see as ended (above its `xmax`, or in its list) is not covered by B: a later window finds it.
//! 5. Where T is not found, the guard is not there either, and the relay goes back to an older stored position
//!    for which 1 to 4 hold.
//!
//! A crash between a look and its page loses nothing either: the next look or save notices. But ids that came again may be
//! in progress in B and ended in the new history, so a page could hold a later row of a key without an earlier one. So a
//! scan and a page ask for the guard, too. Their answer proves as well that no other statement was executed under their
//! name: a pooler in transaction mode may have another one prepared in the session that it lends. Advancing over an empty window in memory is safe for the same reason as a look.
//!
//! The token is a fence, too: it is drawn anew in each acquisition, so a session that was overtaken, or granted a
//! second time by a failover, changes nothing. On a hot standby reading an unlogged table is an error, so a relay
//! never reads there. What breaks it: a server that keeps or replicates unlogged tables (checked: the table must
//! be unlogged), `fsync = off`, `pg_resetwal`, and a copy of the data directory of a server that was stopped
//! cleanly, which carries the guard along.
//!
//! # Why each statement is bounded
//! The planner's statistics of an outbox are stale, and one transaction may have written a million rows. So no
//! statement rests on a plan that statistics could change: the index (xid, id) is walked in pieces by row
//! comparison ([`SCAN`]), which gives the ranges of ids that hold the window's rows; a page then reads the table
//! by those ranges, over at most [`SPAN`] ids. A page may be empty and still advance. A statement that the
//! server cancels (`statement_timeout`) is repeated with a smaller piece, of fewer bytes as well.

mod page;
mod scan;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use comms_core::Error;
use sqlx::{PgPool, Row};

use super::{Tables, snapshot::Snapshot, unit};
use crate::{
    relay::{Page, Position, Query},
    sql_error,
};
pub(super) use page::PAGE;
pub(super) use scan::SCAN;
use scan::Window;

/// The most ids that one page passes over.
const SPAN: i64 = 5_000;
/// The most rows or index entries that one statement examines, while the server does not cancel it.
const PIECE: u32 = 10_000;
const LEAST_PIECE: u32 = 50;

/// Planner statistics for the outbox are usually stale, so force index scans.
pub(super) const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL enable_seqscan = off;
    SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off";

/// $1 relay, $2 token.
pub(super) const LOOK: &str = "
SELECT EXISTS (SELECT FROM {s}.comms_outbox_guard WHERE relay = $1 AND token = $2::uuid) AS same,
       pg_current_snapshot()::text AS now";

/// How much one statement may examine: less after the server cancelled one.
#[derive(Debug)]
pub(super) struct Piece(AtomicU32);

impl Piece {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(PIECE))
    }

    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed).into()
    }

    /// The most bytes of a page for which a full piece may have `most`: sending them is part of the statement's time.
    fn bytes(&self, most: i64) -> i64 {
        let share = i128::from(most) * i128::from(self.get()) / i128::from(PIECE);
        i64::try_from(share).unwrap_or(most).max(1)
    }

    fn shrink(&self) {
        self.0.store((self.0.load(Ordering::Relaxed) / 4).max(LEAST_PIECE), Ordering::Relaxed);
    }

    fn grow(&self) {
        let piece = self.0.load(Ordering::Relaxed);
        self.0.store((piece + piece / 8 + 1).min(PIECE), Ordering::Relaxed);
    }
}

/// A statement that is given up before its answer has examined too much: dropping this makes the next one smaller.
struct Unanswered<'a>(Option<&'a Piece>);

impl Unanswered<'_> {
    fn answer(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(piece) = self.0 {
            piece.shrink();
        }
    }
}

/// The next page of `query`; `None` where the guard is gone.
pub(super) async fn read(
    pool: &PgPool,
    tables: &Tables,
    piece: &Piece,
    query: Query,
) -> Result<Option<Page>, Error> {
    let Some(upto) = upto(pool, tables, &query).await? else { return Ok(None) };
    if query.from.is_settled() && is_read(&query, &upto)? {
        return Ok(Some(nothing(query.from.clone())));
    }
    let mut window = match query.scan.clone().and_then(|scan| scan.downcast::<Window>().ok()) {
        Some(window) => Window::clone(&window),
        None => Window::new(&Snapshot::parse(&query.from.snap)?, &Snapshot::parse(&upto)?),
    };
    loop {
        let mut tx = unit::begin_with(pool, BEGIN).await?;
        let unanswered = Unanswered(Some(piece));
        let step = step(&mut tx, tables, piece, &query, &upto, &mut window).await;
        unanswered.answer();
        match step {
            Ok(page) => {
                tx.commit().await.map_err(sql_error)?;
                piece.grow();
                return Ok(page);
            }
            // statement_timeout: the same again, in smaller pieces.
            Err(error) if cancelled(&error) && piece.get() > LEAST_PIECE.into() => piece.shrink(),
            Err(error) => return Err(sql_error(error)),
        }
    }
}

/// Whether nothing lies between the position and `upto`. A branch may be ahead of the main position that it reads up to:
/// by the rest of the window in which it was set apart, or because the main position began anew.
fn is_read(query: &Query, upto: &Arc<str>) -> Result<bool, Error> {
    let from = &query.from.snap;
    Ok(upto == from || (query.upto.is_some() && Snapshot::parse(from)?.is_after(&Snapshot::parse(upto)?)))
}

/// The snapshot to read up to; `None` where the guard is gone.
async fn upto(pool: &PgPool, tables: &Tables, query: &Query) -> Result<Option<Arc<str>>, Error> {
    if let Some(window) = &query.from.window {
        return Ok(Some(window.clone()));
    }
    if let Some(upto) = &query.upto {
        return Ok(Some(upto.snap.clone()));
    }
    let look = Tables::inline(&tables.sql.look, &[Some(&query.relay), Some(&query.token)]);
    let row = sqlx::raw_sql(look).fetch_one(pool).await.map_err(sql_error)?;
    let columns = || Ok((row.try_get("same")?, row.try_get::<&str, _>("now")?.into()));
    let (same, now): (bool, Arc<str>) = columns().map_err(sql_error)?;
    Ok(same.then_some(now))
}

/// One bounded piece of work: a part of the scan, or a page. `None` where the guard is gone.
async fn step(
    conn: &mut sqlx::PgConnection,
    tables: &Tables,
    piece: &Piece,
    query: &Query,
    upto: &Arc<str>,
    window: &mut Window,
) -> Result<Option<Page>, sqlx::Error> {
    let within = Position {
        snap: query.from.snap.clone(),
        window: Some(upto.clone()),
        last_id: if query.from.is_settled() { 0 } else { query.from.last_id },
    };
    if !window.is_scanned() {
        if !window.scan(conn, tables, piece.get(), query, within.last_id).await? {
            return Ok(None);
        }
        if !window.is_scanned() {
            let scan = Some(Arc::new(window.clone()) as _);
            return Ok(Some(Page { scan, more: true, ..nothing(within) }));
        }
    }
    let page = page::page(conn, tables, piece, query, within, window).await?;
    let Some(mut page) = page else { return Ok(None) };
    if window.is_read() {
        page.after = Position { snap: upto.clone(), window: None, last_id: 0 };
        page.more = false;
    } else {
        page.scan = Some(Arc::new(window.clone()));
    }
    Ok(Some(page))
}

fn nothing(at: Position) -> Page {
    Page { rows: Vec::new(), age: Duration::ZERO, within: at.clone(), after: at, scan: None, more: false }
}

fn cancelled(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "57014")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_piece_has_fewer_rows_and_bytes_and_grows_again() {
        let piece = Piece::new();
        assert_eq!(
            (piece.get(), piece.bytes(8_000_000), piece.bytes(i64::MAX)),
            (10_000, 8_000_000, i64::MAX)
        );
        (0..10).for_each(|_| piece.shrink());
        assert_eq!((piece.get(), piece.bytes(8_000_000), piece.bytes(10)), (50, 40_000, 1));
        (0..100).for_each(|_| piece.grow());
        assert_eq!(piece.bytes(8_000_000), 8_000_000);
    }
}
