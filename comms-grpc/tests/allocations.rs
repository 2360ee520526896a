//! A unary call through a [`Channel`] allocates at most twelve times more than a call through the channel of tonic, with
//! the same server.
//!
//! A program without libtest (`harness = false`), because the counter counts the allocations of the whole process, and
//! libtest's main thread allocates while a test runs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../benches/unary/echo.rs"]
mod echo;

use std::alloc::System;

use comms_core::BoxError;
use comms_grpc::{Channel, tonic};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::net::TcpListener;
use tonic::{
    body::Body,
    client::GrpcService,
    transport::{Endpoint, Server, server::TcpIncoming},
};

use echo::{Caller, Echo, call_times};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TIMES: u32 = 2_000;
const MOST: f64 = 12.0;

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
    T: GrpcService<Body, ResponseBody: http_body::Body<Error: Into<BoxError>> + Send + 'static> + Clone,
{
    let mut caller = Caller::new(transport.clone());
    // Metric handles, thread locals and buffers are created at their first use.
    call_times(&mut caller, TIMES).await;
    let region = Region::new(ALLOCATOR);
    call_times(&mut caller, TIMES).await;
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / f64::from(TIMES)
}
