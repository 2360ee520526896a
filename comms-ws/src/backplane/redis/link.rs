//! The connection for commands.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ::redis::{
    AsyncConnectionConfig, PushInfo, PushKind, RedisError, RedisResult, aio::MultiplexedConnection,
};
use comms_core::{Error, clock::Clock, resilience::Backoff};

use super::{RedisConfig, config::connection_options, failure, servers::Servers};

/// The connection for commands, which is made when it is needed, and replaced after a failure.
pub(super) struct Link {
    servers: Arc<Servers>,
    clock: Clock,
    timeout: Duration,
    backoff: Backoff,
    current: Arc<Mutex<Option<Live>>>,
    /// Locked during an attempt: callers at the same time share its result.
    attempts: tokio::sync::Mutex<Attempts>,
}

/// A connection and the identity of its server.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    pub(super) run_id: Arc<str>,
    number: u64,
}

#[derive(Default)]
struct Attempts {
    /// The number of connections that were made.
    connections: u64,
    failed: u32,
    /// The end of the wait after a failed attempt.
    not_before: Option<Instant>,
}

impl Link {
    pub(super) fn new(servers: Arc<Servers>, config: &RedisConfig, clock: &Clock) -> Self {
        Self {
            servers,
            clock: clock.clone(),
            timeout: config.response_timeout,
            backoff: config.backoff,
            current: Arc::default(),
            attempts: tokio::sync::Mutex::default(),
        }
    }

    /// Returns the connection, or makes one. Fails at once between two attempts.
    pub(super) async fn live(&self) -> Result<Live, Error> {
        if let Some(live) = self.current().clone() {
            return Ok(live);
        }
        let mut attempts = self.attempts.lock().await;
        if let Some(live) = self.current().clone() {
            return Ok(live);
        }
        let wait = attempts.not_before.map(|at| at.saturating_duration_since(self.clock.now()));
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Err(Error::not_executed("redis is away, the next connection attempt waits")
                .with_retry_after(wait));
        }
        let number = attempts.connections + 1;
        match self.servers.connect(&self.options(number)).await {
            Ok(connected) => {
                *attempts = Attempts { connections: number, ..Attempts::default() };
                let live = Live { connection: connected.connection, run_id: connected.run_id.into(), number };
                *self.current() = Some(live.clone());
                Ok(live)
            }
            Err(error) => {
                attempts.failed = attempts.failed.saturating_add(1);
                attempts.not_before =
                    Some(self.clock.now() + self.backoff.delay(attempts.failed, &self.clock));
                Err(error)
            }
        }
    }

    /// Returns options with which a connection is discarded when it is closed, and not when the next command fails.
    fn options(&self, number: u64) -> AsyncConnectionConfig {
        // Weak: the task of the connection owns the function, and ends when the last handle is dropped.
        let current = Arc::downgrade(&self.current);
        connection_options().set_push_sender(move |push: PushInfo| -> Result<(), RedisError> {
            if push.kind == PushKind::Disconnection
                && let Some(current) = current.upgrade()
            {
                discard(&current, number);
            }
            Ok(())
        })
    }

    /// Waits for the reply to a command on `live`. Discards the connection if it fails or does not answer in time.
    pub(super) async fn reply<T>(
        &self,
        live: u64,
        operation: &str,
        reply: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Error> {
        let error = match self.clock.timeout(self.timeout, reply).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => {
                if failure::ends_connection(&error) {
                    discard(&self.current, live);
                }
                failure::of_command(error)
            }
            Err(elapsed) => {
                discard(&self.current, live);
                Error::indeterminate(elapsed)
            }
        };
        Err(error.context(format_args!("{operation} in redis")))
    }

    /// Returns the identity of the server of the current connection.
    pub(super) fn run_id(&self) -> Option<Arc<str>> {
        self.current().as_ref().map(|live| live.run_id.clone())
    }

    fn current(&self) -> MutexGuard<'_, Option<Live>> {
        lock(&self.current)
    }
}

fn lock(current: &Mutex<Option<Live>>) -> MutexGuard<'_, Option<Live>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

fn discard(current: &Mutex<Option<Live>>, number: u64) {
    // Dropped after the lock is released.
    let _discarded = lock(current).take_if(|live| live.number == number);
}

impl Live {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }
}
