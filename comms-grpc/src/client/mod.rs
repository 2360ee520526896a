//! The client side: a channel whose calls have a deadline, retry what is safe, and go to one or more endpoints.
//!
//! A call passes through the files in this order:
//! 1. `mod.rs`: [`Channel`] starts the call. `methods/` has the metrics and settings of its method, from the builder and
//!    from `service_config/`.
//! 2. `prepare.rs`: takes the caller's context, derives the deadline, and writes the trace on the request.
//! 3. `call/`: runs the attempts of `request/` under the policy, and bounds the response body by the deadline.
//! 4. `retry/`: how the policy, and the hedge, of comms-core see an attempt.
//! 5. `attempt.rs`: chooses an endpoint, sends the request, and repeats it if the peer has not processed it.
//! 6. `balance/`: the endpoints and the choice among them.
//! 7. `endpoint/`: one endpoint: its connection and connection attempts, its health, its load and its ejection.
//! 8. `connect.rs`, `connection/`: the socket, and HTTP/2 on it.
//! 9. `answer.rs`, `failure.rs`: the status that headers or trailers report, or that stands for a lost connection.
//! 10. `crate::evidence`: attaches the proof that the call was not executed.
//! 11. `crate::status`: [`from_status`](crate::from_status) converts the status to an error kind.
//!
//! `resume/` stands around the calls of a generated client: it opens a server stream again after a break.

mod answer;
mod attempt;
mod balance;
mod builder;
mod call;
mod connect;
mod connection;
mod endpoint;
mod failure;
mod keep_alive;
mod methods;
mod prepare;
mod request;
mod resume;
mod retry;
mod service_config;
mod snapshot;
mod task;

pub use balance::Balance;
pub use builder::ChannelBuilder;
pub use resume::{Resume, ResumeConfig, Resuming};
pub use snapshot::{ChannelSnapshot, EndpointSnapshot, EndpointState};

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use comms_core::{Error, clock::Clock, resilience::Policy};
use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::{Status, body::Body};
use tower_service::Service;

use attempt::Attempts;
use call::Call;
use methods::Methods;
use prepare::{Limits, prepare};
use request::IDEMPOTENCY_KEY;
use service_config::{Fixed, ServiceConfig};

/// A gRPC channel to one peer, for use with any client that tonic generates.
///
/// Cheap to clone; clones share the connections and the policy. The first call opens the connection, and a call after
/// the loss of the connection opens a new one. A peer with several endpoints gets a connection to each
/// ([`ChannelBuilder::endpoints`], [`ChannelBuilder::resolve`]).
///
/// # Deadline
/// A call ends with DEADLINE_EXCEEDED at the earliest of three deadlines: the deadline of the caller's
/// [`Context`](comms_core::context::Context), the `grpc-timeout` of the request, and the [`timeout`](ChannelBuilder::timeout) of
/// the channel. The deadline covers queueing, connecting, all attempts and the waits between them, the response headers
/// and the response stream. If the deadline has already passed, nothing is sent. Each attempt carries its remaining
/// time, a `traceparent` with a new span in the caller's trace, and the correlation, cause and priority of the context.
///
/// # Retries
/// Calls run under a [`Policy`] ([`ChannelBuilder::policy`] has the defaults). An attempt that failed is retried if
/// - the call was provably not executed, or
/// - executing the call twice is harmless: it has an [idempotency key](crate::keyed), or its method is one of the
///   [`idempotent_methods`](ChannelBuilder::idempotent_methods),
///
/// and the policy permits it. The peer can name the wait with `grpc-retry-pushback-ms`; a negative or malformed value
/// forbids the retry (gRFC A6). The header `grpc-previous-rpc-attempts` counts the earlier attempts. A call whose
/// response has begun, and a call that has sent more than [`replay_limit`](ChannelBuilder::replay_limit), is not
/// retried.
///
/// The methods of a peer can have limits and retries of their own: see [`ChannelBuilder::service_config`].
///
/// A request that the peer has provably not processed, because its connection was closed in order or because the peer
/// refused the stream, is sent again at once. This does not count as an attempt.
///
/// The calls of some methods can be [hedged](ChannelBuilder::hedge) instead of retried.
///
/// # Errors
/// [`from_status`](crate::from_status) converts the status of a failed call to an error:
/// - `NotExecuted`: no connection could be made, or the peer refused the call before a handler ran and the protocol
///   proves it.
/// - `Rejected`: a guard of the policy refused the call, the deadline had passed before the call was sent, too many calls
///   wait for the connection, or a comms-grpc server rejected the call before a handler ran.
/// - `Indeterminate`: the deadline passed or the connection failed during the call.
/// - `Misconfigured`, `Indeterminate` or `Invalid`, by HTTP status: the response was not gRPC, such as that of a proxy.
///
/// A response that ends in the middle of a message is an error. A status message is truncated to 4 KiB. A message of
/// more than about 1 MiB on the wire costs the connection.
///
/// ```
/// use comms_grpc::Channel;
/// use std::time::Duration;
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), comms_core::Error> {
///     let channel = Channel::builder("http://127.0.0.1:50051")
///         .peer("payment")
///         .timeout(Duration::from_millis(800))
///         .build()?;
///     // Generated code: PaymentsClient::new(channel)
///     let client = tonic::client::Grpc::new(channel);
///     # drop(client);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Channel {
    core: Arc<Core>,
}

/// The parts that the clones of a channel share.
#[derive(Debug)]
struct Core {
    peer: Arc<str>,
    methods: Methods,
    attempts: Attempts,
    policy: Policy,
    /// What the first service config set for the life of the channel.
    fixed: Fixed,
    replay_limit: usize,
    forwards_credentials: bool,
    clock: Clock,
}

impl Channel {
    fn new(core: Core) -> Self {
        Self { core: Arc::new(core) }
    }

    /// Replaces the service config ([`ChannelBuilder::service_config`]) for the calls that start afterwards.
    ///
    /// Connections, calls in flight, and the state of breakers, bulkheads and retry budgets stay. Only the tokens of a
    /// `retryThrottling` and the counts of a `hedgingPolicy` whose settings changed start anew. The config is replaced as a
    /// whole: `{}` removes it.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid), with the path of the value, if the config is not
    /// valid, if it changes the load balancing policy or the health check, or if it removes the budget of a hedge. The config
    /// before stays in effect (gRFC A21).
    pub fn update_service_config(&self, json: &str) -> Result<(), Error> {
        let peer = &self.core.peer;
        let changed = ServiceConfig::parse(json).and_then(|config| {
            self.core.fixed.check(&config)?;
            self.core.methods.configure(config)
        });
        changed.map_err(|error| error.context(format_args!("gRPC channel to {peer}")))?;
        tracing::info!(%peer, "the service config of the channel was replaced");
        Ok(())
    }

    /// Returns the state of the policy, and of each endpoint and its connection.
    #[must_use]
    pub fn snapshot(&self) -> ChannelSnapshot {
        let endpoints = self.core.attempts.shared().balancer.current();
        let endpoints = endpoints.iter().map(|endpoint| {
            let (started, failed) = endpoint.counts();
            EndpointSnapshot {
                address: endpoint.address.clone(),
                state: endpoint.link_state(),
                in_flight: endpoint.in_flight(),
                started,
                failed,
                breaker: endpoint.breaker_snapshot(),
                outlier: endpoint.outlier_snapshot(),
            }
        });
        ChannelSnapshot {
            peer: self.core.peer.to_string(),
            policy: self.core.policy.snapshot(),
            hedges: self.core.methods.hedges(),
            endpoints: endpoints.collect(),
        }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    // Boxed, so that the call is one async function. The allocation is negligible beside a network call.
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    /// Returns ready at once. The wait for a connection is part of the call, so that the deadline covers it.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let core = &*self.core;
        let method = core.methods.get(request.uri().path());
        let mut meter = method.start(&core.clock);
        let limits = Limits {
            timeout: method.settings.timeout,
            policy_has_timeout: method.settings.policy_has_timeout,
            started: meter.started(),
            peer: &core.peer,
            clock: &core.clock,
        };
        let prepared = match prepare(request.headers_mut(), &limits) {
            Ok(prepared) => prepared,
            Err(status) => {
                meter.set_code(status.code());
                return Box::pin(std::future::ready(Err(status)));
            }
        };
        let span =
            tracing::debug_span!("call", rpc.method = request.uri().path(), server.address = %core.peer);
        let mut settings = method.settings;
        settings.idempotent |= request.headers().contains_key(IDEMPOTENCY_KEY);
        let call = Call {
            method,
            request,
            prepared,
            replay_limit: core.replay_limit,
            settings,
            forwards_credentials: core.forwards_credentials,
            clock: core.clock.clone(),
            meter,
            span,
        };
        Box::pin(call.run())
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("peer", &self.core.peer).finish_non_exhaustive()
    }
}
