//! Unary calls per second through [`Channel`] and [`serve`], and, in the same run, through the channel and the server
//! of tonic. Client and server share the machine.
//!
//! The processor time of a call, of both sides together, depends less on other load of the machine (Linux only).
//!
//! `cargo bench -p comms-grpc --all-features`
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use comms_core::{BoxError, clock::Clock};
use comms_grpc::{Channel, ServerConfig, serve, tonic};
use futures::future::{BoxFuture, join_all};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tonic::{
    Request, Response,
    body::Body,
    client::GrpcService,
    server::NamedService,
    service::Routes,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

/// The duration of each measurement.
const RUN: Duration = Duration::from_secs(3);

#[derive(Clone)]
struct Echo;

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

#[tokio::main]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = format!("http://{}", listener.local_addr().unwrap());
    let (config, clock) = (ServerConfig::default(), Clock::system());
    tokio::spawn(serve(listener, Routes::new(Echo), config, clock, std::future::pending()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = format!("http://{}", listener.local_addr().unwrap());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(Server::builder().add_service(Echo).serve_with_incoming(incoming));

    let ours = Channel::builder(ours).build().unwrap();
    let plain = Endpoint::from_shared(plain).unwrap().connect().await.unwrap();
    println!("unary calls/s, 64 bytes, one connection");
    for in_flight in [1, 16, 64] {
        let ((ours, ours_cpu), (plain, plain_cpu)) =
            (calls(&ours, in_flight).await, calls(&plain, in_flight).await);
        println!(
            "in flight {in_flight:>2}: ours {ours:>7.0}, tonic {plain:>7.0}, ratio {:.2}; \
             processor time {ours_cpu:.1} us, tonic {plain_cpu:.1} us, ratio {:.2}",
            ours / plain,
            ours_cpu / plain_cpu
        );
    }
}

/// Returns the processor time of this process in microseconds, or 0 where it is not known. The kernel counts in
/// hundredths of a second.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10_000.0
}

/// Returns the calls per second with `in_flight` concurrent callers, and the processor time of a call in microseconds.
async fn calls<T>(transport: &T, in_flight: usize) -> (f64, f64)
where
    T: GrpcService<Body> + Clone,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError>,
{
    let clock = Clock::system();
    let (started, processor_started) = (clock.now(), processor_time());
    let callers = (0..in_flight).map(|_| async {
        let mut grpc = tonic::client::Grpc::new(transport.clone());
        let mut done = 0u32;
        while clock.now() - started < RUN {
            grpc.ready().await.map_err(Into::into).unwrap();
            let path = PathAndQuery::from_static("/bench.Echo/Echo");
            let response =
                grpc.unary(Request::new("x".repeat(62)), path, ProstCodec::<String, String>::default());
            response.await.unwrap();
            done += 1;
        }
        done
    });
    let done: u32 = join_all(callers).await.iter().sum();
    let done = f64::from(done);
    (done / (clock.now() - started).as_secs_f64(), (processor_time() - processor_started) / done)
}
