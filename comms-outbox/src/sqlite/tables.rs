//! The tables of one file.

/// The outbox tables of one service's file. Cheap to clone; holds no connection: every call takes the
/// caller's, and what it writes is part of the caller's transaction.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Tables {}

impl Tables {
    /// The tables in the main database of a connection.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}
