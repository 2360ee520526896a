//! The calls in flight on an endpoint, the calls that wait for its connection, and the guards of the endpoint.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicUsize,
            Ordering::{AcqRel, Relaxed},
        },
    },
    time::Instant,
};

use comms_core::{
    ErrorKind,
    resilience::{BreakerPermit, BreakerSnapshot, HostSnapshot},
};

use super::{
    Endpoint, Unreachable,
    ejection::{Ejection, Observed},
};
use crate::client::{connection::Exchange, request::Head};

/// The maximum number of calls in flight on one endpoint, unless the guards of the endpoints have a bulkhead.
pub(super) const MAX_IN_FLIGHT: usize = 4_096;

/// The permission to send one call to an endpoint.
pub(in crate::client) struct Admission<'a> {
    endpoint: &'a Arc<Endpoint>,
    breaker: Option<BreakerPermit<'a>>,
    observed: Option<Observed<'a>>,
    in_flight: Option<InFlight>,
    time_limit: Option<TimeLimit>,
    /// The request of a hedged call, and the number of this attempt.
    hedged: Option<(Arc<Head>, u32)>,
}

/// When the policy ends an attempt by dropping it.
struct TimeLimit {
    deadline: Instant,
    /// Whether the deadline is that of the caller.
    is_callers: bool,
    exchange: Arc<Exchange>,
}

impl Endpoint {
    /// Admits a call, or returns why the endpoint does not take one: its guards refuse the call, or it is ejected.
    pub(in crate::client) fn admit(self: &Arc<Self>) -> Result<Admission<'_>, Unreachable> {
        self.admit_unless_avoided(false)
    }

    /// Admits a call although the endpoint is ejected, because no other endpoint is usable.
    pub(in crate::client) fn admit_as_last_resort(self: &Arc<Self>) -> Result<Admission<'_>, Unreachable> {
        self.admit_unless_avoided(true)
    }

    fn admit_unless_avoided(self: &Arc<Self>, last_resort: bool) -> Result<Admission<'_>, Unreachable> {
        let refusal =
            |reason: String, crowded| Unreachable { reason: reason.into(), retry_after: None, crowded };
        let in_flight = self.enter();
        let in_flight =
            in_flight.ok_or_else(|| refusal(format!("{} calls in flight", self.max_in_flight), true))?;
        let observed = self.ejection.as_ref().map(|ejection| ejection.admit(last_resort)).transpose();
        let observed = observed.map_err(|reason| refusal(reason.to_owned(), false))?;
        let breaker = self.breaker.as_ref().map(|breaker| breaker.acquire()).transpose();
        let breaker = breaker.map_err(|rejection| refusal(rejection.to_string(), false))?;
        let in_flight = Some(in_flight);
        Ok(Admission { endpoint: self, breaker, observed, in_flight, time_limit: None, hedged: None })
    }

    fn enter(&self) -> Option<InFlight> {
        let before = self.in_flight.fetch_add(1, AcqRel);
        let entered = InFlight(self.in_flight.clone());
        (before < self.max_in_flight).then_some(entered)
    }

    /// Returns the number of calls in flight. A call is in flight until its response body has ended.
    pub(in crate::client) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Returns what the choice of the less loaded endpoint compares: whether calls avoid the endpoint, and its calls in
    /// flight plus its recent failures.
    pub(in crate::client) fn load(&self) -> (bool, usize) {
        let is_avoided = self.ejection.as_ref().is_some_and(Ejection::is_avoided);
        (is_avoided, self.in_flight() + self.recent_failures.count(&self.settings.clock) as usize)
    }

    /// Returns the number of calls that were sent, and that of those that failed through a fault of the peer.
    pub(in crate::client) fn counts(&self) -> (u64, u64) {
        (self.started.load(Relaxed), self.failed.load(Relaxed))
    }

    pub(in crate::client) fn breaker_snapshot(&self) -> Option<BreakerSnapshot> {
        self.breaker.as_ref().map(|breaker| breaker.snapshot())
    }

    pub(in crate::client) fn outlier_snapshot(&self) -> Option<HostSnapshot> {
        self.ejection.as_ref().map(Ejection::snapshot)
    }
}

impl Admission<'_> {
    /// Records that the call was sent. If the attempt is dropped after `deadline` and its request has left this process,
    /// the endpoint was too slow.
    ///
    /// The deadline of a caller is no evidence for the breaker, because it may be short for any endpoint. The detector
    /// counts it, because it compares the endpoints.
    pub(in crate::client) fn count_start(
        &mut self,
        deadline: Instant,
        is_callers: bool,
        exchange: Arc<Exchange>,
    ) {
        self.endpoint.started.fetch_add(1, Relaxed);
        self.time_limit = Some(TimeLimit { deadline, is_callers, exchange });
    }

    /// Records that the attempt is the one with `number` of a hedged call, which another attempt may decide.
    pub(in crate::client) fn compete(&mut self, head: Arc<Head>, number: u32) {
        self.hedged = Some((head, number));
    }

    /// Returns whether an attempt of the call that began later has decided the call.
    fn was_overtaken(&self) -> bool {
        let Some((head, number)) = &self.hedged else { return false };
        head.hedged.as_ref().is_some_and(|hedged| hedged.was_overtaken(*number))
    }

    /// Records the end of the attempt: its failure, or that response headers arrived. The call stays in flight while
    /// the returned value lives.
    pub(in crate::client) fn end(mut self, failure: Option<ErrorKind>) -> Option<InFlight> {
        // A peer may report the end of the deadline of the caller before the timer of this process fires.
        let limit = self.time_limit.take().filter(|limit| limit.is_callers);
        let is_callers_end = failure == Some(ErrorKind::Indeterminate)
            && limit.is_some_and(|limit| limit.deadline <= self.endpoint.settings.clock.now());
        self.count(failure);
        match self.breaker.take() {
            Some(_) if is_callers_end => {}
            Some(permit) if failure.is_some_and(ErrorKind::is_peer_failure) => permit.failure(),
            Some(permit) if failure.is_none() => permit.success(),
            // Dropping the permit is neutral.
            _ => {}
        }
        self.in_flight.take()
    }

    /// Ends an attempt that the peer has not processed. It is no evidence about the endpoint.
    pub(in crate::client) fn withdraw(mut self) {
        self.time_limit = None;
    }

    /// Counts the end of the attempt for the snapshot, the load and the detector.
    fn count(&mut self, failure: Option<ErrorKind>) {
        let endpoint = self.endpoint;
        let answered_well = match failure {
            Some(kind) if kind.is_peer_failure() => Some(false),
            // A refusal is no evidence about the endpoint.
            Some(ErrorKind::Rejected) => None,
            _ => Some(true),
        };
        if answered_well == Some(false) {
            endpoint.failed.fetch_add(1, Relaxed);
        }
        if answered_well == Some(false) || failure == Some(ErrorKind::Rejected) {
            endpoint.recent_failures.add(&endpoint.settings.clock);
        }
        if let Some((observed, success)) = self.observed.take().zip(answered_well) {
            observed.record(success);
        }
    }
}

/// The policy ends an attempt that is too slow by dropping it, and the hedge one that has lost.
impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let Some(limit) = self.time_limit.take().filter(|limit| limit.exchange.is_sent()) else { return };
        if limit.deadline <= self.endpoint.settings.clock.now() {
            self.count(Some(ErrorKind::Indeterminate));
            if let Some(permit) = self.breaker.take_if(|_| !limit.is_callers) {
                permit.failure();
            }
            return;
        }
        // Another attempt began later, by the delay of the hedge, and was faster. This is no failure, but a trial has to end:
        // an endpoint whose attempts always lose would be on trial for ever.
        let was_overtaken = self.was_overtaken();
        if let Some(observed) = self.observed.take_if(|observed| was_overtaken && observed.is_trial()) {
            observed.record(false);
        }
    }
}

/// A call in flight, until it is dropped. It does not keep the endpoint: an endpoint that the channel has given up ends
/// its part in outlier detection at once, although its streams continue.
#[derive(Debug)]
pub(in crate::client) struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
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
