//! comms-ws as its rustdoc shows it: a hub with its default limits and topics with history, `accept` in the route, `publish`
//! elsewhere. `NODELAY` is of no use here: the hub sets it. `HISTORY=0` turns the history of the topic off. `REDIS_URL` makes
//! the process a node of several.
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::{
    Router,
    extract::{Query, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use comms_core::{clock::Clock, shutdown::Shutdown};
use comms_ws::{
    CursorKey, Hub, HubConfig, Push, Session, TopicOptions,
    backplane::{Backplane, Redis, RedisConfig},
};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Every connection is another user: a user may have 20.
async fn open(State(hub): State<Hub>, request: Request) -> Response {
    let user = format!("p{}", NEXT.fetch_add(1, Relaxed));
    let session = Session::new(user, vec![]).allow(|topic| topic == "t");
    hub.accept(request, session).into_response()
}

async fn publish(State(hub): State<Hub>, Query(query): Query<HashMap<String, String>>, body: String) -> Response {
    // Redis keeps the history of earlier processes, which would make a repeated id a duplicate.
    let id = format!("{}/{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
    let time = Some("2026-11-21T07:00:00.123Z".into());
    let push = Push { time, ..Push::new(id, "bench.v1", serde_json::Value::String(body)) };
    match hub.publish(&query["topic"], &push).await {
        Ok(_) => "ok".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port = std::env::var("PORT").unwrap();
    let mut config = HubConfig::default();
    if let Ok(n) = std::env::var("MAX_SESSIONS") {
        config.max_sessions = n.parse().unwrap();
    }
    if std::env::var("HISTORY").is_ok_and(|history| history == "0") {
        config = config.topic("t", TopicOptions::default().without_history());
    }
    let clock = Clock::system();
    let shutdown = Shutdown::new(clock.clone());
    let mut hub = Hub::builder(config, clock.clone());
    if let Ok(url) = std::env::var("REDIS_URL") {
        let redis = Redis::new(RedisConfig::new([url]), clock).unwrap();
        let signal = shutdown.stage("backplane").signal();
        hub = hub.backplane(redis.clone()).cursor_keys([CursorKey::new(&[7; 32]).unwrap()]);
        tokio::spawn(async move { redis.run(signal).await });
    }
    let hub = hub.build().unwrap();
    let routes = Router::new().route("/ws", get(open)).route("/publish", post(publish)).with_state(hub);
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    axum::serve(listener, routes).await.unwrap();
}
