//! The standard health service (`grpc.health.v1.Health`), which reports the readiness of the process.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use comms_core::{BoxError, Error, clock::Clock, health::Health as Readiness};
use futures::{
    Stream, StreamExt,
    future::{BoxFuture, Either},
    stream,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status, async_trait, body::Body};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};
use tower_service::Service;

use super::response::failure_response;

/// The interval at which the readiness is read for watches.
const INTERVAL: Duration = Duration::from_secs(1);

/// The time for the rest of a request after the shutdown began.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    NotServing,
    /// Shutdown was requested: NOT_SERVING, and the watches end.
    Stopping,
}

impl Phase {
    const fn status(self) -> ServingStatus {
        match self {
            Self::Serving => ServingStatus::Serving,
            Self::NotServing | Self::Stopping => ServingStatus::NotServing,
        }
    }
}

/// The state that all services of the server report.
#[derive(Debug, Clone)]
pub(super) struct HealthState {
    phase: Arc<watch::Sender<Phase>>,
    readiness: Option<Readiness>,
}

/// The maximum size of a request: it has the name of a service.
const MAX_REQUEST: usize = 4 * 1024;

impl HealthState {
    /// Returns the state of a server that is ready while `readiness` is, or always.
    pub(super) fn new(readiness: Option<Readiness>) -> Self {
        let state = Self { phase: Arc::new(watch::Sender::new(Phase::Serving)), readiness };
        state.refresh();
        state
    }

    /// Returns the service that reports the state under `names`, and for the server as a whole.
    fn service(&self, names: BTreeSet<String>) -> HealthServer<HealthService> {
        HealthServer::new(HealthService { state: self.clone(), names: Arc::new(names) })
            .max_decoding_message_size(MAX_REQUEST)
    }

    /// Reports NOT_SERVING from now on, and ends the watches, which would otherwise keep their connections open for the
    /// whole drain.
    pub(super) fn stop(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    /// Reads the readiness at each interval, so that watches see a change. Never resolves.
    pub(super) async fn observe(&self, clock: &Clock) -> Infallible {
        if self.readiness.is_none() {
            std::future::pending::<()>().await;
        }
        loop {
            clock.sleep(INTERVAL).await;
            self.refresh();
        }
    }

    /// Resolves when the server waits no longer for a request: after `max_timeout`, or one second after the shutdown
    /// began. A request whose frames arrive separately is answered during the shutdown.
    async fn end_of_wait(&self, max_timeout: Duration, clock: &Clock) -> Status {
        let mut phases = self.phase.subscribe();
        let stopping = async {
            // The sender lives as long as this state.
            drop(phases.wait_for(|phase| *phase == Phase::Stopping).await);
            clock.sleep(SHUTDOWN_WAIT).await;
        };
        match clock.timeout(max_timeout, stopping).await {
            Ok(()) => Status::unavailable("the server shuts down, and the request has not arrived"),
            Err(_) => Status::deadline_exceeded("the request did not arrive within the time limit"),
        }
    }

    fn refresh(&self) -> Phase {
        let ready = self.readiness.as_ref().is_none_or(Readiness::is_ready);
        let next = if ready { Phase::Serving } else { Phase::NotServing };
        self.phase.send_if_modified(|phase| {
            let changes = *phase != Phase::Stopping && *phase != next;
            if changes {
                *phase = next;
            }
            changes
        });
        *self.phase.borrow()
    }
}

/// Checks that no service of the application has the name of the health service: its calls would never reach it.
///
/// # Errors
/// Returns `Invalid` if `names` contains the name.
pub(super) fn check_names(names: &BTreeSet<String>) -> Result<(), Error> {
    match names.contains(NAME) {
        false => Ok(()),
        true => Err(Error::invalid(format!(
            "gRPC server: the server serves {NAME} by itself: use Server::health instead of a service of that name"
        ))),
    }
}

/// A service that sends health checks to the health service, and all other calls to `inner`. The health service is outside
/// the layers of `inner`, because a watch has no deadline.
///
/// The time to the start of a response is limited: the request of a peer may never arrive.
#[derive(Debug, Clone)]
pub(super) struct HealthRoute<S> {
    /// Shared, because this service is cloned for each request.
    health: Arc<HealthServer<HealthService>>,
    state: HealthState,
    max_timeout: Duration,
    clock: Clock,
    inner: S,
}

/// The name of the health service.
const NAME: &str = "grpc.health.v1.Health";
/// The start of the paths of the health service.
const PATHS: &str = "/grpc.health.v1.Health/";

impl<S> HealthRoute<S> {
    /// Returns a service that reports `state` under `names`, and starts each response within `max_timeout`.
    pub(super) fn new(
        state: HealthState,
        names: BTreeSet<String>,
        max_timeout: Duration,
        clock: Clock,
        inner: S,
    ) -> Self {
        Self { health: Arc::new(state.service(names)), state, max_timeout, clock, inner }
    }
}

impl<S, B> Service<http::Request<B>> for HealthRoute<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<BoxFuture<'static, Result<Self::Response, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path().starts_with(PATHS) {
            let call = (*self.health).clone().call(request);
            let (state, max_timeout, clock) = (self.state.clone(), self.max_timeout, self.clock.clone());
            Either::Left(Box::pin(async move {
                // The call is polled first: a request that has arrived is answered during the shutdown as well.
                tokio::select! {
                    biased;
                    response = call => response,
                    status = state.end_of_wait(max_timeout, &clock) => Ok(failure_response(status)),
                }
            }))
        } else {
            Either::Right(self.inner.call(request))
        }
    }
}

/// The health service. A name that is not registered is NOT_FOUND (`Check`) or SERVICE_UNKNOWN (`Watch`).
#[derive(Debug)]
pub(super) struct HealthService {
    state: HealthState,
    names: Arc<BTreeSet<String>>,
}

impl HealthService {
    fn is_known(&self, name: &str) -> bool {
        name.is_empty() || self.names.contains(name)
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.is_known(&request.get_ref().service) {
            return Err(Status::not_found("the server has no service of this name"));
        }
        Ok(Response::new(response(self.state.refresh().status())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = self.is_known(&request.get_ref().service);
        self.state.refresh();
        let mut phases = self.state.phase.subscribe();
        phases.mark_changed();
        let changes = stream::unfold(Some(phases), next_phase);
        let statuses = changes.map(move |phase| match known {
            true => phase.status(),
            false => ServingStatus::ServiceUnknown,
        });
        // A status is sent once: SERVICE_UNKNOWN does not change, and NOT_SERVING stays at shutdown.
        let mut last = None;
        let statuses = statuses
            .filter(move |status| std::future::ready(last.replace(*status) != Some(*status)))
            .map(|status| Ok(response(status)));
        Ok(Response::new(Box::pin(statuses)))
    }
}

/// Returns the current phase at the first call, then each change. Ends after [`Phase::Stopping`].
async fn next_phase(
    state: Option<watch::Receiver<Phase>>,
) -> Option<(Phase, Option<watch::Receiver<Phase>>)> {
    let mut receiver = state?;
    receiver.changed().await.ok()?;
    let phase = *receiver.borrow_and_update();
    Some((phase, (phase != Phase::Stopping).then_some(receiver)))
}
