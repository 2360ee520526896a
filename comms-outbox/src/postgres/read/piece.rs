//! How much work one statement may do.

use std::sync::atomic::{AtomicU32, Ordering};

/// The most ids that one page covers.
pub(super) const SPAN: i64 = 5_000;
/// The most rows or index entries that one statement examines, as long as the server does not cancel it.
const PIECE: u32 = 10_000;
pub(super) const MIN_PIECE: u32 = 50;

/// How much one statement may examine. It shrinks after the server has cancelled a statement, and grows after each
/// success.
#[derive(Debug)]
pub(in crate::postgres) struct Piece(AtomicU32);

impl Piece {
    pub(in crate::postgres) const fn new() -> Self {
        Self(AtomicU32::new(PIECE))
    }

    pub(super) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed).into()
    }

    /// Returns the most bytes of a page, if a full piece may have `most`. Sending the bytes is part of the statement's
    /// time.
    pub(super) fn bytes(&self, most: i64) -> i64 {
        let share = i128::from(most) * i128::from(self.get()) / i128::from(PIECE);
        i64::try_from(share).unwrap_or(most).max(1)
    }

    pub(super) fn shrink(&self) {
        self.0.store((self.0.load(Ordering::Relaxed) / 4).max(MIN_PIECE), Ordering::Relaxed);
    }

    pub(super) fn grow(&self) {
        let piece = self.0.load(Ordering::Relaxed);
        self.0.store((piece + piece / 8 + 1).min(PIECE), Ordering::Relaxed);
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
}
