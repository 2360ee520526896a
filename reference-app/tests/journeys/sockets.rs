//! The sessions of a user: tokens and tickets, topics, and clients that resume.

use std::time::Duration;

use comms_core::clock::Clock;
use reference_app::platform::{config::Auth, identity::DevIssuer};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Buyer, Deployment, EventStream, Marketplace, Socket};

/// Returns a buyer whose token expired `ago`.
fn buyer_with_expired_token(marketplace: &Marketplace, ago: Duration) -> Buyer {
    let auth = Auth {
        issuer: "tests".into(),
        audience: "comms".into(),
        public_key_file: None,
        clock_skew: Duration::ZERO,
    };
    let dir = marketplace.data_dir().parent().unwrap().to_owned();
    let then = Clock::manual(Clock::system().unix() - ago);
    let mut buyer = marketplace.buyer("ann");
    buyer.token = DevIssuer::load(&dir, &auth, &then).unwrap().token("ann", Duration::ZERO).unwrap();
    buyer
}

#[tokio::test]
async fn a_socket_is_closed_when_its_token_expires() {
    let marketplace =
        Marketplace::start_with(Deployment::Embedded, &[("COMMS_AUTH__CLOCK_SKEW", "0s")]).await;
    let token = marketplace.token("ann", Duration::from_secs(2));
    let mut socket = marketplace.buyer("ann").try_socket(Some(&token)).await.unwrap();
    assert_eq!(socket.close_code().await, Some(4401), "closed at the expiry of the token");
}

#[tokio::test]
async fn a_token_within_the_clock_skew_is_accepted_by_requests_and_sockets() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = buyer_with_expired_token(&marketplace, Duration::from_secs(10));
    let mut socket = ann.socket().await;
    let placed = ann.place("k", 100).await;
    socket.until(&placed.order_id, "DELIVERED").await;
    let closed = tokio::time::timeout(Duration::from_secs(2), socket.event()).await;
    assert!(closed.is_err(), "the session stays open for the rest of the skew: {closed:?}");
}

#[tokio::test]
async fn a_session_ends_with_the_skew_that_is_configured() {
    let marketplace =
        Marketplace::start_with(Deployment::Embedded, &[("COMMS_AUTH__CLOCK_SKEW", "15s")]).await;
    let ann = buyer_with_expired_token(&marketplace, Duration::from_secs(11));
    let mut socket = ann.socket().await;
    assert_eq!(ann.get("/v1/orders/none").await.unwrap().status(), 404, "the token is accepted");
    assert_eq!(socket.close_code().await, Some(4401));
    assert_eq!(ann.get("/v1/orders/none").await.unwrap().status(), 401, "the token has expired");
    assert!(ann.try_socket(Some(&ann.token)).await.is_err());
}

/// Opens a socket without a token, and authenticates in its first frame. Returns the socket and its first frame.
async fn authenticated(buyer: &Buyer, first: Value) -> (Socket, Option<Value>) {
    let mut socket = buyer.try_socket(None).await.unwrap();
    socket.send(first).await;
    let frame = socket.frame().await;
    (socket, frame)
}

#[tokio::test]
async fn a_socket_without_a_token_authenticates_in_its_first_frame_and_refreshes() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = buyer_with_expired_token(&marketplace, Duration::from_secs(10));
    let (mut socket, welcome) =
        authenticated(&ann, json!({"type": "authenticate", "token": ann.token})).await;
    let welcome = welcome.unwrap();
    assert_eq!((&welcome["type"], &welcome["topics"][0]["topic"]), (&json!("welcome"), &json!("user/ann")));
    let ends = welcome["expires"].as_u64().unwrap();

    socket.send(json!({"type": "refresh", "token": marketplace.buyer("bob").token})).await;
    assert_eq!(socket.frame().await.unwrap()["code"], "unauthorized", "the token of another user");
    let fresh = marketplace.buyer("ann").token;
    socket.send(json!({"type": "refresh", "token": fresh})).await;
    let refreshed = socket.frame().await.unwrap();
    assert_eq!(refreshed["type"], "refreshed");
    assert!(refreshed["expires"].as_u64().unwrap() > ends + 3_000, "{refreshed}");

    let old = buyer_with_expired_token(&marketplace, Duration::from_secs(40)).token;
    for token in [&old, "x"] {
        let (_, frame) = authenticated(&ann, json!({"type": "authenticate", "token": token})).await;
        assert_eq!(frame, None, "the socket is closed");
    }
    let (mut hasty, _) = authenticated(&ann, json!({"type": "ping"})).await;
    assert_eq!(hasty.frame().await, None, "the first frame has no token");
}

#[tokio::test]
async fn the_topics_of_an_order_are_open_to_its_buyer_alone() {
    let late = [("COMMS_ORDER__SHIPPING__DELIVERED_AFTER", "5s")];
    let marketplace = Marketplace::start_with(Deployment::Embedded, &late).await;
    let (ann, bob) = (marketplace.buyer("ann"), marketplace.buyer("bob"));
    let (mut anns, mut bobs) = (ann.socket().await, bob.socket().await);
    let placed = ann.place("k", 100).await;
    let order = placed.order_id.as_str();
    anns.until(order, "CREATED").await;
    for topic in [format!("order/{order}"), format!("delivery/{order}")] {
        assert_eq!(anns.subscribe(&topic).await["type"], "subscribed");
        let refused = bobs.subscribe(&topic).await;
        assert_eq!((&refused["code"], &refused["detail"]), (&json!("forbidden"), &json!(topic)));
    }
    for topic in ["order/", "order/none", "user/ann", "user/", "news", "orders"] {
        assert_eq!(bobs.subscribe(topic).await["code"], "forbidden", "{topic}");
    }
    let mut topics = [false; 3];
    while topics != [true; 3] {
        let event = anns.event().await.expect("the socket stays open");
        let prefix = event["topic"].as_str().unwrap().split('/').next().unwrap().to_owned();
        let status = event["data"]["status"].as_str().unwrap();
        topics[0] |= (prefix.as_str(), status) == ("user", "DELIVERED");
        topics[1] |= (prefix.as_str(), status) == ("order", "DELIVERED");
        topics[2] |= (prefix.as_str(), status) == ("delivery", "DELIVERED");
        assert_eq!(event["key"], order);
    }

    let page: Value =
        reqwest::get(marketplace.processes[0].admin_url("/sockets")).await.unwrap().json().await.unwrap();
    let hub = &page[0];
    assert_eq!(
        (&hub["service"], &hub["sessions"], &hub["topics"]),
        (&json!("notification"), &json!(2), &json!(4))
    );
    assert_eq!(hub["direct_sessions"], 2, "the listener gives the hub its sockets: {page}");
    assert_eq!(hub["largest_topics"].as_array().unwrap().len(), 4, "{page}");
    assert_eq!(hub["largest_topics"][0], json!({"topic": format!("delivery/{order}"), "sessions": 1}));
}

#[tokio::test]
async fn a_client_resumes_with_its_cursor_and_learns_of_a_lost_history() {
    let mut marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    let welcome = socket.frame().await.unwrap();
    let token = welcome["topics"][0]["cursor"].as_str().unwrap().to_owned();
    let placed = ann.place("k", 100).await;
    let seen = socket.until(&placed.order_id, "CREATED").await;
    drop(socket);
    let offset = seen[0]["offset"].as_u64().unwrap();
    let cursor = format!("{token}~{offset}");
    let query = format!("?cursor={}", cursor.replace('~', "%7E").replace(':', "%3A"));

    let mut resumed = ann.try_socket_with(&query, Some(&ann.token)).await.unwrap();
    let welcome = resumed.frame().await.unwrap();
    assert_eq!(welcome["topics"][0]["recovered"], true, "{welcome}");
    let rest = resumed.until(&placed.order_id, "DELIVERED").await;
    let offsets: Vec<_> = rest.iter().map(|event| event["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [offset + 1, offset + 2, offset + 3], "none is missing, none comes twice");

    marketplace.processes[0].kill();
    marketplace.processes[0].spawn();
    marketplace.ready().await;
    let mut after = ann.try_socket_with(&query, Some(&ann.token)).await.unwrap();
    let welcome = after.frame().await.unwrap();
    assert_eq!(welcome["topics"][0]["recovered"], false, "the history in memory ended: {welcome}");
}

#[tokio::test]
async fn an_event_stream_outlives_the_handshake_limit_and_resumes() {
    let late = [("COMMS_ORDER__SHIPPING__DELIVERED_AFTER", "6s")];
    let marketplace = Marketplace::start_with(Deployment::Embedded, &late).await;
    let ann = marketplace.buyer("ann");
    let client = reqwest::Client::new();
    let request = || client.get(ann.events_url()).bearer_auth(&ann.token);
    let mut stream = EventStream::open(request()).await;
    assert_eq!(stream.next().await["type"], "welcome");
    let placed = ann.place("k", 100).await;
    stream.until("PAID").await;
    let position = stream.last_id.clone();
    let rest = stream.until("DELIVERED").await;
    assert_eq!(rest.last().unwrap()["data"]["order_id"], placed.order_id.as_str());
    drop(stream);

    let mut resumed = EventStream::open(request().header("last-event-id", position)).await;
    assert_eq!(resumed.next().await["topics"][0]["recovered"], true);
    assert_eq!(resumed.until("DELIVERED").await, rest);
}

#[tokio::test]
async fn a_ticket_opens_one_event_stream() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = marketplace.buyer("ann");
    let client = reqwest::Client::new();
    let issue = || client.post(format!("{}/ticket", ann.events_url()));
    assert_eq!(issue().send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let page = marketplace.gateway.clone();
    let issued = issue().bearer_auth(&ann.token).header("origin", &page).send().await.unwrap();
    assert_eq!(issued.headers()["cache-control"], "no-store");
    assert_eq!(issued.headers()["access-control-allow-origin"], page.as_str(), "the page may read it");
    let issued: Value = issued.json().await.unwrap();
    assert_eq!(issued["expires_in"], 30);
    let open =
        |ticket: &str| client.get(format!("{}?ticket={ticket}", ann.events_url())).header("origin", &page);
    let ticket = issued["ticket"].as_str().unwrap();
    let mut stream = EventStream::open(open(ticket)).await;
    let welcome = stream.next().await;
    assert_eq!(welcome["topics"][0]["topic"], "user/ann");
    assert!(welcome["expires"].is_u64(), "the session ends with the token");
    for refused in [ticket, "x", ""] {
        let answer = open(refused).header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{refused}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    let foreign =
        issue().bearer_auth(&ann.token).header("origin", "http://evil.example").send().await.unwrap();
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));
}
