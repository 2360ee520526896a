//! The web page: the gateway serves all its files, under a policy that admits no other origin.

use std::net::TcpListener;

use reqwest::{Response, StatusCode};
use serde_json::json;

use crate::support::{Process, free_listeners};

#[tokio::test]
async fn the_gateway_serves_every_file_of_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (gateway, notification, admin) = (port(), port(), port());
    let listen = |role: &str, port: u16| (format!("COMMS_{role}__LISTEN"), format!("127.0.0.1:{port}"));
    let mut env = free_listeners();
    env.extend([
        listen("GATEWAY", gateway),
        listen("NOTIFICATION", notification),
        listen("ADMIN", admin),
        ("COMMS_DATA_DIR".into(), dir.path().join("data").display().to_string()),
    ]);
    let mut process = Process::new("page", dir.path(), admin, &[], env);
    process.spawn();
    process.ready().await;
    let base = format!("http://127.0.0.1:{gateway}");

    let index = get(&base, "/").await;
    let policy = index.headers()["content-security-policy"].to_str().unwrap().to_owned();
    for part in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{part} is not in {policy}");
    }
    assert!(
        policy.contains(&format!("connect-src 'self' ws://127.0.0.1:{notification}/v1/events;")),
        "{policy}"
    );
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    let html = file_text(index, "text/html").await;
    assert!(!html.contains("<style") && !html.contains("style=") && !html.contains("<script>"));

    let mut files: Vec<String> = references(&html, &["href=\"/", "src=\"/"]);
    assert!(files.contains(&"page/page.js".to_owned()) && files.contains(&"page/page.css".to_owned()));
    let mut seen = 0;
    while let Some(file) = files.get(seen).cloned() {
        let kind = if file.ends_with(".css") { "text/css" } else { "text/javascript" };
        let text = file_text(get(&base, &format!("/{file}")).await, kind).await;
        let imports = references(&text, &["from \"./"]).into_iter().map(|name| format!("page/{name}"));
        for import in imports.filter(|import| !files.contains(import)).collect::<Vec<_>>() {
            files.push(import);
        }
        seen += 1;
    }
    for path in ["/page/nothing.js", "/page/..%2fCargo.toml", "/page/%ff", "/page/"] {
        assert_eq!(get(&base, path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }

    // The first calls of the page: a token, then the user's orders.
    let http = reqwest::Client::new();
    let token = http.post(format!("{base}/dev/token")).json(&json!({"user": "ann"})).send().await.unwrap();
    let token: serde_json::Value = token.json().await.unwrap();
    let orders = http.get(format!("{base}/v1/orders")).bearer_auth(token["token"].as_str().unwrap());
    assert_eq!(orders.send().await.unwrap().status(), StatusCode::OK);
}

async fn get(base: &str, path: &str) -> Response {
    reqwest::get(format!("{base}{path}")).await.unwrap()
}

/// Returns the text of a file of the page. Checks its media type, and that it names no other origin.
async fn file_text(response: Response, kind: &str) -> String {
    let url = response.url().clone();
    assert_eq!(response.status(), StatusCode::OK, "{url}");
    let media_type = response.headers()["content-type"].to_str().unwrap();
    assert!(media_type.starts_with(kind), "{url}: {media_type}");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{url}");
    let text = response.text().await.unwrap();
    for elsewhere in ["http://", "https://", "src=\"//", "href=\"//", "@import", "url("] {
        assert!(!text.contains(elsewhere), "{url} contains {elsewhere}");
    }
    text
}

/// Returns the texts that follow one of `marks` in `text`, each up to the quotation mark.
fn references(text: &str, marks: &[&str]) -> Vec<String> {
    let after = marks.iter().flat_map(|mark| text.split(mark).skip(1));
    after.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}
