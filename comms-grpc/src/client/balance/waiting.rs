//! The wait for an endpoint, if none takes a call now.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt};

use super::{Balancer, Choice, EndpointSet, because};
use crate::client::endpoint::{Endpoint, Readiness, Unreachable};

/// Why no endpoint takes a call now.
pub(in crate::client) struct Unusable<'a> {
    /// The endpoints whose connection attempt is running, or whose connection has no free stream.
    pub(super) waiting: Vec<&'a Arc<Endpoint>>,
    /// The reason that lasts for the shortest time.
    pub(super) reason: Option<Unreachable>,
}

impl<'a> Unusable<'a> {
    /// Returns how long the call waits for one of the endpoints while an ejected endpoint is ready, or `None` if it waits
    /// without an end.
    fn patience(&self) -> Option<Duration> {
        let mut waits = self.waiting.iter().map(|endpoint| endpoint.patience());
        waits.try_fold(Duration::ZERO, |longest, wait| Some(longest.max(wait?)))
    }

    /// Waits for the first of the endpoints that has a free stream and admits the call.
    async fn first(&mut self, for_ready: bool, last_resort: bool) -> Option<Choice<'a>> {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let mut ready: FuturesUnordered<_> =
            waiting.map(|endpoint| async move { (endpoint, endpoint.stream(for_ready).await) }).collect();
        while let Some((endpoint, outcome)) = ready.next().await {
            let admit = || match last_resort {
                true => endpoint.admit_as_last_resort(),
                false => endpoint.admit(),
            };
            match outcome.map(|stream| (stream, admit())) {
                Ok((stream, Ok(admission))) => return Some(Choice { endpoint, stream, admission }),
                Ok((_, Err(reason))) | Err(reason) => self.add(endpoint, reason),
            }
        }
        None
    }

    pub(super) fn add(&mut self, endpoint: &Endpoint, mut reason: Unreachable) {
        let wait = |reason: &Unreachable| reason.retry_after.unwrap_or(Duration::MAX);
        if self.reason.as_ref().is_none_or(|known| wait(&reason) < wait(known)) {
            reason.reason = format!("{}: {}", endpoint.address, reason.reason).into();
            self.reason = Some(reason);
        }
    }
}

impl Balancer {
    /// Waits for the first endpoint that becomes ready and has a free stream. `for_ready`: also while no connection can be
    /// made. Returns `None` if the set of endpoints changes first.
    pub(in crate::client) async fn wait<'a>(
        &self,
        endpoints: &'a Arc<[Arc<Endpoint>]>,
        unusable: Unusable<'a>,
        for_ready: bool,
    ) -> Result<Option<Choice<'a>>, Unreachable> {
        let replaced = async {
            let is_other = |set: &EndpointSet| !Arc::ptr_eq(&set.endpoints, endpoints);
            if self.set.clone().wait_for(is_other).await.is_err() {
                // The set is fixed.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = replaced => Ok(None),
            choice = self.first_usable(endpoints, unusable, for_ready) => choice.map(Some),
        }
    }

    async fn first_usable<'a>(
        &self,
        endpoints: &'a [Arc<Endpoint>],
        mut unusable: Unusable<'a>,
        for_ready: bool,
    ) -> Result<Choice<'a>, Unreachable> {
        let resort = self.last_resort_after(unusable.patience(), endpoints);
        if for_ready {
            unusable.waiting = endpoints.iter().collect();
        }
        let choice = {
            // A call that waits for readiness takes an ejected endpoint, because the others may never be ready.
            let mut first = pin!(unusable.first(for_ready, for_ready));
            tokio::select! {
                biased;
                choice = &mut first => choice.or_else(|| self.last_resort(endpoints)),
                choice = resort => match choice {
                    Some(choice) => Some(choice),
                    None => first.await.or_else(|| self.last_resort(endpoints)),
                },
            }
        };
        if let Some(choice) = choice {
            return Ok(choice);
        }
        // An ejected endpoint may lack no more than a free stream.
        let is_open = |endpoint: &&Arc<Endpoint>| {
            matches!(endpoint.readiness(), Readiness::Ready(_)) && endpoint.admit_as_last_resort().is_ok()
        };
        unusable.waiting = endpoints.iter().filter(is_open).collect();
        let choice = unusable.first(for_ready, true).await;
        choice.ok_or_else(|| unusable.reason.unwrap_or_else(|| because("there is no endpoint")))
    }

    /// Chooses an ejected endpoint after a wait. `None` is a wait without an end.
    async fn last_resort_after<'a>(
        &self,
        wait: Option<Duration>,
        endpoints: &'a [Arc<Endpoint>],
    ) -> Option<Choice<'a>> {
        match wait {
            None => std::future::pending().await,
            Some(Duration::ZERO) => {}
            Some(wait) => self.clock.sleep(wait).await,
        }
        self.last_resort(endpoints)
    }

    /// Chooses an ejected endpoint, each in turn. Ejection is about which endpoint is better, so it refuses no call.
    fn last_resort<'a>(&self, endpoints: &'a [Arc<Endpoint>]) -> Option<Choice<'a>> {
        let first = self.next.fetch_add(1, Relaxed);
        (0..endpoints.len()).find_map(|offset| {
            let endpoint = &endpoints[first.wrapping_add(offset) % endpoints.len()];
            let Readiness::Ready(connection) = endpoint.readiness() else { return None };
            let stream = connection.try_stream()?;
            let admission = endpoint.admit_as_last_resort().ok()?;
            Some(Choice { endpoint, stream, admission })
        })
    }
}
