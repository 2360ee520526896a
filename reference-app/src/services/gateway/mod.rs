//! api-gateway: the REST routes of the marketplace. Keeps no data.

mod orders;
mod page;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use comms_core::{Clock, Policy, jwt::Verifier};
use comms_grpc::{Channel, from_status};

use crate::{
    contracts::order::proto::orders_client::OrdersClient,
    platform::{
        grpc,
        http::{self, Edge, Problem},
        identity::DevIssuer,
    },
};

/// api-gateway: its routes, and what they call.
#[derive(Clone)]
pub struct Gateway {
    settings: Arc<Settings>,
}

/// How a gateway is made.
pub struct Settings {
    /// order-service.
    pub orders: Channel,
    /// The guards of the calls to order-service.
    pub policy: Policy,
    /// Verifies the tokens of clients.
    pub verifier: Verifier,
    /// The development issuer; with it the token endpoint and the page exist.
    pub issuer: Option<DevIssuer>,
    /// Where a client finds the socket.
    pub websocket_url: String,
    /// The longest a request may take.
    pub timeout: Duration,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// Time and randomness.
    pub clock: Clock,
}

impl Gateway {
    /// A gateway made of `settings`.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// Every route, within its [`http::edge`].
    pub fn routes(&self) -> Router {
        let mut routes = Router::new()
            .route("/v1/orders", post(orders::place))
            .route("/v1/orders/{order_id}", get(orders::show))
            .route("/v1/realtime", get(page::realtime));
        if self.settings.issuer.is_some() {
            routes = routes.route("/", get(page::index)).route("/dev/token", post(page::token));
        }
        let Settings { verifier, timeout, body_limit, clock, .. } = &*self.settings;
        let edge = Edge {
            verifier: verifier.clone(),
            timeout: *timeout,
            body_limit: *body_limit,
            clock: clock.clone(),
        };
        http::edge(routes.with_state(self.clone()), edge)
    }

    /// Calls order-service under its policy. Every call may be made twice: it carries a key, or reads.
    async fn ask<T, F>(&self, mut call: impl FnMut(OrdersClient<Channel>) -> F) -> Result<T, Problem>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let attempt = || {
            let answer = call(OrdersClient::new(self.settings.orders.clone()));
            async { answer.await.map(tonic::Response::into_inner).map_err(|status| from_status(&status)) }
        };
        let answer = self.settings.policy.run_idempotent(attempt).await;
        answer.map_err(|error| grpc::for_client(error).into())
    }
}
