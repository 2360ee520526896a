//! The health that a peer reports for a service, watched on each of its connections (gRFC A17).

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use comms_core::clock::Clock;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use tokio::sync::watch;
use tonic::{Code, Status, body::Body};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower_service::Service;

use super::{Endpoint, Settings, TRIAL};
use crate::{
    client::{
        connection::{Connection, ExchangeGuard, ReceivedBody},
        keep_alive::LONGEST,
        request::RequestBody,
        task::Task,
    },
    evidence::error_chain,
    status_headers::truncate,
};

/// The maximum size of a report and of a request: a report has one number, a request the name of a service.
const MAX_MESSAGE: usize = 4 * 1024;

/// The health check of a channel.
#[derive(Debug)]
pub(in crate::client) struct HealthCheck {
    service: String,
    /// Whether the log has the warning that a peer does not implement the check.
    has_warned: AtomicBool,
}

impl HealthCheck {
    pub(in crate::client) fn new(service: String) -> Self {
        Self { service, has_warned: AtomicBool::new(false) }
    }
}

/// What the peer has reported last: that it serves, or why it does not. `None` before its first report.
type Report = Option<Result<Serving, Arc<str>>>;

/// A peer that takes calls.
#[derive(Debug, Clone, Copy)]
enum Serving {
    /// The watch uses a stream of the connection.
    Watched,
    /// The peer does not implement the check, and the watch has ended.
    Unwatched,
}

/// The health of the peer on one connection. Dropping it ends the watch.
#[derive(Debug)]
pub(super) struct Health {
    report: watch::Receiver<Report>,
    _watch: Task,
}

impl Health {
    /// Watches the health on `connection` until the connection takes no further call.
    pub(super) fn watch(endpoint: &Endpoint, check: &Arc<HealthCheck>, connection: &Connection) -> Self {
        let (publish, report) = watch::channel(None);
        let settings = endpoint.settings.clone();
        let transport = Transport { connection: connection.for_health(), clock: settings.clock.clone() };
        let client = HealthClient::with_origin(transport, endpoint.origin.uri(None));
        let watcher = Watcher {
            client: client.max_decoding_message_size(MAX_MESSAGE),
            check: check.clone(),
            address: endpoint.address.clone(),
            settings,
            publish,
        };
        let (connection, clock) = (connection.clone(), endpoint.settings.clock.clone());
        let watch = async move {
            tokio::select! {
                () = watcher.run() => {}
                () = closed(&connection, &clock) => {}
            }
        };
        Self { report, _watch: Task::spawn(&endpoint.settings.runtime, watch) }
    }

    /// Waits for the first report, or for the end of the connection.
    pub(super) async fn reported(&mut self) {
        // An error is the end of the watch.
        let _ = self.report.wait_for(Option::is_some).await;
    }

    /// Returns why the endpoint takes no call, unless the peer serves and permits another stream than that of the watch.
    pub(super) fn problem(&self, max_streams: usize) -> Option<Arc<str>> {
        match &*self.report.borrow() {
            Some(Ok(Serving::Watched)) if max_streams == 1 => {
                Some("the peer permits one stream, and the watch of its health uses it".into())
            }
            Some(Ok(_)) => None,
            Some(Err(reason)) => Some(reason.clone()),
            None => Some("the connection ended before the peer reported its health".into()),
        }
    }
}

/// Resolves within [`TRIAL`] after the connection takes no further call. A peer that sends a GOAWAY waits for the end of
/// the watch before it closes the connection.
async fn closed(connection: &Connection, clock: &Clock) {
    while !connection.is_closed() {
        clock.sleep(TRIAL).await;
    }
}

/// The task that watches.
struct Watcher {
    client: HealthClient<Transport>,
    check: Arc<HealthCheck>,
    address: String,
    settings: Arc<Settings>,
    publish: watch::Sender<Report>,
}

impl Watcher {
    /// Watches until the peer answers that it does not implement the check. A watch that fails is repeated: at once if it
    /// has lasted, else after a backoff.
    async fn run(mut self) {
        let clock = self.settings.clock.clone();
        let mut failures = 0;
        loop {
            let started = clock.now();
            let end = self.follow().await;
            if end.code() == Code::Unimplemented {
                return self.do_without();
            }
            let text = format!("the watch of its health ended: {:?}: {}", end.code(), end.message());
            self.publish(Err(truncate(&text).into()));
            let has_lasted = clock.now().saturating_duration_since(started) >= TRIAL;
            failures = if has_lasted { 0 } else { u32::saturating_add(failures, 1) };
            if !has_lasted {
                clock.sleep(self.settings.backoff.delay(failures, &clock)).await;
            }
        }
    }

    /// Publishes the reports of one watch until it ends. Returns the status of its end.
    async fn follow(&mut self) -> Status {
        let request = HealthCheckRequest { service: self.check.service.clone() };
        let mut reports = match self.client.watch(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => return status,
        };
        loop {
            match reports.message().await {
                Ok(Some(report)) => self.publish(match report.status() {
                    ServingStatus::Serving => Ok(Serving::Watched),
                    other => Err(format!("the peer reports {}", other.as_str_name()).into()),
                }),
                Ok(None) => return Status::ok("the peer closed it"),
                Err(status) => return status,
            }
        }
    }

    fn publish(&self, report: Result<Serving, Arc<str>>) {
        let address = &*self.address;
        self.publish.send_if_modified(|known| {
            let changes = known.as_ref().is_none_or(|known| known.is_ok() != report.is_ok());
            match &report {
                Ok(_) if changes => tracing::debug!(endpoint = address, "the endpoint serves"),
                Err(reason) if changes => {
                    tracing::debug!(endpoint = address, %reason, "the endpoint takes no calls");
                }
                _ => {}
            }
            *known = Some(report);
            changes
        });
    }

    /// Treats the peer as healthy, because it does not implement the check.
    fn do_without(&self) {
        if !self.check.has_warned.swap(true, Relaxed) {
            let peer = &*self.settings.peer;
            tracing::warn!(peer, "the peer does not implement the health check, and counts as healthy");
        }
        self.publish(Ok(Serving::Unwatched));
    }
}

/// Sends the calls of the health client on one connection, past the guards and counts of the endpoint.
struct Transport {
    connection: Connection,
    clock: Clock,
}

/// The reports of one watch. Dropping them ends the watch.
struct Reports {
    body: ReceivedBody,
    _running: ExchangeGuard,
}

impl http_body::Body for Reports {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Reports>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Reports>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (connection, no_deadline) = (self.connection.clone(), self.clock.now() + LONGEST);
        Box::pin(async move {
            let (parts, mut body) = request.into_parts();
            let body =
                poll_fn(|cx| Poll::Ready(RequestBody::read(std::mem::take(&mut body), MAX_MESSAGE, cx)))
                    .await?;
            let stream = connection.stream().await;
            let stream = stream.ok_or_else(|| Status::unavailable("the connection takes no further call"))?;
            match stream.send(Request::from_parts(parts, body), no_deadline).await {
                Ok((response, running)) => Ok(response.map(|body| Reports { body, _running: running })),
                Err(unanswered) => {
                    let cause = error_chain(&*unanswered.error).last().map(ToString::to_string);
                    Err(Status::unavailable(cause.unwrap_or_default()))
                }
            }
        })
    }
}
