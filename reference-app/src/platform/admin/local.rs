//! An admin listener on a loopback address is for programs of this machine. A page of another site can make a browser of this
//! machine read from it, if the page's own name resolves to a loopback address (DNS rebinding).

use axum::{
    Router,
    extract::Request,
    http::header,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};

use crate::platform::http::{Hosts, Problem};

/// `routes`, for requests to `localhost` and to loopback addresses: 403 for a `Host` that is another one. A request without
/// `Host` (HTTP/1.0) comes from no browser.
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
    async fn a_page_under_dns_rebinding_reads_nothing() {
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
