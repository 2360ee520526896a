//! The checks of a request that come before every handler: the HTTP method and the content type.

use std::task::{Context, Poll};

use comms_core::wire::NOT_EXECUTED;
use futures::future::{Either, Ready, ready};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tonic::body::Body;
use tower_service::Service;

/// A service that answers a request which is not gRPC by itself.
///
/// The response to a method other than POST is 405 with `allow: POST`, and to a content type that the handlers cannot
/// decode 415 (gRPC over HTTP/2, "Requests"). Neither has a `grpc-status`, because the client does not speak gRPC. A
/// missing `te: trailers` is accepted, because proxies remove the header.
#[derive(Debug, Clone)]
pub(super) struct ProtocolCheck<S> {
    inner: S,
}

impl<S> ProtocolCheck<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<B>> for ProtocolCheck<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match check(request.method(), request.headers()) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(response) => Either::Right(ready(Ok(*response))),
        }
    }
}

/// Returns the response to a request that is not gRPC.
fn check(method: &Method, headers: &HeaderMap) -> Result<(), Box<Response<Body>>> {
    if method != Method::POST {
        return Err(refusal(StatusCode::METHOD_NOT_ALLOWED, header::ALLOW, "POST"));
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (Some(value), None) if is_grpc(value.as_bytes()) => Ok(()),
        _ => Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, header::ACCEPT, "application/grpc")),
    }
}

/// Returns whether the content type `value` is `application/grpc` or `application/grpc+proto`, with or without
/// parameters. Media types are not case-sensitive (RFC 9110, section 8.3.1).
fn is_grpc(value: &[u8]) -> bool {
    let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    [&b"application/grpc"[..], b"application/grpc+proto"]
        .iter()
        .any(|expected| media_type.eq_ignore_ascii_case(expected))
}

fn refusal(status: StatusCode, name: header::HeaderName, value: &'static str) -> Box<Response<Body>> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response.headers_mut().insert(NOT_EXECUTED, HeaderValue::from_static("not_executed"));
    Box::new(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, content_types: &[&str]) -> Option<StatusCode> {
        let mut headers = HeaderMap::new();
        for value in content_types {
            headers.append(header::CONTENT_TYPE, value.parse().unwrap());
        }
        check(&method, &headers).err().map(|response| response.status())
    }

    #[test]
    fn only_post_with_the_content_type_of_grpc_passes() {
        for passes in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc; charset=utf-8",
            "Application/gRPC+Proto ;a=b",
        ] {
            assert_eq!(status(Method::POST, &[passes]), None, "{passes}");
        }
        for refused in [
            "application/grpc+json",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcx",
            "application/grpc+",
            "application/json",
            "text/plain",
            "",
        ] {
            assert_eq!(
                status(Method::POST, &[refused]),
                Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
                "{refused}"
            );
        }
        for types in [&[][..], &["application/grpc", "application/grpc"]] {
            assert_eq!(status(Method::POST, types), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), "{types:?}");
        }
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS, Method::CONNECT] {
            assert_eq!(status(method, &["application/grpc"]), Some(StatusCode::METHOD_NOT_ALLOWED));
        }
    }
}
