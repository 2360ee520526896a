//! Operations of the admin listener: the token proves the operator, and the address of the peer proves nothing.

use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::Value;

use crate::{
    support::{Deployment, Marketplace, Process},
    tcp_proxy::TcpProxy,
};

const OPEN: &str = "/policies/order/breaker/open";

fn post(url: &str) -> RequestBuilder {
    reqwest::Client::new().request(Method::POST, url)
}

async fn breaker(base: &str) -> String {
    let policies: Value = reqwest::get(format!("{base}/policies")).await.unwrap().json().await.unwrap();
    let order = policies.as_array().unwrap().iter().find(|policy| policy["name"] == "order").unwrap();
    order["breaker"]["state"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_change_through_a_tcp_relay_needs_the_token_embedded() {
    let mut marketplace = Marketplace::start(Deployment::Embedded).await;
    let admin = marketplace.processes[0].admin_url("");
    let proxy = TcpProxy::to(admin.strip_prefix("http://").unwrap().parse().unwrap()).await;
    let (base, token) = (proxy.url(), marketplace.admin_token());
    for url in [format!("{base}{OPEN}"), format!("{admin}{OPEN}")] {
        let bare = post(&url).send().await.unwrap();
        assert_eq!(
            (bare.status(), &bare.headers()[header::WWW_AUTHENTICATE]),
            (StatusCode::UNAUTHORIZED, &"Bearer".parse().unwrap())
        );
        assert_eq!(bare.headers()[header::CONTENT_TYPE], "application/problem+json");
        let problem: Value = bare.json().await.unwrap();
        assert!(problem["status"] == 401 && !problem.to_string().contains(&token), "{problem}");
        let wrong = post(&url).bearer_auth("0".repeat(64)).send().await.unwrap();
        assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
        let twice = post(&url).bearer_auth(&token).bearer_auth(&token).send().await.unwrap();
        assert_eq!(twice.status(), StatusCode::BAD_REQUEST, "a repeated header");
        let page = post(&url)
            .bearer_auth(&token)
            .header(header::ORIGIN, "http://evil.example")
            .send()
            .await
            .unwrap();
        assert_eq!(page.status(), StatusCode::FORBIDDEN, "no web page turns a switch");
        let release = post(&url.replace(OPEN, "/holds/payment-service/order-payments/release"));
        let release = release.json(&serde_json::json!({"key": null})).send().await.unwrap();
        assert_eq!(release.status(), StatusCode::UNAUTHORIZED);
    }
    for path in ["/metrics", "/policies", "/holds", "/readyz"] {
        let read = reqwest::Client::new().get(format!("{admin}{path}"));
        let rebound = read.header(header::HOST, "evil.example:9090").send().await.unwrap();
        assert_eq!(rebound.status(), StatusCode::FORBIDDEN, "{path}: DNS rebinding");
    }
    assert_eq!(breaker(&base).await, "closed", "reading needs no token, and nothing was changed");
    let done = post(&format!("{base}{OPEN}")).bearer_auth(&token).send().await.unwrap();
    assert_eq!((done.status(), &*breaker(&base).await), (StatusCode::OK, "forced_open"));

    let file = marketplace.data_dir().join("admin-token");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "readable by its owner alone");
    assert!(!marketplace.processes[0].log().contains(&token), "not in the log");
    marketplace.processes[0].kill();
    marketplace.processes[0].spawn();
    marketplace.ready().await;
    assert_eq!(marketplace.admin_token(), token, "kept over restarts");
    assert_eq!(marketplace.operate(OPEN, None).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_configured_token_is_the_only_one_embedded() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "a-token-of-the-operators\n").unwrap();
    let more = [("COMMS_ADMIN__TOKEN_FILE", file.to_str().unwrap())];
    let marketplace = Marketplace::start_with(Deployment::Embedded, &more).await;
    assert!(!marketplace.data_dir().join("admin-token").exists());
    let url = marketplace.processes[0].admin_url(OPEN);
    for (token, status) in [("a-token-of-the-operator", 401), ("a-token-of-the-operators", 200)] {
        assert_eq!(post(&url).bearer_auth(token).send().await.unwrap().status(), status, "{token}");
    }
    let (token, known) = ("a-token-of-the-operators", "must be open, closed or reset");
    for (path, status, text) in [
        ("/policies/order/breaker/OPEN", 400, known),
        ("/policies/order/breaker/ajar", 400, known),
        ("/policies/%ff/breaker/open", 400, "UTF-8"),
    ] {
        let url = marketplace.processes[0].admin_url(path);
        let refused = post(&url).bearer_auth(token).send().await.unwrap();
        assert_eq!(refused.status(), status, "{path}");
        let problem: Value = refused.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(text), "{path}: {problem}");
    }
}

#[test]
fn a_token_in_the_place_of_its_file_is_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Process::program();
    let listeners = ["GATEWAY", "ORDER", "PAYMENT", "NOTIFICATION", "ADMIN"];
    program.envs(listeners.map(|name| (format!("COMMS_{name}__LISTEN"), "127.0.0.1:0")));
    program.env("COMMS_ADMIN__TOKEN_FILE", "hunter2-hunter2-hunter2");
    let output = program.arg("--data-dir").arg(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("COMMS_ADMIN__TOKEN_FILE"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn without_a_token_nothing_can_be_changed_full() {
    let marketplace = Marketplace::start(Deployment::Full).await;
    let base = marketplace.processes[0].admin_url("");
    let refused = post(&format!("{base}{OPEN}")).bearer_auth("0".repeat(64)).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let problem: Value = refused.json().await.unwrap();
    assert!(
        problem["detail"].as_str().unwrap().contains("COMMS_ADMIN__TOKEN_FILE"),
        "the way out: {problem}"
    );
    assert_eq!(breaker(&base).await, "closed", "reading goes on");
    assert_eq!(marketplace.processes[0].log().matches("COMMS_ADMIN__TOKEN_FILE").count(), 1, "logged once");
    assert!(!marketplace.data_dir().join("admin-token").exists(), "the profile makes no secrets");
}
