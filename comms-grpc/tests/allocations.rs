//! A unary call through a [`Channel`] allocates at most twelve times more than a call through the channel of tonic, with
//! the same server.
//!
//! A program without libtest (`harness = false`), because the counter counts the allocations of the whole process, and
//! libtest's main thread allocates while a test runs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    alloc::System,
    convert::Infallible,
    task::{Context, Poll},
};

use comms_core::BoxError;
use comms_grpc::{Channel, tonic};
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::net::TcpListener;
use tonic::{
    Request, Response,
    body::Body,
    client::GrpcService,
    server::NamedService,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TIMES: usize = 2_000;
const MOST: f64 = 12.0;

#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
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

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(Server::builder().add_service(Echo).serve_with_incoming(TcpIncoming::from(listener)));
        let plain = Endpoint::from_shared(uri.clone()).unwrap().connect().await.unwrap();
        let ours = Channel::builder(uri).build().unwrap();
        let (ours, plain) = (allocations(&ours).await, allocations(&plain).await);
        println!("allocations per call: {ours:.1}, tonic {plain:.1}");
        assert!(ours - plain <= MOST, "{:.1} more than tonic", ours - plain);
        assert!(plain > 1.0, "the allocator counts");
    });
}

/// Returns the allocations and reallocations of one call, on both sides of the connection.
async fn allocations<T>(transport: &T) -> f64
where
    T: GrpcService<Body> + Clone,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError>,
{
    // Metric handles, thread locals and buffers are created at their first use.
    calls(transport).await;
    let region = Region::new(ALLOCATOR);
    calls(transport).await;
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / TIMES as f64
}

async fn calls<T>(transport: &T)
where
    T: GrpcService<Body> + Clone,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError>,
{
    let mut grpc = tonic::client::Grpc::new(transport.clone());
    for _ in 0..TIMES {
        grpc.ready().await.map_err(Into::into).unwrap();
        let path = PathAndQuery::from_static("/test.Echo/Echo");
        let codec = ProstCodec::<String, String>::default();
        grpc.unary(Request::new("x".repeat(62)), path, codec).await.unwrap();
    }
}
