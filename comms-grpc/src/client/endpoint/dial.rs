//! One connection attempt, shared by all calls that wait for it.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Endpoint, Link, Live, Outcome, Unreachable, health::Health, load::Waiting};
use crate::{
    client::connection::{Connection, Limits},
    evidence::error_chain,
};

/// How long calls wait for the first connection attempt of an endpoint while an ejected endpoint is ready: the delay after
/// which RFC 8305 attempts another address. An address that drops packets would hold the calls for the connect timeout.
const PATIENCE: Duration = Duration::from_millis(250);

/// Starts a connection attempt on the runtime of the channel. The caller holds the lock of the state.
pub(super) fn start(endpoint: &Arc<Endpoint>) -> watch::Receiver<Option<Outcome>> {
    let (report, outcome) = watch::channel(None);
    let attempt = endpoint.clone();
    endpoint.settings.runtime.spawn(async move {
        let opened = open(&attempt).await;
        let outcome = attempt.store(opened);
        report.send_replace(Some(outcome));
    });
    outcome
}

/// Opens the connection within the connect timeout, and waits as long for the first report of the peer's health.
async fn open(endpoint: &Endpoint) -> Result<Live, Arc<str>> {
    let connection = connect(endpoint).await?;
    let Some(check) = &endpoint.settings.health_check else { return Ok(Live { connection, health: None }) };
    let mut health = Health::watch(endpoint, check, &connection);
    let timeout = endpoint.settings.connect_timeout;
    match endpoint.settings.clock.timeout(timeout, health.reported()).await {
        Ok(()) => Ok(Live { connection, health: Some(health) }),
        Err(elapsed) => Err(format!("the peer does not report its health: {elapsed}").into()),
    }
}

async fn connect(endpoint: &Endpoint) -> Result<Connection, Arc<str>> {
    let settings = &endpoint.settings;
    let started = settings.clock.now();
    let limits = Limits {
        keep_alive: settings.keep_alive,
        connect_timeout: settings.connect_timeout,
        clock: settings.clock.clone(),
    };
    let connect = async {
        let stream =
            settings.connector.connect(endpoint.target.clone(), endpoint.origin.authority.host()).await?;
        Connection::open(stream, limits, &settings.runtime, started, endpoint.answered.clone()).await
    };
    match settings.clock.timeout(settings.connect_timeout, connect).await {
        Ok(Ok(connection)) => Ok(connection),
        // The last source has the cause.
        Ok(Err(error)) => {
            Err(error_chain(&*error).last().map(ToString::to_string).unwrap_or_default().into())
        }
        Err(elapsed) => Err(format!("no connection: {elapsed}").into()),
    }
}

impl Endpoint {
    /// Makes the end of a connection attempt the state of the endpoint.
    fn store(&self, opened: Result<Live, Arc<str>>) -> Outcome {
        let mut state = self.lock();
        let reason = match opened {
            Ok(live) => {
                let outcome = live.usable();
                state.link = Link::Ready(live);
                return outcome;
            }
            Err(reason) => reason,
        };
        let delay = self.back_off(&mut state, self.settings.clock.now(), reason.clone());
        drop(state);
        tracing::debug!(endpoint = %self.address, %reason, ?delay, "a connection attempt failed");
        self.settings.trouble.notify_one();
        Err(Unreachable { reason, retry_after: Some(delay), crowded: false })
    }

    /// Returns how long a call waits for this endpoint while an ejected one is ready. A connection attempt after a failed
    /// one may take long and fail as well. The first one after a connection that ended in order is worth a short wait,
    /// because an ejected endpoint fails many calls. `None`: the endpoint is connected, and has no free stream.
    pub(in crate::client) fn patience(&self) -> Option<Duration> {
        let state = self.lock();
        match state.link {
            Link::Connecting { since, .. } if state.failures == 0 => {
                let now = self.settings.clock.now();
                Some(PATIENCE.saturating_sub(now.saturating_duration_since(since)))
            }
            Link::Connecting { .. } => Some(Duration::ZERO),
            _ => None,
        }
    }
}

/// Waits for the running connection attempt. Returns `None` if it has ended since the caller looked at the endpoint.
pub(super) async fn outcome(endpoint: &Arc<Endpoint>) -> Option<Outcome> {
    let mut running = match &endpoint.lock().link {
        Link::Connecting { outcome, .. } => outcome.clone(),
        _ => return None,
    };
    let _waiting = match Waiting::enter(endpoint) {
        Ok(waiting) => waiting,
        Err(crowded) => return Some(Err(crowded)),
    };
    match running.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone(),
        Err(_) => Some(Err(unreachable_because("the runtime of the channel has ended"))),
    }
}

pub(super) fn unreachable_because(reason: &str) -> Unreachable {
    Unreachable { reason: reason.into(), retry_after: None, crowded: false }
}
