//! The gateway: the REST API for clients, and the web page.
//!
//! - Owns: nothing. The gateway has no database.
//! - Publishes and consumes: nothing.
//! - Calls: order-service, ad-service and analytics-service over gRPC, under the policies `order`, `ad` and `analytics`.
//!
//! `orders` places and shows orders, `order_list` lists them, `order_history` shows the events of one. `ads` creates, shows
//! and lists ads, and `caching` answers conditional requests for them. `analytics` shows figures. `paging` reads the query
//! of a list, `page` serves the web page and its token endpoint.

mod ads;
mod analytics;
mod caching;
mod order_history;
mod order_list;
mod orders;
mod page;
mod paging;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use comms_core::{Error, clock::Clock};
use comms_grpc::{Channel, from_status};
use serde::Deserialize;

use crate::{
    contracts::{
        ad::proto::ads_client::AdsClient, analytics::proto::analytics_client::AnalyticsClient,
        order::proto::orders_client::OrdersClient,
    },
    platform::{
        config::duration,
        grpc,
        http::{self, Edge, Hosts, Problem},
        identity::DevIssuer,
        service::{Call, Host, Parts, Protocol, Section, Serves, Service},
    },
};

/// The services that the gateway calls, and the names of the policies for the calls.
const ORDER: &str = "order";
const AD: &str = "ad";
const ANALYTICS: &str = "analytics";
/// The service whose sockets the clients open.
const NOTIFICATION: &str = "notification";

/// The registration of the gateway.
pub static SERVICE: Service = Service {
    name: "gateway",
    about: "The REST API for clients.",
    source: "gateway",
    defaults: include_str!("defaults.toml"),
    check,
    shown: &["request_timeout", "body_limit"],
    protocol: Some(Protocol::Http),
    database: None,
    topics: &[],
    subscriptions: &[],
    calls: &[
        Call { service: ORDER, policy: ORDER },
        Call { service: AD, policy: AD },
        Call { service: ANALYTICS, policy: ANALYTICS },
    ],
    refers_to: &[NOTIFICATION],
    start,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The time limit of a request. A client may send a shorter one.
    #[serde(with = "duration")]
    request_timeout: Duration,
    /// The largest request body, in bytes.
    body_limit: usize,
}

fn check(section: &Section) -> Result<(), Error> {
    let config = section.read::<Config>()?;
    if !(Duration::from_millis(1)..=Duration::from_secs(3_600)).contains(&config.request_timeout) {
        return Err(section.refusal("request_timeout", "must be between 1ms and 1h"));
    }
    if config.body_limit == 0 {
        return Err(section.refusal("body_limit", "must be at least 1"));
    }
    Ok(())
}

/// The state that the handlers share.
struct Gateway {
    orders: OrdersClient<Channel>,
    ads: AdsClient<Channel>,
    analytics: AnalyticsClient<Channel>,
    clock: Clock,
    /// The development issuer. Without it there is neither a page nor a token endpoint.
    issuer: Option<DevIssuer>,
    /// The hosts under which the page and the token endpoint are served.
    hosts: Hosts,
    /// The URL at which clients open sockets.
    websocket_url: String,
}

fn start(host: &Host<'_>) -> Result<Parts, Error> {
    let config: Config = host.section()?;
    let gateway = Gateway {
        orders: OrdersClient::new(host.peer(ORDER)?),
        ads: AdsClient::new(host.peer(AD)?),
        analytics: AnalyticsClient::new(host.peer(ANALYTICS)?),
        clock: host.clock(),
        issuer: host.identity.issuer.clone(),
        hosts: Hosts::new(host.configured_url()?.as_deref()).map_err(|error| error.context("gateway.url"))?,
        websocket_url: host.public_url(NOTIFICATION)?,
    };
    let edge = Edge {
        verifier: host.verifier(),
        timeout: config.request_timeout,
        body_limit: config.body_limit,
        clock: host.clock(),
    };
    let hint = page::hint(&host.own_url()?, &gateway.websocket_url, gateway.issuer.is_some());
    let routes = http::edge(routes(gateway), edge);
    Ok(Parts { serves: Serves::Http(routes), hint: Some(hint), ..Parts::default() })
}

fn routes(gateway: Gateway) -> Router {
    let mut routes = Router::new()
        .route("/v1/orders", get(order_list::list).post(orders::place))
        .route("/v1/orders/{order_id}", get(orders::show))
        .route("/v1/orders/{order_id}/history", get(order_history::show))
        .route("/v1/analytics/orders", get(analytics::orders))
        .route("/v1/analytics/revenue", get(analytics::revenue))
        .route("/v1/ads", get(ads::list).post(ads::create))
        .route("/v1/ads/{ad_id}", get(ads::show))
        .route("/v1/realtime", get(page::realtime));
    if gateway.issuer.is_some() {
        routes = routes
            .route("/", get(page::index))
            .route("/page/{file}", get(page::file))
            .route("/dev/token", post(page::token));
    }
    routes.with_state(Arc::new(gateway))
}

/// Converts the reply of a service for the client on whose behalf the call was made.
fn reply<T>(reply: Result<tonic::Response<T>, tonic::Status>) -> Result<T, Problem> {
    let reply = reply.map(tonic::Response::into_inner).map_err(|status| from_status(&status));
    reply.map_err(|error| grpc::for_client(error).into())
}
