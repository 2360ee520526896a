//! How much work one statement may do.

use std::sync::atomic::{AtomicU32, Ordering};

/// The most ids that one page covers.
pub(super) const SPAN: i64 = 5_000;
/// The most rows or index entries that one statement examines, as long as the server does not cancel it.
const PIECE: u32 = 10_000;
pub(super) const MIN_PIECE: u32 = 50;
/// The pages after a large row that expect another one.
const LARGE_PAGES: u32 = 16;

/// How much one statement may examine. It shrinks after the server has cancelled a statement, and grows after each
/// success.
#[derive(Debug)]
pub(in crate::postgres) struct Piece {
    rows: AtomicU32,
    /// How many of the next pages are read with a bound of the sum.
    large: AtomicU32,
}

impl Piece {
    pub(in crate::postgres) const fn new() -> Self {
        Self { rows: AtomicU32::new(PIECE), large: AtomicU32::new(0) }
    }

    pub(super) fn get(&self) -> i64 {
        self.rows.load(Ordering::Relaxed).into()
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.load(Ordering::Relaxed) == PIECE
    }

    /// Records that a row had more bytes than its share of the page.
    pub(super) fn found_large_row(&self) {
        self.large.store(LARGE_PAGES, Ordering::Relaxed);
    }

    /// Returns whether the next page probably has large rows, because one of the last pages had one.
    pub(super) fn expects_large_rows(&self) -> bool {
        let left = |left: u32| left.checked_sub(1);
        self.large.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    /// Returns the most bytes of a page, if a full piece may have `most`. Sending the bytes is part of the statement's
    /// time.
    pub(super) fn bytes(&self, most: i64) -> i64 {
        let share = i128::from(most) * i128::from(self.get()) / i128::from(PIECE);
        i64::try_from(share).unwrap_or(most).max(1)
    }

    pub(super) fn shrink(&self) {
        self.rows.store((self.rows.load(Ordering::Relaxed) / 4).max(MIN_PIECE), Ordering::Relaxed);
    }

    pub(super) fn grow(&self) {
        let piece = self.rows.load(Ordering::Relaxed);
        self.rows.store((piece + piece / 8 + 1).min(PIECE), Ordering::Relaxed);
    }
}

/// A statement that runs. If this guard is dropped before the response, the statement has examined too much, and the
/// piece shrinks.
pub(super) struct Unanswered<'a>(pub(super) Option<&'a Piece>);

impl Unanswered<'_> {
    pub(super) fn answered(mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_shrinks_in_rows_and_bytes_and_grows_again() {
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

    #[test]
    fn some_pages_after_a_large_row_expect_another() {
        let piece = Piece::new();
        assert!(!piece.expects_large_rows());
        (0..2).for_each(|_| piece.found_large_row());
        let expecting = (0..100).take_while(|_| piece.expects_large_rows()).count();
        assert_eq!(expecting, 16);
        assert!(!piece.expects_large_rows());
    }
}
