//! Chooses the endpoint of an attempt. `waiting.rs`: the wait for one; `resolver.rs`: the endpoints of a host.

mod resolver;
mod waiting;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use comms_core::clock::Clock;
use tokio::sync::{Semaphore, watch};

use super::{
    connection::FreeStream,
    endpoint::{Admission, Endpoint, Readiness, Unreachable},
    task::Task,
};

pub(super) use resolver::{Settings as ResolverSettings, start as start_resolver, system_lookup};
pub(super) use waiting::Unusable;

/// How a channel with several endpoints chooses the endpoint of a call.
///
/// Endpoints without a connection, in backoff, not serving, ejected, with an open breaker, or at their limit of calls in
/// flight are skipped while any other endpoint is usable. An ejected endpoint gets a call if no other one is
/// usable, also while the others repeat a failed connection attempt, or make a first one that takes longer than 250 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Balance {
    /// Each endpoint in turn.
    #[default]
    RoundRobin,
    /// The endpoint with fewer calls in flight of two that are chosen at random. A call is in flight until its response
    /// has ended. Suited to calls of different cost.
    ///
    /// A call that failed or was refused counts like one in flight, half as much after each further 5 s, so that an
    /// endpoint that refuses calls at once does not get more of them.
    LeastLoaded,
}

/// The endpoints of a channel.
#[derive(Debug, Clone)]
pub(super) struct EndpointSet {
    pub(super) endpoints: Arc<[Arc<Endpoint>]>,
    /// Why there are no endpoints.
    pub(super) problem: Option<Arc<str>>,
}

impl EndpointSet {
    pub(super) fn of(endpoints: Vec<Arc<Endpoint>>) -> Self {
        Self { endpoints: endpoints.into(), problem: None }
    }
}

/// Chooses endpoints. The set of endpoints changes with each resolution of the host.
#[derive(Debug)]
pub(super) struct Balancer {
    set: watch::Receiver<EndpointSet>,
    /// The calls that may still wait for the first resolution.
    may_wait: Semaphore,
    mode: Balance,
    next: AtomicUsize,
    clock: Clock,
    /// Ends the resolution when the channel is dropped.
    _resolver: Option<Task>,
    /// Ends the sweeps of outlier detection when the channel is dropped.
    _sweeps: Option<Task>,
}

/// The endpoint of an attempt.
pub(super) struct Choice<'a> {
    pub(super) endpoint: &'a Arc<Endpoint>,
    pub(super) stream: FreeStream,
    pub(super) admission: Admission<'a>,
}

impl Balancer {
    pub(super) fn new(
        set: watch::Receiver<EndpointSet>,
        mode: Balance,
        clock: Clock,
        max_waiting: usize,
        resolver: Option<Task>,
        sweeps: Option<Task>,
    ) -> Self {
        let may_wait = Semaphore::new(max_waiting.min(Semaphore::MAX_PERMITS));
        Self { set, may_wait, mode, next: AtomicUsize::new(0), clock, _resolver: resolver, _sweeps: sweeps }
    }

    /// Returns the endpoints now. Empty before the first resolution of the host.
    pub(super) fn current(&self) -> Arc<[Arc<Endpoint>]> {
        self.set.borrow().endpoints.clone()
    }

    /// Returns the endpoints, and waits for the first resolution.
    pub(super) async fn resolved(&self) -> Result<Arc<[Arc<Endpoint>]>, Unreachable> {
        let Ok(_waiting) = self.may_wait.try_acquire() else {
            return Err(Unreachable {
                crowded: true,
                ..because("too many calls wait for the resolution of the host")
            });
        };
        let mut changes = self.set.clone();
        let known = |set: &EndpointSet| !set.endpoints.is_empty() || set.problem.is_some();
        let set = match changes.wait_for(known).await {
            Ok(set) => set.clone(),
            Err(_) => return Err(because("the runtime of the channel has ended")),
        };
        match set.problem {
            Some(problem) if set.endpoints.is_empty() => Err(because(&problem)),
            _ => Ok(set.endpoints),
        }
    }

    /// Chooses an endpoint that has a connection. Starts connection attempts where the connection is missing. Never
    /// waits. An endpoint whose address is in `avoid` is chosen if no other endpoint is usable.
    pub(super) fn choose<'a>(
        &self,
        endpoints: &'a [Arc<Endpoint>],
        avoid: &[String],
    ) -> Result<Choice<'a>, Unusable<'a>> {
        let (first, turn) = self.first(endpoints, !avoid.is_empty());
        let mut unusable = Unusable { waiting: Vec::new(), reason: None };
        let passes = if avoid.is_empty() { 1 } else { 2 };
        for look in 0..passes * endpoints.len() {
            let (offset, avoided) = (look % endpoints.len(), look >= endpoints.len());
            // The substitutes of an endpoint take turns, so that its neighbour does not get all of its calls.
            let others = endpoints.len().saturating_sub(1).max(1);
            let step = if offset == 0 { 0 } else { 1 + (turn + offset - 1) % others };
            let endpoint = &endpoints[(first + step) % endpoints.len()];
            if avoid.contains(&endpoint.address) != avoided {
                continue;
            }
            match endpoint.readiness() {
                Readiness::Ready(connection) => match (connection.try_stream(), endpoint.admit()) {
                    (Some(stream), Ok(admission)) => return Ok(Choice { endpoint, stream, admission }),
                    (_, Err(reason)) => unusable.add(endpoint, reason),
                    (None, Ok(_)) => unusable.waiting.push(endpoint),
                },
                Readiness::Connecting => unusable.waiting.push(endpoint),
                Readiness::Unreachable(reason) => unusable.add(endpoint, reason),
            }
        }
        Err(unusable)
    }

    /// Returns the index of the endpoint that is considered first, and the turn of those that may replace it. A further
    /// attempt of a hedged call takes no turn: if each call took two, the first attempts would all go to one of two
    /// endpoints.
    fn first(&self, endpoints: &[Arc<Endpoint>], is_further_attempt: bool) -> (usize, usize) {
        let count = endpoints.len();
        if count < 2 {
            return (0, 0);
        }
        match self.mode {
            Balance::RoundRobin => {
                let next = match is_further_attempt {
                    true => self.next.load(Relaxed),
                    false => self.next.fetch_add(1, Relaxed),
                };
                (next % count, next / count % count)
            }
            Balance::LeastLoaded => {
                let random = u64::from_le_bytes(self.clock.random()) as usize;
                let (one, distance) = (random % count, 1 + (random / count) % (count - 1));
                let other = (one + distance) % count;
                // An endpoint that is not connected has no calls in flight and would win every comparison. The look at it
                // starts its next connection attempt, because no call may ever choose it.
                let load = |index: usize| {
                    let is_ready = matches!(endpoints[index].readiness(), Readiness::Ready(_));
                    (!is_ready, endpoints[index].load())
                };
                (if load(other) < load(one) { other } else { one }, random / count % count)
            }
        }
    }
}

fn because(reason: &str) -> Unreachable {
    Unreachable { reason: reason.into(), retry_after: None, crowded: false }
}

#[cfg(test)]
mod tests;
