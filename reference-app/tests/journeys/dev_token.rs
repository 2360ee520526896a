//! The token endpoint of development serves programs on this machine and the gateway's page, and refuses other sites.

use std::{net::TcpListener, time::Duration};

use reqwest::{RequestBuilder, StatusCode, header};
use serde_json::Value;

use crate::support::{Process, free_listeners};

/// Starts the program with the development issuer. Returns the process and the port of its gateway.
async fn start(dir: &std::path::Path) -> (Process, u16) {
    let ports: [TcpListener; 2] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [gateway, admin] = ports.map(|port| port.local_addr().unwrap().port());
    let mut env = free_listeners();
    env.push(("COMMS_GATEWAY__LISTEN".into(), format!("127.0.0.1:{gateway}")));
    env.push(("COMMS_GATEWAY__URL".into(), "https://shop.example".into()));
    env.push(("COMMS_ADMIN__LISTEN".into(), format!("127.0.0.1:{admin}")));
    env.push(("COMMS_DATA_DIR".into(), dir.join("data").display().to_string()));
    let mut process = Process::new("dev", dir, admin, &[], env);
    process.spawn();
    process.ready().await;
    (process, gateway)
}

#[tokio::test]
async fn the_token_endpoint_checks_host_and_origin_embedded() {
    let dir = tempfile::tempdir().unwrap();
    let (_process, port) = start(dir.path()).await;
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    let base = format!("http://127.0.0.1:{port}");
    let request_token = || client.post(format!("{base}/dev/token")).json(&serde_json::json!({"user": "ann"}));
    let (local, named) = (format!("127.0.0.1:{port}"), format!("localhost:{port}"));
    let with = |request: RequestBuilder, headers: &[(&str, &str)]| {
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    let origin = |host: &str| format!("http://{host}");
    let allowed: [&[(&str, &str)]; 5] = [
        &[],
        &[("host", &named)],
        &[("host", &named), ("origin", &origin(&named)), ("sec-fetch-site", "same-origin")],
        &[("origin", &base)],
        &[("host", "shop.example"), ("origin", "https://shop.example")],
    ];
    for headers in allowed {
        let answer = with(request_token(), headers).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{headers:?}");
        assert!(answer.json::<Value>().await.unwrap()["token"].is_string(), "{headers:?}");
    }
    let foreign = format!("evil.example:{port}");
    let refused: [&[(&str, &str)]; 6] = [
        &[("host", &foreign), ("origin", &origin(&foreign))],
        &[("host", &foreign)],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("host", &local), ("origin", &origin(&named))],
        &[("sec-fetch-site", "cross-site")],
    ];
    for headers in refused {
        let answer = with(request_token(), headers).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{headers:?}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "/problems/forbidden", "{problem}");
    }

    // The page may be opened by a link on another site, but not under another host.
    let page = |headers: &[(&str, &str)]| with(client.get(format!("{base}/")), headers).send();
    assert_eq!(page(&[]).await.unwrap().status(), StatusCode::OK);
    assert_eq!(page(&[("sec-fetch-site", "cross-site")]).await.unwrap().status(), StatusCode::OK);
    assert_eq!(page(&[("host", &foreign)]).await.unwrap().status(), StatusCode::FORBIDDEN);
}

/// A development token has the scope `admin` on request, and the figures need it.
#[tokio::test]
async fn a_development_token_has_the_scope_that_is_asked_for_embedded() {
    let dir = tempfile::tempdir().unwrap();
    let (_process, port) = start(dir.path()).await;
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    let base = format!("http://127.0.0.1:{port}");
    let request = |body: Value| client.post(format!("{base}/dev/token")).json(&body).send();
    for (scope, status) in [(Value::Null, StatusCode::FORBIDDEN), ("admin".into(), StatusCode::OK)] {
        let answer = request(serde_json::json!({"user": "ann", "scope": scope})).await.unwrap();
        let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
        let figures = client.get(format!("{base}/v1/analytics/orders")).bearer_auth(token);
        assert_eq!(figures.send().await.unwrap().status(), status, "{scope}");
    }
    let refused = request(serde_json::json!({"user": "ann", "scope": "root"})).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.json::<Value>().await.unwrap()["errors"][0]["pointer"], "/scope");
}
