//! The gateway: the REST edge. It keeps no data. Every request gets a trace, a deadline and a principal here.

mod auth;
mod edge;
mod order_list;
mod orders;
mod page;
mod problem;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use comms_core::{Clock, Error, Policy, jwt::Verifier};
use comms_grpc::{Channel, from_status};
use serde::Deserialize;
use tower_http::catch_panic::CatchPanicLayer;

use problem::Problem;

use crate::{
    contracts::order::proto::orders_client::OrdersClient,
    platform::{
        config::duration,
        identity::DevIssuer,
        service::{Call, Host, Parts, Protocol, Section, Serves, Service},
    },
};

/// The service that takes orders.
const ORDER: &str = "order";
/// The service that a page listens to.
const NOTIFICATION: &str = "notification";

/// The registration of the gateway.
pub static SERVICE: Service = Service {
    name: "gateway",
    about: "The REST edge.",
    source: "gateway",
    defaults: include_str!("defaults.toml"),
    check,
    shown: &["request_timeout", "body_limit"],
    protocol: Some(Protocol::Http),
    database: None,
    topics: &[],
    subscriptions: &[],
    calls: &[Call { service: ORDER, policy: ORDER }],
    refers_to: &[NOTIFICATION],
    start,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The longest a request may take; a client may ask for less.
    #[serde(with = "duration")]
    request_timeout: Duration,
    /// The largest request body, in bytes.
    body_limit: usize,
}

fn check(section: &Section) -> Result<(), Error> {
    if section.read::<Config>()?.request_timeout.is_zero() {
        return Err(Error::invalid("gateway.request_timeout must be at least 1ms"));
    }
    Ok(())
}

/// What the handlers share.
struct Edge {
    orders: OrdersClient<Channel>,
    policy: Policy,
    verifier: Verifier,
    issuer: Option<DevIssuer>,
    websocket_url: String,
    timeout: Duration,
    body_limit: usize,
    clock: Clock,
}

fn start(host: &Host<'_>) -> Result<Parts, Error> {
    let (config, order): (Config, _) = (host.section()?, host.peer(ORDER)?);
    let edge = Edge {
        orders: OrdersClient::new(order.channel),
        policy: order.policy,
        verifier: host.verifier(),
        issuer: host.identity.issuer.clone(),
        websocket_url: host.public_url(NOTIFICATION)?,
        timeout: config.request_timeout,
        body_limit: config.body_limit,
        clock: host.clock(),
    };
    let address = host.address()?;
    let hint = edge.issuer.is_some().then(|| page::hint(address, &edge.websocket_url));
    Ok(Parts { serves: Serves::Http(routes(Arc::new(edge))), hint, ..Parts::default() })
}

fn routes(edge: Arc<Edge>) -> Router {
    let mut routes = Router::new()
        .route("/v1/orders", get(order_list::list).post(orders::place))
        .route("/v1/orders/{order_id}", get(orders::show))
        .route("/v1/realtime", get(page::realtime));
    if edge.issuer.is_some() {
        routes = routes
            .route("/", get(page::index))
            .route("/page/{file}", get(page::file))
            .route("/dev/token", post(page::token));
    }
    routes
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::not_found)
        .layer(DefaultBodyLimit::max(edge.body_limit))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn_with_state(edge.clone(), edge::context))
        .with_state(edge)
}

impl Edge {
    /// Calls order-service under its policy. Every call may be made twice: it carries a key, or reads.
    async fn ask<T, F>(&self, mut call: impl FnMut(OrdersClient<Channel>) -> F) -> Result<T, Problem>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let attempt = || {
            let answer = call(self.orders.clone());
            async { answer.await.map(tonic::Response::into_inner).map_err(|status| from_status(&status)) }
        };
        self.policy.run_idempotent(attempt).await.map_err(Problem::of_service)
    }
}
