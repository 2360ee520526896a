//! The next connection: none is needed, one is due at a time, or one is being opened.

use std::{
    future::pending,
    pin::Pin,
    time::{Duration, Instant},
};

use comms_core::clock::{Clock, Sleep};
use futures_util::future::BoxFuture;

use super::{connect::Connection, failure::Failure};

pub(super) enum Next {
    None,
    Due { at: Instant, sleep: Pin<Box<Sleep>> },
    Opening(BoxFuture<'static, Result<Box<Connection>, Failure>>),
}

/// What [`Next::ready`] resolves to.
pub(super) enum Ready {
    /// It is time to open a connection.
    Due,
    Opened(Result<Box<Connection>, Failure>),
}

impl Next {
    pub(super) fn after(wait: Duration, clock: &Clock) -> Self {
        let at = clock.now() + wait;
        Self::Due { at, sleep: Box::pin(clock.sleep_until(at)) }
    }

    /// Resolves at the time, or when the connection is open or has failed. Never, if no connection is needed.
    /// Cancel-safe.
    pub(super) async fn ready(&mut self) -> Ready {
        let ready = match self {
            Self::None => pending().await,
            Self::Due { sleep, .. } => {
                sleep.await;
                Ready::Due
            }
            Self::Opening(opening) => Ready::Opened(opening.await),
        };
        *self = Self::None;
        ready
    }

    /// Returns the time until the next attempt, or `None` if none is planned.
    pub(super) fn wait(&self, clock: &Clock) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Due { at, .. } => Some(at.saturating_duration_since(clock.now())),
            Self::Opening(_) => Some(Duration::ZERO),
        }
    }
}
