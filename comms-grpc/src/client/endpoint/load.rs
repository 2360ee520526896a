//! The calls in flight on an endpoint, the calls that wait for its connection, and the guards of the endpoint.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{AcqRel, Relaxed},
    },
    time::Instant,
};

use comms_core::{
    ErrorKind,
    resilience::{BreakerPermit, BreakerSnapshot},
};

use super::{Endpoint, Unreachable};
use crate::client::connection::Exchange;

/// The maximum number of calls in flight on one endpoint, unless the guards of the endpoints have a bulkhead.
pub(super) const MAX_IN_FLIGHT: usize = 4_096;

/// The permission to send one call to an endpoint.
pub(in crate::client) struct Admission<'a> {
    endpoint: &'a Arc<Endpoint>,
    breaker: Option<BreakerPermit<'a>>,
    in_flight: Option<InFlight>,
    /// When the attempt is too slow for the channel, although its caller still waits.
    time_limit: Option<(Instant, Arc<Exchange>)>,
}

impl Endpoint {
    /// Admits a call, or returns why the guards of the endpoint refuse it.
    pub(in crate::client) fn admit(self: &Arc<Self>) -> Result<Admission<'_>, Unreachable> {
        let refusal =
            |reason: String, crowded| Unreachable { reason: reason.into(), retry_after: None, crowded };
        let in_flight = self.enter();
        let in_flight =
            in_flight.ok_or_else(|| refusal(format!("{} calls in flight", self.max_in_flight), true))?;
        let breaker = self.breaker.as_ref().map(|breaker| breaker.acquire()).transpose();
        let breaker = breaker.map_err(|rejection| refusal(rejection.to_string(), false))?;
        Ok(Admission { endpoint: self, breaker, in_flight: Some(in_flight), time_limit: None })
    }

    fn enter(self: &Arc<Self>) -> Option<InFlight> {
        let before = self.in_flight.fetch_add(1, AcqRel);
        let entered = InFlight(self.clone());
        (before < self.max_in_flight).then_some(entered)
    }

    /// Returns the number of calls in flight. A call is in flight until its response body has ended.
    pub(in crate::client) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Returns the number of calls that were sent, and that of those that failed through a fault of the peer.
    pub(in crate::client) fn counts(&self) -> (u64, u64) {
        (self.started.load(Relaxed), self.failed.load(Relaxed))
    }

    pub(in crate::client) fn breaker_snapshot(&self) -> Option<BreakerSnapshot> {
        self.breaker.as_ref().map(|breaker| breaker.snapshot())
    }
}

impl Admission<'_> {
    /// Records that the call was sent. If the attempt is dropped after `time_limit` and its request has left this
    /// process, the endpoint was too slow.
    pub(in crate::client) fn count_start(&mut self, time_limit: Option<(Instant, Arc<Exchange>)>) {
        self.endpoint.started.fetch_add(1, Relaxed);
        self.time_limit = time_limit;
    }

    /// Records the end of the attempt: its failure, or that response headers arrived. The call stays in flight while
    /// the returned value lives.
    pub(in crate::client) fn end(mut self, failure: Option<ErrorKind>) -> Option<InFlight> {
        self.record(failure);
        self.time_limit = None;
        self.in_flight.take()
    }

    fn record(&mut self, failure: Option<ErrorKind>) {
        let failed = failure.is_some_and(ErrorKind::is_peer_failure);
        if failed {
            self.endpoint.failed.fetch_add(1, Relaxed);
        }
        match self.breaker.take() {
            Some(permit) if failed => permit.failure(),
            Some(permit) if failure.is_none() => permit.success(),
            // Dropping the permit is neutral.
            _ => {}
        }
    }
}

/// The policy ends an attempt that is too slow by dropping it.
impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let Some((limit, exchange)) = self.time_limit.take() else { return };
        if limit <= self.endpoint.settings.clock.now() && exchange.is_sent() {
            self.record(Some(ErrorKind::Indeterminate));
        }
    }
}

/// A call in flight, until it is dropped.
#[derive(Debug)]
pub(in crate::client) struct InFlight(Arc<Endpoint>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, AcqRel);
    }
}

/// A call that waits for a connection, until it is dropped.
pub(super) struct Waiting<'a>(&'a Endpoint);

impl<'a> Waiting<'a> {
    pub(super) fn enter(endpoint: &'a Endpoint) -> Result<Self, Unreachable> {
        let before = endpoint.waiting.fetch_add(1, AcqRel);
        let waiting = Self(endpoint);
        if before < endpoint.settings.max_waiting {
            return Ok(waiting);
        }
        let reason = format!("{before} calls wait for the connection").into();
        Err(Unreachable { reason, retry_after: None, crowded: true })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, AcqRel);
    }
}
