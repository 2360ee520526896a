//! The outbox tables of one file.

/// The outbox tables in the file of one service.
///
/// Cheap to clone. It holds no connection: each call takes the caller's connection, and its writes are part of the
/// caller's transaction.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Tables {}

impl Tables {
    /// Returns the tables in the main database of a connection.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}
