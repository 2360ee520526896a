//! gRPC: a call with a deadline and an idempotency key, and a refusal that is safe to retry.
//!
//! The problem: a call without a deadline may wait without end, and the server works for a caller that has left. If the
//! response is lost, a plain retry may charge a card twice. An overloaded server refuses calls that are safe to repeat,
//! but the status UNAVAILABLE does not tell whether a handler ran.
//!
//! The solution: `Channel` sends the remaining time, the caller sends an idempotency key with each charge, and
//! `refused` marks a refusal as not executed, which a `Policy` retries without a key, too.
//!
//! Prints for each call what the server does and what the client gets.
//!
//! Run: `cargo run -p examples --example grpc`. Nothing else is needed; client and server are in this process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use comms_core::{
    Error, ErrorKind,
    clock::Clock,
    context::{Context, Deadline},
    resilience::{Policy, PolicyConfig},
};
use comms_grpc::{Channel, ServerConfig, from_status, key_of, keyed, refused, serve};
use pb::{ChargeRequest, Receipt, payments_client::PaymentsClient, payments_server::Payments};
use tokio::{net::TcpListener, sync::oneshot};
use tonic::{Request, Response, Status, async_trait, service::Routes};

/// The code that `build.rs` generates from `proto/payments.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod pb {
    tonic::include_proto!("shop.payments.v1");
}

/// A fault of one call.
enum Fault {
    /// The server refuses the call before it charges.
    Overloaded,
    /// The server charges and sends no response.
    ResponseLost,
}

/// The payment service. It keeps receipts by idempotency key. A real service stores them in the transaction that
/// charges (`comms_core::idempotency::reply_once`).
#[derive(Clone, Default)]
struct PaymentService(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    receipts: HashMap<String, String>,
    /// The faults of the next calls.
    faults: VecDeque<Fault>,
}

#[async_trait]
impl Payments for PaymentService {
    async fn charge(&self, request: Request<ChargeRequest>) -> Result<Response<Receipt>, Status> {
        let fault = self.with(|state| state.faults.pop_front());
        if let Some(Fault::Overloaded) = fault {
            println!("  server: overloaded, refused");
            return Err(refused(&Error::rejected("overloaded", Some(Duration::from_millis(100)))));
        }
        let left =
            Context::current().deadline.and_then(|d| d.remaining(&Clock::system())).unwrap_or_default();
        let key = key_of(&request)?;
        println!("  server: {} under key {key}, {} ms left", request.get_ref().order_id, left.as_millis());
        let receipt_id = self.with(|state| {
            let next = format!("receipt-{}", state.receipts.len() + 1);
            state.receipts.entry(key).or_insert(next).clone()
        });
        if let Some(Fault::ResponseLost) = fault {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(Receipt { receipt_id }))
    }
}

impl PaymentService {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.with(|state| state.faults.extend(faults));
    }
}

/// Makes one attempt to charge an order. `from_status` converts the status to an error that shows whether the call may have run.
async fn charge(channel: &Channel, order_id: &str) -> Result<String, Error> {
    let message = ChargeRequest { order_id: order_id.into(), cents: 4_200 };
    // Every attempt has the same key: the order's id.
    let request = keyed(Request::new(message), order_id)?;
    let response = PaymentsClient::new(channel.clone()).charge(request).await;
    let receipt = response.map_err(|status| from_status(&status))?.into_inner();
    println!("  client: {}", receipt.receipt_id);
    Ok(receipt.receipt_id)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = Clock::system();
    let service = PaymentService::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // Each call is one attempt, so that the example can show it. By default, the channel retries by itself.
    let uri = format!("http://{}", listener.local_addr()?);
    let channel = Channel::builder(uri).peer("payments").without_policy().build()?;
    let routes = Routes::new(pb::payments_server::PaymentsServer::new(service.clone()));
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let server = tokio::spawn(serve(listener, routes, ServerConfig::default(), clock.clone(), shutdown));

    println!("-- the request's deadline of 300 ms bounds the call, whose response is lost");
    service.inject([Fault::ResponseLost]);
    let request = Context::root(&clock).with_deadline(Deadline::after(Duration::from_millis(300), &clock));
    let lost = request.scope(charge(&channel, "order-1")).await.err().context("no response")?;
    println!("  client: {}, the card may have been charged", lost.kind);
    anyhow::ensure!(lost.kind == ErrorKind::Indeterminate);

    println!("-- a second call with the same key returns the stored receipt");
    anyhow::ensure!(charge(&channel, "order-1").await? == "receipt-1");

    println!("-- a lost response is retried only if the caller declares the call idempotent");
    let mut config = PolicyConfig::interactive();
    config.attempt_timeout = Some(Duration::from_millis(200));
    let policy = Policy::new("payments", config)?;
    service.inject([Fault::ResponseLost, Fault::ResponseLost]);
    let plain = policy.run(|| charge(&channel, "order-2")).await;
    println!("  client: not declared, {}", plain.err().context("no response")?.kind);
    let receipt = policy.run_idempotent(|| charge(&channel, "order-2")).await?;
    anyhow::ensure!(receipt == "receipt-2", "charged once, in three attempts");

    println!("-- a refusal marked as not executed is always retried, after the server's retry-after");
    service.inject([Fault::Overloaded]);
    anyhow::ensure!(policy.run(|| charge(&channel, "order-3")).await? == "receipt-3");

    anyhow::ensure!(service.with(|state| state.receipts.len()) == 3, "three orders, three charges");
    let _ = stop.send(());
    Ok(server.await??)
}
