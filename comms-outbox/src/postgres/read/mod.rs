//! Reads the rows that were committed after a snapshot. No row is lost, no open transaction delays other rows, and the
//! cost of a read does not grow with the table.
//!
//! # The cursor
//! The cursor is a snapshot A whose rows are all done. A read takes the current snapshot B. The rows that are visible
//! in B and not in A are the *window*, a set that never changes again. They are delivered in the order of their ids,
//! page by page. So a row that commits late is in a later window, however old it is. Of two transactions that follow
//! one another, the first is never in a later window than the second.
//!
//! # Why the cursor survives a crash
//! A transaction id that no WAL record names is given out again after a crash: the id of a transaction that was rolled
//! back, or whose commit was not flushed. A cursor whose snapshot contains such an id would treat the next row with
//! this id as delivered. A snapshot may therefore be stored only if it was taken **in the same history** as the commit
//! record of the transaction that stores it, and before it. *Same history* means that no crash recovery, promotion or
//! restore happened in between.
//!
//! A *guard* identifies the history: a row of an UNLOGGED table with a random token that the server draws when the
//! lease is taken. Recovery empties unlogged tables (documentation of PostgreSQL, `CREATE TABLE`), so the row exists as
//! long as the history is the same. Each statement that takes a snapshot ([`TAKE_SNAPSHOT`]) and each statement that
//! stores one (`SAVE`) checks the guard. If it is gone, the session ends, its memory is discarded, and the next session
//! begins with the stored position.
//!
//! 1. The guard exists at a save, so no recovery happened between the acquisition of the lease and the save, and every
//!    snapshot taken in between belongs to this history.
//! 2. A transaction that B sees as ended wrote its commit or abort record before it left the process array. So it did
//!    so before B was taken, and before the commit record of the transaction T that stores B.
//! 3. WAL survives as a prefix. Wherever T is found committed (after a crash, on a promoted standby, in a restored
//!    server), all of those transactions ended as before, and the next transaction id is above theirs. So none of their
//!    ids is given out again.
//! 4. A transaction that B does not see as ended (above its `xmax`, or in its list) is not covered by B. A later window
//!    contains it.
//! 5. If T is not found, the guard does not exist either, and the relay goes back to an older stored position, for
//!    which 1 to 4 hold.
//!
//! A crash between a snapshot and its page loses nothing either, because the next snapshot or save notices it. But ids
//! that were given out again may be in progress in B and ended in the new history, so a page could contain a later row
//! of a key without an earlier one. So a scan and a page check the guard too. Their result also proves that no other
//! statement was executed under their name: a pooler in transaction mode may provide a session in which another
//! statement is prepared under this name. The column of the guard therefore has the name of its log and statement.
//! Advancing over an empty window in memory is safe for the same reason as taking a snapshot.
//!
//! The token is a fencing token too. It is drawn anew in each acquisition, so a session that was overtaken, or whose
//! lease a failover granted a second time, changes nothing. On a hot standby, reading an unlogged table is an error, so
//! a relay never reads there.
//!
//! The proof does not hold with a server that keeps or replicates unlogged tables (the relay checks that the table is
//! unlogged), with `fsync = off`, after `pg_resetwal`, and for a copy of the data directory of a server that was
//! stopped cleanly, which contains the guard.
//!
//! # Why each statement is bounded
//! The planner's statistics of an outbox are stale, and one transaction may have written a million rows. So no
//! statement relies on a plan that statistics could change. [`scan`] walks the index (xid, id) in pieces by row
//! comparison, and returns the ranges of ids that contain the window's rows. [`page`] then reads the table by those
//! ranges, over at most [`SPAN`](piece::SPAN) ids. A page may be empty and still advance the position.
//!
//! A window of events that begins with the first transaction is not scanned: its range has every id of the table. The scan
//! only decides which ids a page looks at. A page compares the transaction of each row with both snapshots, whatever the
//! ranges are.
//!
//! The bytes of a page are bounded by a limit for each row, its share of the page. The values of a larger row are not
//! sent. The next page begins with that row, and some pages sum the sizes instead, which costs more.
//!
//! If the server cancels a statement (`statement_timeout`), it is repeated with a smaller piece, which also has fewer
//! bytes.

mod page;
mod piece;
mod scan;

use std::sync::Arc;

use comms_core::Error;
use sqlx::{PgPool, Row};

use super::{
    Tables,
    snapshot::{OLDEST, Snapshot},
    unit,
};
use crate::{
    relay::{Log, Page, Position, Query},
    sql_error,
};
pub(super) use piece::Piece;
use piece::{MIN_PIECE, Unanswered};
use scan::Window;

/// Planner statistics for the outbox are usually stale, so force index scans.
pub(super) const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL enable_seqscan = off;
    SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off";

/// $1 relay, $2 token.
const TAKE_SNAPSHOT: &str = "
SELECT EXISTS (SELECT FROM {s}.comms_outbox_guard WHERE relay = $1 AND token = $2::uuid) AS same,
       pg_current_snapshot()::text AS now";

/// Reads the next page of `query`. Returns `None` if the guard is gone.
///
/// # Errors
/// Returns `Internal` if a stored snapshot does not parse. Otherwise returns an error of the kind that [`sql_error`]
/// lists.
pub(super) async fn read(
    pool: &PgPool,
    tables: &Tables,
    piece: &Piece,
    query: Query,
) -> Result<Option<Page>, Error> {
    let Some(up_to) = up_to(pool, tables, &query).await? else { return Ok(None) };
    if query.from.is_settled() && is_read(&query, &up_to)? {
        return Ok(Some(Page::empty(query.from.clone())));
    }
    let mut window = match query.scan.clone().and_then(|scan| scan.downcast::<Window>().ok()) {
        Some(window) => Window::clone(&window),
        None => Window::new(&Snapshot::parse(&query.from.snapshot)?, &Snapshot::parse(&up_to)?),
    };
    loop {
        let mut tx = unit::begin_with(pool, BEGIN).await?;
        let unanswered = Unanswered(Some(piece));
        let step = step(&mut tx, tables, piece, &query, &up_to, &mut window).await;
        unanswered.answered();
        match step {
            Ok(page) => {
                // The page is complete: the end of a transaction that only reads is not awaited.
                drop(tokio::spawn(tx.commit()));
                piece.grow();
                return Ok(page);
            }
            // `statement_timeout`: repeat the step with a smaller piece.
            Err(error) if cancelled(&error) && piece.get() > MIN_PIECE.into() => piece.shrink(),
            Err(error) => return Err(sql_error(error)),
        }
    }
}

/// Returns whether no row lies between the position and `up_to`. A branch may be ahead of the main position that it
/// reads up to: by the rest of the window in which it began, or because the main position went back to the oldest row.
fn is_read(query: &Query, up_to: &Arc<str>) -> Result<bool, Error> {
    let from = &query.from.snapshot;
    Ok(up_to == from || (query.up_to.is_some() && Snapshot::parse(from)?.is_after(&Snapshot::parse(up_to)?)))
}

/// Returns the snapshot to read up to, or `None` if the guard is gone.
async fn up_to(pool: &PgPool, tables: &Tables, query: &Query) -> Result<Option<Arc<str>>, Error> {
    if let Some(window) = &query.from.window {
        return Ok(Some(window.clone()));
    }
    if let Some(up_to) = &query.up_to {
        return Ok(Some(up_to.snapshot.clone()));
    }
    let take = tables.inline_values(TAKE_SNAPSHOT, &[Some(&query.relay), Some(&query.token)]);
    let row = sqlx::raw_sql(take).fetch_one(pool).await.map_err(sql_error)?;
    let columns = || Ok((row.try_get("same")?, row.try_get::<&str, _>("now")?.into()));
    let (same, now): (bool, Arc<str>) = columns().map_err(sql_error)?;
    Ok(same.then_some(now))
}

/// Does one bounded step: a part of the scan, or a page. Returns `None` if the guard is gone.
async fn step(
    conn: &mut sqlx::PgConnection,
    tables: &Tables,
    piece: &Piece,
    query: &Query,
    up_to: &Arc<str>,
    window: &mut Window,
) -> Result<Option<Page>, sqlx::Error> {
    let within = Position {
        snapshot: query.from.snapshot.clone(),
        window: Some(up_to.clone()),
        last_id: if query.from.is_settled() { 0 } else { query.from.last_id },
    };
    // A rebuild reads every event, and the ids of events have few gaps, so a scan would only list them. After a statement
    // that the server cancelled, the window is scanned in pieces.
    let is_rebuild = tables.log() == Log::Events && *within.snapshot == *OLDEST && piece.is_full();
    if !window.is_scanned() && is_rebuild {
        if !window.take_all(conn, tables, query, within.last_id).await? {
            return Ok(None);
        }
    } else if !window.is_scanned() {
        if !window.scan(conn, tables, piece.get(), query, within.last_id).await? {
            return Ok(None);
        }
        if !window.is_scanned() {
            let scan = Some(Arc::new(window.clone()) as _);
            return Ok(Some(Page { scan, more: true, ..Page::empty(within) }));
        }
    }
    let page = page::page(conn, tables, piece, query, within, window).await?;
    let Some(mut page) = page else { return Ok(None) };
    let is_gap = page.rows.is_empty() && window.is_all() && !window.is_read();
    if is_gap && is_rebuild && !window.take_all(conn, tables, query, page.after.last_id).await? {
        return Ok(None);
    }
    if window.is_read() {
        page.after = Position { snapshot: up_to.clone(), window: None, last_id: 0 };
        page.more = false;
    } else {
        page.scan = Some(Arc::new(window.clone()));
    }
    Ok(Some(page))
}

fn cancelled(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "57014")
}
