//! Opens a PostgreSQL database in the background, and watches the server afterwards.
//!
//! When a process starts, the server may be unreachable, starting, out of connections, or without the database or the
//! role. An operator or time repairs each of these faults. Therefore the process waits and shows the reason, instead
//! of exiting and being restarted. Tables of another version are different: this program never works with them.
//!
//! [`Db::open`] waits without a limit, and returns only for a failure that waiting does not repair.

use std::{future::pending, time::Duration};

use comms_core::{Error, ErrorKind, clock::Clock, health::Component};
use sqlx::PgConnection;

use super::{
    Backend, Db, Phase,
    migrate::{PostgresSetup, check_writable, with_timeout},
};

/// The interval between two checks of an open connection.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

impl Db {
    /// Connects, migrates the tables and opens the database; then watches the server over a separate connection.
    /// `component` is unready, with the reason, until the database is open, and again while the server is unreachable
    /// or refuses writes.
    ///
    /// Resolves only with an error: drop the future to stop it. An SQLite database is open from the start.
    ///
    /// # Errors
    /// Returns `Fatal` if waiting does not repair the failure: tables of another version of this program, a server
    /// older than PostgreSQL 14, or a database whose encoding is not UTF8.
    pub async fn open(&self, component: Component) -> Result<(), Error> {
        let Backend::Postgres { pool, tables, setup } = &self.0.backend else {
            component.ready();
            return pending().await;
        };
        let mut attempts =
            FailedAttempts { setup, component: &component, schema: self.0.schema, failures: 0, last: None };
        while let Err(error) = setup.migrate(self.0.schema, pool, tables).await {
            if error.kind == ErrorKind::Fatal {
                return Err(error);
            }
            self.0.phase.send_replace(Phase::Waiting(error.chain().to_string()));
            attempts.failed(&error).await;
        }
        self.0.phase.send_replace(Phase::Open);
        loop {
            let error = match setup.connect().await {
                Ok(connection) => {
                    attempts.succeeded();
                    watch(connection, &setup.clock).await
                }
                Err(error) => error,
            };
            attempts.failed(&error).await;
        }
    }
}

/// The failed attempts to open the database: the readiness shown, the log lines, and the backoff.
struct FailedAttempts<'a> {
    setup: &'a PostgresSetup,
    component: &'a Component,
    schema: &'static str,
    failures: u32,
    last: Option<String>,
}

impl FailedAttempts<'_> {
    /// Shows `error`, and waits for the backoff before the next attempt.
    async fn failed(&mut self, error: &Error) {
        let reason = error.chain().to_string();
        self.component.unready(reason.clone());
        // Log each reason once, and not again for every attempt that fails for the same reason.
        if self.last.as_ref() != Some(&reason) {
            tracing::warn!(schema = self.schema, error = %reason, "the database cannot be used; retrying");
            self.last = Some(reason);
        }
        self.failures = self.failures.saturating_add(1);
        let PostgresSetup { backoff, clock, .. } = self.setup;
        clock.sleep(backoff.delay(self.failures, clock)).await;
    }

    fn succeeded(&mut self) {
        tracing::info!(schema = self.schema, "the database is open");
        (self.failures, self.last) = (0, None);
        self.component.ready();
    }
}

/// Checks the server at an interval. Resolves when a check fails.
async fn watch(mut connection: PgConnection, clock: &Clock) -> Error {
    loop {
        clock.sleep(CHECK_INTERVAL).await;
        if let Err(error) = with_timeout(clock, check_writable(&mut connection)).await {
            return error;
        }
    }
}
