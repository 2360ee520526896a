//! Deadline over gRPC: three services that share the 300 ms of one caller, and end with it.
//!
//! The problem: A calls B, and B calls C. If each call has a limit of its own, the caller gives up while B and C work on, and
//! the work of an impatient caller fills the services behind it.
//!
//! The solution: `Channel` sends the time that is left with each call, and the server runs the handler in that context, so
//! the calls of the handler pass on what is then left. The end of a call drops the handlers behind it: its deadline, a
//! caller that cancels, or a lost connection.
//!
//! Prints what is left in each service, and which handlers are dropped.
//!
//! Run: `cargo run -p examples --example grpc_deadline`. Nothing else is needed; the services are in this process.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use anyhow::Context as _;
use comms_core::{
    clock::Clock,
    context::{Context, Deadline},
};
use comms_grpc::{Channel, ServerConfig, from_status, serve};
use examples::payments::{
    ChargeRequest, Receipt,
    payments_client::PaymentsClient,
    payments_server::{Payments, PaymentsServer},
};
use tokio::net::TcpListener;
use tonic::{Code, Request, Response, Status, async_trait, service::Routes};

/// The handlers that run now, in all services.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A service. It works for 20 ms and then calls the next one. The last service does not answer an order named `slow`.
struct Service {
    name: &'static str,
    next: Option<Channel>,
}

/// A handler that runs. Prints a line if the handler is dropped before its end.
struct Running(&'static str, bool);

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, SeqCst);
        if !self.1 {
            println!("  {}: the handler is dropped", self.0);
        }
    }
}

#[async_trait]
impl Payments for Service {
    async fn charge(&self, request: Request<ChargeRequest>) -> Result<Response<Receipt>, Status> {
        let clock = Clock::system();
        let left = Context::current().deadline.and_then(|deadline| deadline.remaining(&clock));
        println!("  {}: {} ms left", self.name, left.unwrap_or_default().as_millis());
        RUNNING.fetch_add(1, SeqCst);
        let mut running = Running(self.name, false);
        clock.sleep(ms(20)).await;
        let request = request.into_inner();
        let receipt = match &self.next {
            Some(next) => PaymentsClient::new(next.clone()).charge(request).await,
            None if request.order_id == "slow" => std::future::pending().await,
            None => Ok(Response::new(Receipt { receipt_id: format!("receipt of {}", request.order_id) })),
        };
        running.1 = true;
        receipt
    }
}

/// Starts a service, and returns a channel to it. Its own limit of 5 s is longer than what callers have.
async fn start(name: &'static str, next: Option<Channel>) -> anyhow::Result<Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let channel = Channel::builder(format!("http://{}", listener.local_addr()?)).peer(name).build()?;
    let routes = Routes::new(PaymentsServer::new(Service { name, next }));
    // The services end with the example.
    let shutdown = std::future::pending();
    tokio::spawn(serve(listener, routes, ServerConfig::default(), Clock::system(), shutdown));
    Ok(channel)
}

/// Calls A to charge for `order`, with a time limit of 300 ms.
async fn charge(a: &Channel, order: &str) -> Result<String, Status> {
    let clock = Clock::system();
    let context = Context::root(&clock).with_deadline(Deadline::after(ms(300), &clock));
    let request = ChargeRequest { order_id: order.into(), cents: 4_200 };
    let receipt = context.scope(PaymentsClient::new(a.clone()).charge(request)).await?;
    Ok(receipt.into_inner().receipt_id)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = Clock::system();
    let a = start("A", Some(start("B", Some(start("C", None).await?)).await?)).await?;

    println!("-- A, B and C share 300 ms");
    println!("  caller: {}", charge(&a, "order-1").await?);

    println!("-- C does not answer: one deadline ends the call and all handlers");
    let status = charge(&a, "slow").await.err().context("C does not answer")?;
    println!("  caller: {:?}, {}", status.code(), from_status(&status).kind);
    anyhow::ensure!(status.code() == Code::DeadlineExceeded);

    println!("-- the caller cancels after 150 ms, while C works");
    let cancelled = clock.timeout(ms(150), charge(&a, "slow")).await;
    println!("  caller: has left");
    anyhow::ensure!(cancelled.is_err());
    clock.sleep(ms(100)).await;
    println!("  {} handlers run", RUNNING.load(SeqCst));
    anyhow::ensure!(RUNNING.load(SeqCst) == 0, "nothing runs for a caller that is gone");
    Ok(())
}
