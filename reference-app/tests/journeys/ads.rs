//! Ads at the gateway: created once, read by anyone with an entity tag, and listed.

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{Buyer, Deployment, Marketplace};

#[tokio::test]
async fn an_ad_is_created_once_and_read_with_its_entity_tag_embedded() {
    journey(Deployment::Embedded).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn an_ad_is_created_once_and_read_with_its_entity_tag_full_by_role() {
    journey(Deployment::FullByRole).await;
}

async fn journey(deployment: Deployment) {
    let marketplace = Marketplace::start(deployment).await;
    let sam = marketplace.buyer("sam");
    let shown = created(&marketplace, &sam).await;
    conditional(&marketplace, &shown).await;
    listed(&marketplace, &shown, deployment).await;
    bad_input(&marketplace, &sam).await;
}

fn lamp() -> Value {
    json!({"title": "Lamp", "description": "Warm.\nBright.", "price": {"minor": 4_990, "currency": "RUB"}, "stock": 3})
}

async fn post(marketplace: &Marketplace, seller: &Buyer, key: Option<&str>, body: &Value) -> Response {
    let request = Client::new().post(format!("{}/v1/ads", marketplace.gateway));
    let request = request.bearer_auth(&seller.token).json(body);
    let request = match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    };
    request.send().await.unwrap()
}

/// Sends a request without a token.
async fn get(marketplace: &Marketplace, path: &str, if_none_match: Option<&str>) -> Response {
    let request = Client::new().get(format!("{}{path}", marketplace.gateway));
    let request = match if_none_match {
        Some(tag) => request.header("if-none-match", tag),
        None => request,
    };
    request.send().await.unwrap()
}

/// Creates an ad, twice with one key, and returns it as it is shown to anyone.
async fn created(marketplace: &Marketplace, sam: &Buyer) -> Value {
    let response = post(marketplace, sam, Some("key-1"), &lamp()).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert!(!response.headers().contains_key("idempotent-replayed"));
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let ad: Value = response.json().await.unwrap();
    assert_eq!(location, format!("/v1/ads/{}", ad["ad_id"].as_str().unwrap()));
    assert_eq!((&ad["seller_id"], &ad["available"]), (&json!("sam"), &json!(3)));

    let again = post(marketplace, sam, Some("key-1"), &lamp()).await;
    assert_eq!(again.status(), StatusCode::CREATED);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), ad, "one ad for one key");
    let mut other = lamp();
    other["stock"] = json!(4);
    let other = post(marketplace, sam, Some("key-1"), &other).await;
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY, "the key of another request");

    let shown = get(marketplace, &location, None).await;
    assert_eq!(shown.status(), StatusCode::OK);
    let shown: Value = shown.json().await.unwrap();
    assert_eq!(shown, ad);
    shown
}

async fn conditional(marketplace: &Marketplace, ad: &Value) {
    let path = ad["links"]["self"].as_str().unwrap();
    let first = get(marketplace, path, None).await;
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert!(tag.starts_with('"'), "a strong tag: {tag}");
    assert_eq!(first.headers()["cache-control"], "public, max-age=5");
    for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let response = get(marketplace, path, Some(&known)).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(response.headers()["etag"], tag.as_str());
        assert_eq!(response.headers()["cache-control"], "public, max-age=5");
        assert!(response.headers().contains_key("trace-id"));
        assert!(response.bytes().await.unwrap().is_empty());
    }
    let other = get(marketplace, path, Some("\"other\"")).await;
    assert_eq!(other.status(), StatusCode::OK);
    let head = Client::new().head(format!("{}{path}", marketplace.gateway)).send().await.unwrap();
    assert_eq!((head.status(), head.headers()["etag"].to_str().unwrap()), (StatusCode::OK, tag.as_str()));
    let missing = get(marketplace, "/v1/ads/nothing", Some("*")).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert!(!missing.headers().contains_key("etag"));
}

/// Walks the list by pages of one ad. Only the embedded profile has demonstration ads.
async fn listed(marketplace: &Marketplace, ad: &Value, deployment: Deployment) {
    let (mut ids, mut query) = (Vec::new(), "?limit=1".to_owned());
    loop {
        let response = get(marketplace, &format!("/v1/ads{query}"), None).await;
        assert_eq!(response.status(), StatusCode::OK, "{query}");
        assert!(response.headers().contains_key("etag"));
        let page: Value = response.json().await.unwrap();
        assert_eq!(page["ads"].as_array().unwrap().len(), 1);
        ids.push(page["ads"][0]["ad_id"].as_str().unwrap().to_owned());
        if page["ads"][0]["ad_id"] == ad["ad_id"] {
            assert_eq!(page["ads"][0], *ad, "the same fields as at its URL");
        }
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=1&cursor={next}");
    }
    assert_eq!(ids[0], ad["ad_id"].as_str().unwrap(), "newest first");
    ids[1..].sort();
    match deployment {
        Deployment::Embedded => assert_eq!(ids[1..], ["bike-42", "lamp-7", "tent-3"]),
        Deployment::Full | Deployment::FullByRole => assert_eq!(ids.len(), 1),
    }
}

async fn bad_input(marketplace: &Marketplace, sam: &Buyer) {
    let changes: [(&str, Value); 9] = [
        ("/title", json!(" ")),
        ("/title", json!("two\nlines")),
        ("/title", json!("x".repeat(201))),
        ("/description", json!("nul \u{0}")),
        ("/description", json!("x".repeat(4_001))),
        ("/price/minor", json!(0)),
        ("/price/currency", json!("rub")),
        ("/stock", json!(-1)),
        ("/stock", json!(1_000_001)),
    ];
    for (pointer, value) in changes {
        let mut body = lamp();
        *body.pointer_mut(pointer).unwrap() = value;
        let response = post(marketplace, sam, Some("key-2"), &body).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let keyless = post(marketplace, sam, None, &lamp()).await;
    assert_eq!(keyless.status(), StatusCode::BAD_REQUEST);
    let anonymous = Client::new().post(format!("{}/v1/ads", marketplace.gateway)).json(&lamp());
    let anonymous = anonymous.header("idempotency-key", "key-3").send().await.unwrap();
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED, "only a seller creates an ad");

    for path in ["/v1/ads/nothing", "/v1/ads/a%20b", "/v1/ads/%00", "/v1/ads/%ff"] {
        let response = get(marketplace, path, None).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
    }
    // The last cursor is well-formed, and names no ad.
    for query in
        ["limit=0", "limit=101", "cursor=", "cursor=%00", "cursor=bm8gYWQ", "page=2", "cursor=bm90aGluZw"]
    {
        let response = get(marketplace, &format!("/v1/ads?{query}"), None).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
}
