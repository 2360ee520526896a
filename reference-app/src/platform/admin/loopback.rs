//! Protects an admin listener on a loopback address from DNS rebinding.
//!
//! Such a listener is for programs on this machine. A web page could make a browser on this machine read from it, if
//! the name of the page's host resolves to a loopback address.

use axum::{
    Router,
    extract::Request,
    http::header,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};

use crate::platform::http::{Hosts, Problem};

/// Limits `routes` to requests for `localhost` and loopback addresses. Another `Host` is answered with 403. A request
/// without `Host` (HTTP/1.0) does not come from a browser and is accepted.
pub(super) fn only(routes: Router) -> Router {
    routes.layer(from_fn(check))
}

async fn check(request: Request, next: Next) -> Response {
    let (uri, headers) = (request.uri(), request.headers());
    let names_host = uri.authority().is_some() || headers.contains_key(header::HOST);
    match Hosts::default().check_host(uri, headers) {
        Err(error) if names_host => Problem::from(error).into_response(),
        _ => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use tonic::codegen::Service as _;

    use super::*;

    #[tokio::test]
    async fn a_request_for_another_host_is_refused() {
        let routes = only(Router::new().route("/metrics", get(async || "")));
        let table = [
            (Some("localhost:9090"), 200),
            (Some("127.0.0.1:9090"), 200),
            (Some("[::1]:9090"), 200),
            (Some("evil.example:9090"), 403),
            (Some("10.0.0.7:9090"), 403),
            (None, 200),
        ];
        for (host, status) in table {
            let mut request = Request::get("/metrics");
            if let Some(host) = host {
                request = request.header(header::HOST, host);
            }
            let response = routes.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{host:?}");
        }
    }
}
