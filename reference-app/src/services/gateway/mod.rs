//! api-gateway: the REST edge. Keeps no data; every request gets a trace, a deadline and a principal here.

mod auth;
mod edge;
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
use comms_core::{Clock, Policy, jwt::Verifier};
use comms_grpc::{Channel, from_status};
use tower_http::catch_panic::CatchPanicLayer;

use problem::Problem;

use crate::{
    contracts::order::proto::orders_client::OrdersClient,
    platform::{http::Hosts, identity::DevIssuer},
};

/// What the edge needs to answer.
#[derive(Clone)]
pub struct Gateway {
    state: Arc<Edge>,
}

struct Edge {
    orders: OrdersClient<Channel>,
    policy: Policy,
    verifier: Verifier,
    issuer: Option<DevIssuer>,
    hosts: Hosts,
    websocket_url: String,
    timeout: Duration,
    body_limit: usize,
    clock: Clock,
}

/// How a gateway is made.
pub struct Settings {
    /// order-service.
    pub orders: Channel,
    /// The guards of the calls to order-service.
    pub policy: Policy,
    /// Who is believed.
    pub verifier: Verifier,
    /// The development issuer; with it the token endpoint and the page exist.
    pub issuer: Option<DevIssuer>,
    /// The hosts by which a browser may address the page and the token endpoint.
    pub hosts: Hosts,
    /// Where a client finds the socket.
    pub websocket_url: String,
    /// The longest a request may take.
    pub timeout: Duration,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// Time.
    pub clock: Clock,
}

impl Gateway {
    /// A gateway made of `settings`.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { orders, policy, verifier, issuer, hosts, websocket_url, timeout, body_limit, clock } =
            settings;
        let orders = OrdersClient::new(orders);
        let edge =
            Edge { orders, policy, verifier, issuer, hosts, websocket_url, timeout, body_limit, clock };
        Self { state: Arc::new(edge) }
    }

    /// Every route.
    pub fn routes(&self) -> Router {
        let mut routes = Router::new()
            .route("/v1/orders", post(orders::place))
            .route("/v1/orders/{order_id}", get(orders::show))
            .route("/v1/realtime", get(page::realtime));
        if self.state.issuer.is_some() {
            routes = routes.route("/", get(page::index)).route("/dev/token", post(page::token));
        }
        routes
            .method_not_allowed_fallback(problem::method_not_allowed)
            .fallback(problem::not_found)
            .layer(DefaultBodyLimit::max(self.state.body_limit))
            .layer(CatchPanicLayer::custom(problem::panicked))
            .layer(middleware::from_fn_with_state(self.state.clone(), edge::context))
            .with_state(self.state.clone())
    }
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
