//! The connection for commands.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ::redis::{RedisResult, aio::MultiplexedConnection};
use comms_core::{Error, clock::Clock, resilience::Backoff};

use super::{
    RedisConfig, failure,
    servers::{self, Servers},
};

/// The connection for commands, which is made when it is needed, and replaced after a failure.
pub(super) struct Link {
    servers: Arc<Servers>,
    clock: Clock,
    timeout: Duration,
    backoff: Backoff,
    current: Mutex<Option<Live>>,
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
            current: Mutex::default(),
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
        match self.servers.connect(&servers::options()).await {
            Ok(connected) => {
                *attempts = Attempts { connections: attempts.connections + 1, ..Attempts::default() };
                let number = attempts.connections;
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
                    self.discard(live);
                }
                failure::of_command(error)
            }
            Err(elapsed) => {
                self.discard(live);
                Error::indeterminate(elapsed)
            }
        };
        Err(error.context(format_args!("{operation} in redis")))
    }

    /// Returns the identity of the server of the current connection.
    pub(super) fn run_id(&self) -> Option<Arc<str>> {
        self.current().as_ref().map(|live| live.run_id.clone())
    }

    fn discard(&self, number: u64) {
        self.current().take_if(|live| live.number == number);
    }

    fn current(&self) -> MutexGuard<'_, Option<Live>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }
}
