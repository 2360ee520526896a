//! The client for browsers against a hub, over both transports.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use comms_core::clock::Clock;
use comms_ws::{Hub, HubConfig, Push, Session, credentials};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{node, run};

async fn events(State(hub): State<Hub>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let ticket = query.split('&').find_map(|pair| pair.strip_prefix("ticket=")).map(str::to_owned);
    let user = match (credentials(request.headers()), ticket) {
        (Some(user), _) => Some(user.to_owned()),
        (None, Some(ticket)) => hub.redeem_ticket(&ticket).await.unwrap(),
        (None, None) => None,
    };
    let Some(user) = user else { return StatusCode::UNAUTHORIZED.into_response() };
    let session = Session::new(&*user, vec![format!("user/{user}")]).allow(|topic| topic != "secret");
    hub.accept(request, session).into_response()
}

async fn ticket(State(hub): State<Hub>, headers: HeaderMap) -> Json<Value> {
    let user = credentials(&headers).unwrap();
    Json(json!({ "ticket": hub.issue_ticket(user).unwrap() }))
}

/// Publishes the next three messages to `user/ann` and `news`.
async fn publish(State(hub): State<Hub>, body: String) {
    let first: u64 = body.parse().unwrap();
    for n in first..first + 3 {
        for topic in ["user/ann", "news"] {
            let push =
                Push::new(format!("id/{n}"), if n % 2 == 0 { "even" } else { "odd" }, json!({ "n": n }));
            hub.publish(topic, &push).await.unwrap();
        }
    }
}

/// Serves `hub`. Returns its address.
async fn serve(hub: Hub) -> String {
    let routes = Router::new()
        .route("/v1/events", get(events))
        .route("/v1/events/ticket", post(ticket))
        .route("/publish", post(publish))
        .with_state(hub);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npm_node_client_resumes_at_a_hub_over_both_transports() {
    let url = serve(Hub::new(HubConfig::default(), Clock::system()).unwrap()).await;
    let mut command = node();
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/web/test/hub.mjs")).arg(url);
    let printed = tokio::task::spawn_blocking(|| run(command)).await.unwrap();
    let items: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let of = |topic: &str| -> Vec<Value> {
        items.iter().filter(|item| item[1] == topic).map(|item| json!([item[0], item[2]])).collect()
    };
    let event = |n: u64| json!(["event", n]);
    let user = [
        vec![json!(["subscribed", null])],
        (1..=3).map(event).collect(),
        // Published while the client was away, and read over an event stream.
        vec![json!(["recovered", null])],
        (4..=9).map(event).collect(),
        // The way back to a WebSocket.
        vec![json!(["recovered", null])],
        (10..=15).map(event).collect(),
    ];
    assert_eq!(of("user/ann"), user.concat());
    let news = of("news").into_iter().filter(|item| item[0] == "event").collect::<Vec<_>>();
    assert_eq!(news, (1..=15).filter(|n| n % 2 == 0).map(event).collect::<Vec<_>>());
    assert_eq!(of("secret"), vec![json!(["refused", null]); 3]);
    assert!(items.iter().all(|item| item[0] != "missed"), "{items:?}");
}

/// A page that handles events slowly has as many in hand as its window, and the hub learns what it has handled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npm_node_client_with_a_window_acknowledges_what_it_has_handled() {
    let last = Arc::new(AtomicU64::new(0));
    let report = last.clone();
    let hub = Hub::builder(HubConfig::default(), Clock::system())
        .acknowledgements(move |acknowledgement| report.store(acknowledgement.position.offset, Relaxed))
        .build()
        .unwrap();
    let url = serve(hub).await;
    let mut command = node();
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/web/test/window_hub.mjs")).arg(url);
    let printed = tokio::task::spawn_blocking(|| run(command)).await.unwrap();
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed, json!({"numbers": (1..=12).collect::<Vec<u64>>(), "most": 2}));
    // The client is closed, and the hub reads what it has sent before.
    while last.load(Relaxed) < 12 {
        tokio::task::yield_now().await;
    }
}
