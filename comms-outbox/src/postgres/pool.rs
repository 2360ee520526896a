//! Connections to a server that may be written to.

use sqlx::{Row, postgres::PgPoolOptions};

/// `options` with a check of each idle connection before it is used again: one whose server takes no writes is closed,
/// and another is used or made.
///
/// The problem: after a switch-over a pool may hold connections to a standby, or to a primary that has become one, and a
/// service that is out of disk space sets `default_transaction_read_only`. Such a connection fails each write (SQLSTATE
/// 25006, `NotExecuted`), goes back to the pool, and would do so until its `max_lifetime`, by default half an hour. With
/// the check, it fails one write at most.
///
/// It replaces `test_before_acquire` of sqlx at the same price, a round trip, and a `before_acquire` of the application.
///
/// ```
/// use sqlx::postgres::PgPoolOptions;
/// let pool = comms_outbox::postgres::writable(PgPoolOptions::new().max_connections(10));
/// # drop(pool);
/// ```
#[must_use]
pub fn writable(options: PgPoolOptions) -> PgPoolOptions {
    options.test_before_acquire(false).before_acquire(|conn, _| {
        Box::pin(async move {
            let row = sqlx::raw_sql("SHOW transaction_read_only").fetch_one(conn).await?;
            Ok(row.try_get::<String, _>(0)? == "off")
        })
    })
}
