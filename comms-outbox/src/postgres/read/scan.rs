//! Finds the ids of a window in the index (xid, id), piece by piece.

use std::collections::VecDeque;

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::piece::SPAN;
use crate::{
    postgres::{Tables, snapshot::Snapshot},
    relay::Query,
};

/// Ids that are closer together than this are read as one range.
const GAP: i64 = 16;

/// $1 and $2 ranges of transactions, $3 the last id seen of the first transaction of each range, $4 the size of the
/// piece, $5 relay, $6 token. It compares rows, because with `xid = x` the planner may walk the primary key instead.
/// Ids are grouped by 256, so that a large window returns few rows.
const SCAN: &str = "
WITH k AS MATERIALIZED (
    SELECT l.xid, l.id FROM unnest($1::text[]::xid8[], $2::text[]::xid8[], $3::bigint[]) AS r (lo, hi, after),
    LATERAL (
        SELECT o.xid, o.id FROM {s}.{log} o
        WHERE (o.xid, o.id) > (r.lo, r.after) AND o.xid < r.hi ORDER BY o.xid, o.id LIMIT $4
    ) l LIMIT $4
)
SELECT g.same AS {log}_scan, b.lo, b.hi, b.n, l.xid::text AS xid, l.id
FROM (SELECT EXISTS (SELECT FROM {s}.comms_outbox_guard WHERE relay = $5 AND token = $6::text::uuid) AS same) g
LEFT JOIN (SELECT min(id) AS lo, max(id) AS hi, count(*) AS n FROM k GROUP BY id / 256) b ON true
LEFT JOIN (SELECT xid, id FROM k ORDER BY xid DESC, id DESC LIMIT 1) l ON true
ORDER BY b.lo";

/// $1 the last id that is read, $2 relay, $3 token.
const ALL: &str = "
SELECT EXISTS (SELECT FROM {s}.comms_outbox_guard WHERE relay = $2 AND token = $3::text::uuid) AS {log}_all,
       (SELECT min(id) FROM {s}.{log} WHERE id > $1) AS lo, (SELECT max(id) FROM {s}.{log} WHERE id > $1) AS hi";

/// The state of reading a window: transactions that are not scanned yet, and ranges of ids that are not read yet.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Ranges `low <= xid < high`, and the last id seen of transaction `low`.
    transactions: VecDeque<(u64, u64, i64)>,
    /// Inclusive ranges of ids, ascending once all transactions are scanned.
    ranges: VecDeque<(i64, i64)>,
    /// Every row of the log may belong to the window, which is not scanned. The only range has every id of the log.
    is_all: bool,
}

impl Window {
    pub(super) fn new(before: &Snapshot, up_to: &Snapshot) -> Self {
        let transactions = up_to.since(before).into_iter().map(|(low, high)| (low, high, -1)).collect();
        Self { transactions, ranges: VecDeque::new(), is_all: false }
    }

    pub(super) fn is_all(&self) -> bool {
        self.is_all
    }

    /// Takes the ids behind `done` of the whole log as the range to read, instead of a scan: for a window that begins with
    /// the first transaction. No row of the window is missing, because it was committed before its snapshot, which is older
    /// than this statement. Returns `false` if the guard is gone.
    ///
    /// Called again after a page without rows, it passes a gap in the ids.
    pub(super) async fn take_all(
        &mut self,
        conn: &mut PgConnection,
        tables: &Tables,
        query: &Query,
        done: i64,
    ) -> Result<bool, sqlx::Error> {
        let all = tables.query(ALL).bind(done).bind(&*query.relay).bind(&query.token);
        let row = all.fetch_one(conn).await?;
        if !is_same(&row, tables, "all")? {
            return Ok(false);
        }
        let (low, high) = (row.try_get("lo")?, row.try_get("hi")?);
        // The end of the first look stays, so that the window ends while others append.
        let end = self.ranges.back().filter(|_| self.is_all).map(|range| range.1);
        let range = Option::zip(low, high).map(|(low, high): (i64, i64)| (low, end.unwrap_or(high)));
        self.ranges = range.into_iter().filter(|(low, high)| low <= high).collect();
        self.transactions.clear();
        self.is_all = true;
        Ok(true)
    }

    pub(super) fn is_scanned(&self) -> bool {
        self.transactions.is_empty()
    }

    pub(super) fn is_read(&self) -> bool {
        self.is_scanned() && self.ranges.is_empty()
    }

    /// Reads at most `piece` index entries. Rows up to the id `done` were delivered. Returns `false` if the guard is
    /// gone.
    pub(super) async fn scan(
        &mut self,
        conn: &mut PgConnection,
        tables: &Tables,
        piece: i64,
        query: &Query,
        done: i64,
    ) -> Result<bool, sqlx::Error> {
        let column = |f: fn(&(u64, u64, i64)) -> String| self.transactions.iter().map(f).collect::<Vec<_>>();
        let rows = tables
            .query(SCAN)
            .bind(column(|t| t.0.to_string()))
            .bind(column(|t| t.1.to_string()))
            .bind(self.transactions.iter().map(|t| t.2).collect::<Vec<_>>())
            .bind(piece)
            .bind(&*query.relay)
            .bind(&query.token)
            .fetch_all(conn)
            .await?;
        let mut count = 0;
        for row in &rows {
            if !is_same(row, tables, "scan")? {
                return Ok(false);
            }
            if row.try_get::<Option<i64>, _>("lo")?.is_none() {
                continue;
            }
            let (low, high, n): (i64, i64, i64) = (row.try_get("lo")?, row.try_get("hi")?, row.try_get("n")?);
            count += n;
            if high > done {
                self.ranges.push_back((low.max(done + 1), high));
            }
        }
        match rows.first().filter(|_| count >= piece) {
            Some(row) => {
                let xid = row.try_get::<&str, _>("xid")?.parse::<u64>();
                let xid = xid.map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
                self.go_on_after(xid, row.try_get("id")?);
            }
            None => {
                self.transactions.clear();
                self.ranges = merge(std::mem::take(&mut self.ranges).into());
            }
        }
        Ok(true)
    }

    fn go_on_after(&mut self, xid: u64, id: i64) {
        while self.transactions.front().is_some_and(|(_, high, _)| *high <= xid) {
            self.transactions.pop_front();
        }
        if let Some(first) = self.transactions.front_mut() {
            (first.0, first.2) = (xid, id);
        }
        // A large window is returned in many pieces. Merging keeps the list of ranges short.
        if self.ranges.len() > 4_096 {
            self.ranges = merge(std::mem::take(&mut self.ranges).into());
        }
    }

    /// Returns the next ranges to read, with at most `span` ids in total.
    pub(super) fn next(&self, span: i64) -> Vec<(i64, i64)> {
        let (mut left, mut taken) = (span, Vec::new());
        for (low, high) in &self.ranges {
            if left <= 0 {
                break;
            }
            let high = (*high).min(low + left - 1);
            taken.push((*low, high));
            left -= high - low + 1;
        }
        taken
    }

    /// Records that every id up to `id` is read.
    pub(super) fn done(&mut self, id: i64) {
        while self.ranges.front().is_some_and(|(_, high)| *high <= id) {
            self.ranges.pop_front();
        }
        if let Some(first) = self.ranges.front_mut() {
            first.0 = first.0.max(id + 1);
        }
    }
}

/// Returns whether the guard exists. The column has a name that the result of another statement does not have.
pub(super) fn is_same(row: &PgRow, tables: &Tables, statement: &str) -> Result<bool, sqlx::Error> {
    row.try_get(&*format!("{}_{statement}", tables.log().table()))
}

/// Sorts the ranges and merges neighbors, up to [`SPAN`] ids each.
fn merge(mut ranges: Vec<(i64, i64)>) -> VecDeque<(i64, i64)> {
    ranges.sort_unstable();
    let mut merged: VecDeque<(i64, i64)> = VecDeque::new();
    for (low, high) in ranges {
        match merged.back_mut() {
            // Overlapping ranges are merged regardless of their length, so that no row is read twice.
            Some(last) if low <= last.1 || (low <= last.1 + GAP && high - last.0 < SPAN) => {
                last.1 = last.1.max(high);
            }
            _ => merged.push_back((low, high)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(ranges: &[(i64, i64)]) -> Window {
        Window { transactions: VecDeque::new(), ranges: ranges.iter().copied().collect(), is_all: false }
    }

    #[test]
    fn ranges_are_sorted_and_merged() {
        assert_eq!(merge(vec![(300, 310), (1, 5), (4, 9), (20, 30)]), [(1, 30), (300, 310)]);
        let long: Vec<_> = (0..100).map(|n| (n * 256, n * 256 + 255)).collect();
        let merged = merge(long);
        assert!(merged.iter().all(|(low, high)| high - low < SPAN));
        assert_eq!(merged.iter().map(|(low, high)| high - low + 1).sum::<i64>(), 25_600);
    }

    #[test]
    fn a_page_covers_a_bounded_number_of_ids() {
        let mut window = window(&[(1, 10), (100, 100), (200, 9_000)]);
        assert_eq!(window.next(5), [(1, 5)]);
        assert_eq!(window.next(12), [(1, 10), (100, 100), (200, 200)]);
        window.done(100);
        assert_eq!(window.next(3), [(200, 202)]);
        window.done(250);
        assert_eq!(window.next(1), [(251, 251)]);
        window.done(9_000);
        assert!(window.is_read());
    }

    #[test]
    fn a_scan_continues_after_its_last_entry() {
        let mut window = Window {
            transactions: VecDeque::from([(5, 6, -1), (9, 20, -1), (30, 40, -1)]),
            ranges: VecDeque::new(),
            is_all: false,
        };
        window.go_on_after(12, 77);
        assert_eq!(window.transactions, [(12, 20, 77), (30, 40, -1)]);
        window.go_on_after(19, 3);
        assert_eq!(window.transactions, [(19, 20, 3), (30, 40, -1)]);
    }
}
