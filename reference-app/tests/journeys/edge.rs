//! Refused requests: every HTTP and socket listener answers with a problem that has a trace id.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Buyer, Deployment, Marketplace};

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Checks that the answer is a problem of the type `code` with a trace id.
    fn assert_problem(&self, what: &str, status: u16, code: &str) {
        let body = &self.body;
        assert_eq!((self.status, &body["status"]), (status, &json!(status)), "{what}: {body}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{what}");
        assert_eq!(body["type"], format!("/problems/{code}"), "{what}");
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {body}");
        assert_eq!(self.header("trace-id"), body["trace_id"].as_str(), "{what}");
        assert!(body["trace_id"].as_str().is_some_and(|id| id.len() == 32), "{what}: {body}");
    }
}

/// Sends the bytes of `request` to the listener at `url`, and returns the response.
async fn send_raw(url: &str, request: &str) -> Answer {
    let (_, address) = url.split_once("://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let (head, mut body) = loop {
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0, "{}", String::from_utf8_lossy(&bytes));
        let text = String::from_utf8(bytes.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            break (head.to_owned(), body.to_owned().into_bytes());
        }
    };
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let length: usize = length.parse().unwrap();
    while body.len() < length {
        assert_ne!(socket.read_buf(&mut body).await.unwrap(), 0, "{head}");
    }
    Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or_default() }
}

#[tokio::test]
async fn the_head_of_a_request_is_checked_on_every_listener() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let long = "x".repeat(9 * 1024);
    let large = "x".repeat(17 * 1024);
    let get = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    let table = [
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "host"),
        ("two hosts", get("/", "host: a\r\n"), 400, "host"),
        ("no name for a host", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n".to_owned(), 400, "host"),
        ("HTTP/1.0 without a host", "GET /nowhere HTTP/1.0\r\n\r\n".to_owned(), 404, "not-found"),
        (
            "two credentials",
            get("/", "authorization: Bearer a\r\nauthorization: Bearer b\r\n"),
            400,
            "bad-header",
        ),
        ("a long URI", get(&format!("/{long}"), ""), 414, "uri-too-long"),
        ("a large header section", get("/", &format!("x: {large}\r\n")), 431, "headers-too-large"),
        ("a compressed body", get("/", "content-encoding: gzip\r\n"), 415, "content-encoding"),
        ("an unknown path", get("/nowhere", ""), 404, "not-found"),
    ];
    for url in [&marketplace.gateway, &marketplace.socket] {
        for (what, request, status, code) in &table {
            send_raw(url, request).await.assert_problem(&format!("{what} at {url}"), *status, code);
        }
        let encoded = send_raw(url, &get("/", "content-encoding: gzip\r\n")).await;
        assert_eq!(encoded.header("accept-encoding"), Some("identity"));
    }
    let method = "DELETE /v1/orders HTTP/1.1\r\nhost: a\r\n\r\n";
    let refused = send_raw(&marketplace.gateway, method).await;
    refused.assert_problem("another method", 405, "method-not-allowed");
    assert_eq!(refused.header("allow"), Some("GET,HEAD,POST"));
    let method = "POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    let refused = send_raw(&marketplace.socket, method).await;
    refused.assert_problem("another method", 405, "method-not-allowed");
    assert_eq!(refused.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn a_refused_handshake_is_a_problem() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = marketplace.buyer("ann");
    let token = format!("authorization: Bearer {}\r\n", ann.token);
    let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\n";
    let (version, key) = ("sec-websocket-version: 13\r\n", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    let table = [
        ("no upgrade", token.clone(), 400, "no-websocket"),
        ("no key", format!("{token}{upgrade}{version}"), 400, "no-websocket"),
        ("a short key", format!("{token}{upgrade}{version}sec-websocket-key: abc\r\n"), 400, "no-websocket"),
        (
            "another version",
            format!("{token}{upgrade}{key}sec-websocket-version: 8\r\n"),
            426,
            "no-websocket",
        ),
        ("no token", "accept: text/event-stream\r\n".to_owned(), 401, "unauthorized"),
        ("a wrong token", format!("authorization: Bearer x\r\n{upgrade}{version}{key}"), 401, "unauthorized"),
        (
            "another origin",
            format!("{token}{upgrade}{version}{key}origin: http://evil.example\r\n"),
            403,
            "origin",
        ),
    ];
    for (what, headers, status, code) in table {
        let request = format!("GET /v1/events HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        let answer = send_raw(&marketplace.socket, &request).await;
        answer.assert_problem(what, status, code);
        match status {
            401 => assert!(answer.header("www-authenticate").is_some(), "{what}"),
            426 => assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{what}"),
            _ => {}
        }
    }
    let mut socket = ann.socket().await;
    let placed = ann.place("k", 100).await;
    socket.until(&placed.order_id, "PAID").await;
}

#[tokio::test]
async fn every_error_in_a_body_has_a_json_pointer() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = marketplace.buyer("ann");
    let table: [(&str, &[(&str, &str)]); 10] = [
        (r#"["a",1,{"minor":1,"currency":"RUB"}]"#, &[("", "An object is needed")]),
        (r#"{"ad_id":"b","quantity":1,"price":[1,"RUB"]}"#, &[("/price", "An object is needed")]),
        (
            r#"{"ad_id":"b","quantity":"1","price":{"minor":1,"currency":"RUB"}}"#,
            &[("/quantity", "whole number")],
        ),
        (
            r#"{"ad_id":"b","quantity":1,"price":{"minor":1.5,"currency":"RUB"}}"#,
            &[("/price/minor", "without a fraction")],
        ),
        (
            r#"{"ad_id":"b","quantity":4294967296,"price":{"minor":9223372036854775808,"currency":"RUB"}}"#,
            &[("/quantity", "from 0 to 4294967295"), ("/price/minor", "to 9223372036854775807")],
        ),
        (
            r#"{"ad_id":"b","quantity":1,"price":{"minor":1,"currency":"AAA"}}"#,
            &[("/price/currency", "ISO 4217")],
        ),
        (r#"{"ad_id":"b","quantity":1}"#, &[("/price", "required")]),
        (
            r#"{"ad_id":"b","quantity":0,"price":{"minor":1},"coupon":1}"#,
            &[("/coupon", "not known"), ("/price/currency", "required"), ("/quantity", "must be at least 1")],
        ),
        (
            r#"{"ad_id":"b","ad_id":"c","quantity":1,"price":{"minor":1,"currency":"RUB"}}"#,
            &[("/ad_id", "twice")],
        ),
        (r#""order""#, &[("", "An object is needed")]),
    ];
    for (body, expected) in table {
        let answer = ann.post(Some("k"), body.to_owned()).await.unwrap();
        assert_eq!(answer.status(), 422, "{body}");
        let problem: Value = answer.json().await.unwrap();
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), expected.len(), "{body}: {problem}");
        for (pointer, text) in expected {
            let error = errors.iter().find(|error| error["pointer"] == *pointer);
            let detail = error.and_then(|error| error["detail"].as_str());
            assert!(detail.is_some_and(|detail| detail.contains(text)), "{body}: {problem}");
        }
    }
    for (body, place) in [("{\n\"ad_id\" 1}", "Line 2, column 9"), ("{} {}", "Line 1, column 4")] {
        let answer = ann.post(Some("k"), body.to_owned()).await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().is_some_and(|text| text.starts_with(place)), "{body}: {problem}");
    }
    assert_eq!(marketplace.databases.counts().await.unwrap().orders, 0);
}

#[tokio::test]
async fn a_body_without_the_json_media_type_is_refused() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = marketplace.buyer("ann");
    let body = Buyer::body(100).to_string();
    let post = |content_type: &str| {
        format!(
            "POST /v1/orders HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nidempotency-key: k\r\n{content_type}\
             content-length: {}\r\n\r\n{body}",
            ann.token,
            body.len()
        )
    };
    for content_type in ["", "content-type: text/plain\r\n", "content-type: text/json\r\n"] {
        let answer = send_raw(&marketplace.gateway, &post(content_type)).await;
        answer.assert_problem(content_type, 415, "media-type");
        assert_eq!(answer.header("accept"), Some("application/json"));
    }
    let accepted =
        send_raw(&marketplace.gateway, &post("content-type: application/json; charset=utf-8\r\n")).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
}

/// Clients append a path to the URL of the sockets, so it must not end with a slash.
#[tokio::test]
async fn a_slash_at_the_end_of_a_configured_url_is_removed() {
    let url = [("COMMS_NOTIFICATION__URL", "wss://events.example/")];
    let marketplace = Marketplace::start_with(Deployment::Embedded, &url).await;
    let answer =
        send_raw(&marketplace.gateway, "GET /v1/realtime HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await;
    assert_eq!(answer.body["websocket"], "wss://events.example");
}
