//! The service, and its callers.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use comms_core::BoxError;
use comms_grpc::tonic;
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use tonic::{Request, Response, body::Body, client::Grpc, client::GrpcService, server::NamedService};
use tonic_prost::ProstCodec;

/// A service with the shape of the code that tonic generates.
#[derive(Clone)]
pub(crate) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = tower::service_fn(async |r: Request<String>| Ok(Response::new(r.into_inner())));
        Box::pin(
            async move { Ok(tonic::server::Grpc::new(ProstCodec::default()).unary(echo, request).await) },
        )
    }
}

/// A generated client makes the same calls.
pub(crate) struct Caller<T>(Grpc<T>);

impl<T> Caller<T>
where
    T: GrpcService<Body, ResponseBody: http_body::Body<Error: Into<BoxError>> + Send + 'static>,
{
    pub(crate) fn new(transport: T) -> Self {
        Self(Grpc::new(transport))
    }

    /// Makes a call with a message of 64 bytes.
    pub(crate) async fn call(&mut self) {
        self.0.ready().await.map_err(Into::into).unwrap();
        let path = PathAndQuery::from_static("/bench.Echo/Echo");
        let codec = ProstCodec::<String, String>::default();
        self.0.unary(Request::new("x".repeat(62)), path, codec).await.unwrap();
    }
}

pub(crate) async fn call_times<T>(caller: &mut Caller<T>, calls: u32)
where
    T: GrpcService<Body, ResponseBody: http_body::Body<Error: Into<BoxError>> + Send + 'static>,
{
    for _ in 0..calls {
        caller.call().await;
    }
}
