//! Invalid requests and tokens at the gateway and at the sockets.

use std::time::Duration;

use comms_core::clock::Clock;
use reference_app::platform::{config::Auth, identity::DevIssuer};
use serde_json::Value;

use crate::support::{Buyer, Deployment, Marketplace};

#[tokio::test]
async fn each_invalid_request_gets_the_problem_for_its_fault() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = marketplace.buyer("ann");
    let good = Buyer::body(100).to_string();
    let long_key = "k".repeat(256);
    let huge = format!("{{\"ad_id\": \"{}\"}}", "x".repeat(70_000));
    let table: [(&str, Option<&str>, &str, u16, &str); 13] = [
        ("malformed JSON", Some("a"), "{\"ad_id\":", 400, "malformed-json"),
        (
            "an unknown field",
            Some("a"),
            r#"{"ad_id":"b","quantity":1,"price":{"minor":1,"currency":"RUB"},"coupon":"x"}"#,
            422,
            "validation",
        ),
        ("a missing field", Some("a"), r#"{"ad_id":"b","quantity":1}"#, 422, "validation"),
        (
            "a negative price",
            Some("a"),
            r#"{"ad_id":"b","quantity":1,"price":{"minor":-5,"currency":"RUB"}}"#,
            422,
            "validation",
        ),
        (
            "a fraction for a price",
            Some("a"),
            r#"{"ad_id":"b","quantity":1,"price":{"minor":1.5,"currency":"RUB"}}"#,
            422,
            "validation",
        ),
        (
            "no such currency",
            Some("a"),
            r#"{"ad_id":"b","quantity":1,"price":{"minor":5,"currency":"rub"}}"#,
            422,
            "validation",
        ),
        (
            "a blank ad",
            Some("a"),
            r#"{"ad_id":" ","quantity":1,"price":{"minor":5,"currency":"RUB"}}"#,
            422,
            "validation",
        ),
        (
            "no pieces",
            Some("a"),
            r#"{"ad_id":"b","quantity":0,"price":{"minor":5,"currency":"RUB"}}"#,
            422,
            "validation",
        ),
        (
            "a total beyond an amount",
            Some("a"),
            r#"{"ad_id":"b","quantity":1000,"price":{"minor":9223372036854775807,"currency":"RUB"}}"#,
            422,
            "refused",
        ),
        ("no key", None, &good, 400, "idempotency-key"),
        ("an empty key", Some(" "), &good, 400, "idempotency-key"),
        ("a long key", Some(&long_key), &good, 400, "idempotency-key"),
        ("a huge body", Some("a"), &huge, 413, "too-large"),
    ];
    for (what, key, body, status, code) in table {
        let response = ann.post(key, body.to_owned()).await.unwrap();
        assert_eq!(response.status(), status, "{what}");
        let trace_id = response.headers()["trace-id"].to_str().unwrap().to_owned();
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{what}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["type"], format!("/problems/{code}"), "{what}: {problem}");
        assert_eq!(problem["status"], status, "{what}");
        assert_eq!(problem["trace_id"], trace_id.as_str(), "{what}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {problem}");
    }
    let counts = marketplace.databases.counts().await.unwrap();
    assert_eq!(counts.orders, 0, "no invalid request placed an order");
    for path in ["/v1/orders/%ff", "/v1/orders/%00", "/v1/orders/nonsense", "/nowhere"] {
        let response = ann.get(path).await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
    }
    ann.place("good", 100).await;
}

#[tokio::test]
async fn a_missing_expired_or_forged_token_is_refused() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let auth = Auth {
        issuer: "tests".into(),
        audience: "comms".into(),
        public_key_file: None,
        clock_skew: Duration::from_secs(30),
    };
    let stranger = DevIssuer::load(elsewhere.path(), &auth, &Clock::system()).unwrap();
    let life = Duration::from_secs(600);
    let ours = {
        let dir = marketplace.data_dir().parent().unwrap().to_owned();
        DevIssuer::load(&dir, &auth, &Clock::system()).unwrap()
    };
    let expired = {
        // Signed with the right key by a clock that is an hour slow, so that the token has expired.
        let hour_ago = Clock::manual(Clock::system().unix() - Duration::from_secs(3_600));
        let dir = marketplace.data_dir().parent().unwrap().to_owned();
        DevIssuer::load(&dir, &auth, &hour_ago).unwrap().token("ann", life).unwrap()
    };
    let table = [
        ("none", None),
        ("garbage", Some("garbage".to_owned())),
        ("of a stranger", Some(stranger.token("ann", life).unwrap())),
        ("expired", Some(expired)),
        ("without a subject", Some(ours.token("", life).unwrap())),
        ("with a subject of 5 KB", Some(ours.token(&"s".repeat(5 * 1024), life).unwrap())),
        ("with NUL in the subject", Some(ours.token("ann\0", life).unwrap())),
    ];
    let bare = reqwest::Client::new().get(marketplace.gateway.clone() + "/v1/orders/x").send().await.unwrap();
    assert_eq!(
        (bare.status().as_u16(), &bare.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    for (what, token) in table {
        let mut buyer = marketplace.buyer("ann");
        buyer.token = token.clone().unwrap_or_default();
        let response = buyer.post(Some("k"), Buyer::body(1).to_string()).await.unwrap();
        assert_eq!(response.status(), 401, "{what}");
        assert!(response.headers().contains_key("www-authenticate"), "{what}");
        // A socket without a token sends it in its first frame.
        let Some(token) = token else { continue };
        let handshake = buyer.try_socket(Some(&token)).await;
        let refused = match handshake {
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => response.status() == 401,
            _ => false,
        };
        assert!(refused, "the handshake with a token {what} is refused");
    }
}
