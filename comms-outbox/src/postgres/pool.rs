//! A pool of connections to a server that accepts writes.

use sqlx::{Row, postgres::PgPoolOptions};

/// Adds a check to `options`: before an idle connection is used again, it is closed if its server accepts no writes,
/// and another connection is used or opened.
///
/// The problem: after a switch-over a pool may have connections to a standby, or to a primary that has become one. A
/// service whose disk is full may set `default_transaction_read_only`. Each write on such a connection fails (SQLSTATE
/// 25006, `NotExecuted`), the connection returns to the pool, and it fails again until its `max_lifetime`, by default
/// half an hour. With the check it fails one write at most.
///
/// The check replaces sqlx's `test_before_acquire` at the same cost, one round trip. It also replaces a
/// `before_acquire` of the application.
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
