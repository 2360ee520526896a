//! The server of gRPC routes, with its health service, its checks and its accept loop.

use std::{collections::BTreeSet, convert::Infallible, fmt, future::Future, sync::Arc};

use bytes::Bytes;
use comms_core::{BoxError, Error, clock::Clock, health::Health, resilience::Shedder};
use http::{Request, Response};
use tokio::net::TcpListener;
use tonic::{body::Body, server::NamedService, service::Routes, transport::server::TcpConnectInfo};
use tower::{Layer, Service, ServiceExt};

use super::{
    Peer, RequestBody, ServerConfig, ServerLayer,
    access::Access,
    guards::{GuardedRoutes, Guards, check_served},
    health::{self, HealthRoute, HealthState},
    listen,
    message_check::MessageLimits,
    methods::Methods,
    protocol::ProtocolCheck,
    replay::Replay,
};

/// A gRPC server: routes under a [`ServerLayer`], with health, limits, authorization and replay.
///
/// # The problem
/// The server of tonic accepts any method and content type, reports a message over its limit as OUT_OF_RANGE, ignores a
/// second message of a unary call, and leaves deadlines, health and authorization to each service.
///
/// # The promise
/// Each call passes these checks in this order. A check that fails ends the call before its handler.
/// 1. HTTP method and content type: 405 and 415. `application/grpc` and `application/grpc+proto` are accepted.
/// 2. [`ServerLayer`]: context, deadline, panics, metrics.
/// 3. [`authorize`](Self::authorize): UNAUTHENTICATED, PERMISSION_DENIED.
/// 4. [`shed`](Self::shed): the calls of the lowest priority are refused first. With [`descriptors`](Self::descriptors), a
///    call of a unary or server-streaming method acquires its permit after step 5.
/// 5. Messages: a message over [`ServerConfig::max_request_message`] or
///    [`max_response_message`](ServerConfig::max_response_message) is RESOURCE_EXHAUSTED. A request that ends in the
///    middle of a message is INTERNAL. With [`descriptors`](Self::descriptors), a call of a unary or server-streaming
///    method with no or a second message is UNIMPLEMENTED.
/// 6. [`replay`](Self::replay): a call with an idempotency key is executed once.
///
/// A watch of the standard health service (`grpc.health.v1.Health`) has no deadline, but its request must arrive within
/// [`ServerConfig::max_timeout`]. [`authorize`](Self::authorize) does not apply to the health service.
///
/// ```
/// use comms_core::{clock::Clock, health::Health, idempotency::MemoryStore, resilience::{ShedConfig, Shedder}};
/// use comms_grpc::{Access, Caller, Replay, Server, ServerConfig, tonic::service::Routes};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = Clock::system();
/// let health = Health::new();
/// let database = health.component("database"); // NOT_SERVING until `ready`
/// let order = Caller::spiffe_id("spiffe://shop.example/order");
/// let server = Server::new(Routes::default()) // .add_service(PaymentsServer::new(payments))
///     .service_names(["shop.Payments"])
///     .config(ServerConfig::default().name("payment").max_request_message(64 * 1024))
///     .authorize(Access::builder().allow("/shop.Payments/Charge", [order]).build()?)
///     .shed(Shedder::new("payment", ShedConfig::adaptive(), clock.clone())?)
///     .replay(Replay::new(Arc::new(MemoryStore::new(clock))).method("/shop.Payments/Charge"))
///     .health(health);
/// database.ready();
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let shutdown = async { /* SIGTERM */ };
/// server.serve(listener, shutdown).await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Server {
    routes: Routes,
    names: BTreeSet<String>,
    config: ServerConfig,
    clock: Clock,
    health: Option<Health>,
    descriptors: Vec<Bytes>,
    #[cfg(feature = "reflection")]
    reflected: Vec<Bytes>,
    access: Option<Access>,
    shedder: Option<Shedder>,
    replay: Option<Replay>,
}

impl Server {
    /// Returns a server of `routes` with the default [`ServerConfig`] and the system clock. The health service reports
    /// the server as a whole; name the services of `routes` with [`service_names`](Self::service_names).
    pub fn new(routes: Routes) -> Self {
        Self {
            routes,
            names: BTreeSet::new(),
            config: ServerConfig::default(),
            clock: Clock::system(),
            health: None,
            descriptors: Vec::new(),
            #[cfg(feature = "reflection")]
            reflected: Vec::new(),
            access: None,
            shedder: None,
            replay: None,
        }
    }

    /// Adds a service that tonic generated, also one with an interceptor, and its name in the health service.
    pub fn add_service<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible, Future: Send>,
        S: NamedService + Clone + Send + Sync + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.names.insert(S::NAME.to_owned());
        self.routes = self.routes.add_service(service);
        self
    }

    /// Adds names under which the health service reports the state, such as `shop.Payments`. A client that checks a name
    /// which is not listed gets NOT_FOUND.
    pub fn service_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.names.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the limits.
    pub fn config(mut self, config: ServerConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the clock that measures deadlines and limits. Default: the system clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Reports NOT_SERVING while `health` is not ready. A check reads `health` at once, and a watch sees a change within
    /// one second. Default: the server is ready until its shutdown.
    pub fn health(mut self, health: Health) -> Self {
        self.health = Some(health);
        self
    }

    /// Checks the number of request messages of the methods in `descriptors`, an encoded
    /// `google.protobuf.FileDescriptorSet`. The wire does not show whether a method takes one message or a stream, so
    /// without descriptors a second message of a unary call is ignored by tonic.
    pub fn descriptors(mut self, descriptors: impl Into<Bytes>) -> Self {
        self.descriptors.push(descriptors.into());
        self
    }

    /// Serves the reflection service (`grpc.reflection.v1`) for `descriptors`, and checks the number of request messages
    /// of their methods, see [`descriptors`](Self::descriptors). [`authorize`](Self::authorize) applies to
    /// `grpc.reflection.v1.ServerReflection`.
    #[cfg(feature = "reflection")]
    pub fn reflection(mut self, descriptors: impl Into<Bytes>) -> Self {
        let descriptors = descriptors.into();
        self.reflected.push(descriptors.clone());
        self.descriptors(descriptors)
    }

    /// Permits calls only by the rules of `access`. Default: every peer may call every method.
    pub fn authorize(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// Sheds calls by their priority while the server is overloaded. A call holds its permit until its response has ended.
    /// A shed call gets the wait of the rejection as pushback, and is marked as not executed. Default: none.
    ///
    /// With [`descriptors`](Self::descriptors), a call of a unary or server-streaming method acquires its permit when its
    /// request has arrived as a whole, so that requests that never arrive hold no permit. A call that arrives while there is
    /// no permit is refused before its request is read. Any other call acquires its permit with its headers. The memory of
    /// requests on their way is bounded by [`ServerConfig::max_streams`] and [`ServerConfig::max_request_message`] alone.
    ///
    /// An adaptive limit measures the handlers of calls with one request message. A handler that is overloaded returns the
    /// rejection of its bulkhead by [`refused`](crate::refused).
    ///
    /// The priority is that of the caller's [`Context`](comms_core::context::Context). A server at a public edge caps it,
    /// because a client can claim any priority.
    pub fn shed(mut self, shedder: Shedder) -> Self {
        self.shedder = Some(shedder);
        self
    }

    /// Executes calls with an idempotency key once, for the methods of `replay`. Default: none.
    pub fn replay(mut self, replay: Replay) -> Self {
        self.replay = Some(replay);
        self
    }

    /// Serves on `listener` until `shutdown` resolves.
    ///
    /// When `shutdown` resolves, the health service reports NOT_SERVING and ends its watches. After
    /// [`ServerConfig::shutdown_delay`] the listener closes, and each peer gets a GOAWAY. Calls in flight continue for at
    /// most [`ServerConfig::drain`]. The calls that still run then are cut, and a warning is logged. Dropping the future
    /// cuts all calls at once.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if:
    /// - a limit of the configuration other than [`ServerConfig::drain`] and [`ServerConfig::shutdown_delay`] is zero;
    /// - a service is named `grpc.health.v1.Health`, which the server serves by itself;
    /// - descriptors cannot be decoded;
    /// - a rule of access or a replay names a service that is not served;
    /// - the lease of the replay is shorter than [`ServerConfig::max_timeout`].
    ///
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if TLS is set and its certificates cannot
    /// be loaded, or no cryptography provider is installed. An accept that fails is logged and repeated.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), Error> {
        let routes = self.reflecting()?;
        let Self { names, config, clock, health, descriptors, access, shedder, replay, .. } = self;
        let layer = ServerLayer::new(config.max_timeout, clock.clone())?;
        let limits = MessageLimits::of(&config, clock.clone())?;
        health::check_names(&names)?;
        replay.as_ref().map_or(Ok(()), |replay| replay.check(config.max_timeout))?;
        let mut methods = Methods::default();
        descriptors.iter().try_for_each(|descriptors| methods.add(descriptors))?;
        let served = |service: &str| names.contains(service) || methods.has_service(service);
        check_served(access.as_ref(), replay.as_ref(), served)?;
        let guards = Guards { limits, methods, access, shedder, replay, clock: clock.clone() };
        let health = HealthState::new(health);
        // Layers of the router would be applied to each route, with a box around each request, response and future.
        let calls = layer.layer(GuardedRoutes::new(routes.prepare(), guards));
        let calls = HealthRoute::new(health.clone(), names, config.max_timeout, clock.clone(), calls);
        let routes = ProtocolCheck::new(calls);
        let service = move |peer: Peer| {
            // Shared, because the service is cloned for each request.
            let peer = Arc::new(peer);
            routes.clone().map_request(move |mut request: Request<RequestBody>| {
                // tonic's `Request::remote_addr` reads this extension.
                let info = TcpConnectInfo { local_addr: peer.local, remote_addr: Some(peer.remote) };
                request.extensions_mut().insert(info);
                if let Some(identity) = &peer.identity {
                    request.extensions_mut().insert(identity.clone());
                }
                request
            })
        };
        let (state, timer, delay) = (health.clone(), clock.clone(), config.shutdown_delay);
        let shutdown = async move {
            shutdown.await;
            state.stop();
            if !delay.is_zero() {
                timer.sleep(delay).await;
            }
        };
        let served = listen(listener, service, config.into(), clock.clone(), shutdown);
        tokio::select! {
            served = served => served,
            never = health.observe(&clock) => match never {},
        }
    }

    /// Returns the routes, with the reflection service if there is one.
    #[cfg(feature = "reflection")]
    fn reflecting(&self) -> Result<Routes, Error> {
        let routes = self.routes.clone();
        if self.reflected.is_empty() {
            return Ok(routes);
        }
        let mut builder = tonic_reflection::server::Builder::configure();
        for descriptors in &self.reflected {
            builder = builder.register_encoded_file_descriptor_set(descriptors);
        }
        let service = builder.build_v1().map_err(|error| {
            Error::invalid(error)
                .context("gRPC server: the descriptor set of the reflection service is invalid")
        })?;
        Ok(routes.add_service(service))
    }

    #[cfg(not(feature = "reflection"))]
    fn reflecting(&self) -> Result<Routes, Error> {
        Ok(self.routes.clone())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("names", &self.names)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
