//! A gRPC call that ends in time, charges a card once, and is retried where the server proves that nothing happened.
//!
//! The problem: a call without a deadline waits for ever, and the server works on for a caller that has gone. A call
//! whose answer is lost may have charged the card, so a plain retry may charge it twice. A server that is overloaded
//! refuses calls that would be safe to repeat, but UNAVAILABLE does not say whether a handler ran.
//!
//! The solution: `Channel` sends the time that remains, the caller gives each charge an idempotency key, and
//! `refused` marks a refusal as not executed, which a `Policy` retries also without a key.
//!
//! `cargo run -p examples --example grpc`: needs nothing else, client and server run in this process over loopback.

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

/// Generated from `proto/payments.proto` by `build.rs`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod pb {
    tonic::include_proto!("shop.payments.v1");
}

/// What goes wrong with a call.
enum Trouble {
    /// The server refuses the call before it begins to work.
    Overloaded,
    /// The charge is made, and the answer never comes.
    AnswerLost,
}

/// The payment service. It keeps receipts by idempotency key; a real one stores them in the transaction that charges
/// (`comms_core::idempotency::reply_once`).
#[derive(Default)]
struct Till {
    receipts: HashMap<String, String>,
    troubles: VecDeque<Trouble>,
}

#[derive(Clone, Default)]
struct PaymentService(Arc<Mutex<Till>>);

#[async_trait]
impl Payments for PaymentService {
    async fn charge(&self, request: Request<ChargeRequest>) -> Result<Response<Receipt>, Status> {
        let trouble = self.with(|till| till.troubles.pop_front());
        if let Some(Trouble::Overloaded) = trouble {
            println!("  server: overloaded, refused");
            return Err(refused(&Error::rejected("overloaded", Some(Duration::from_millis(100)))));
        }
        let left =
            Context::current().deadline.and_then(|d| d.remaining(&Clock::system())).unwrap_or_default();
        let key = key_of(&request)?;
        println!("  server: {} under key {key}, {} ms left", request.get_ref().order_id, left.as_millis());
        let receipt_id = self.with(|till| {
            let next = format!("receipt-{}", till.receipts.len() + 1);
            till.receipts.entry(key).or_insert(next).clone()
        });
        if let Some(Trouble::AnswerLost) = trouble {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(Receipt { receipt_id }))
    }
}

impl PaymentService {
    fn with<T>(&self, work: impl FnOnce(&mut Till) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn next_calls(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.with(|till| till.troubles.extend(troubles));
    }
}

/// One attempt to charge an order. `from_status` makes an error of the status, with what is known about the outcome.
async fn charge(channel: &Channel, order_id: &str) -> Result<String, Error> {
    let message = ChargeRequest { order_id: order_id.into(), cents: 4_200 };
    // The same key at every attempt: here the order's id.
    let request = keyed(Request::new(message), order_id)?;
    let answer = PaymentsClient::new(channel.clone()).charge(request).await;
    let receipt = answer.map_err(|status| from_status(&status))?.into_inner();
    println!("  client: {}", receipt.receipt_id);
    Ok(receipt.receipt_id)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = Clock::system();
    let service = PaymentService::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let channel = Channel::builder(format!("http://{}", listener.local_addr()?)).peer("payments").build()?;
    let routes = Routes::new(pb::payments_server::PaymentsServer::new(service.clone()));
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let server = tokio::spawn(serve(listener, routes, ServerConfig::default(), clock.clone(), shutdown));

    println!("-- the deadline of the user's request bounds the call: 300 ms, and the answer never comes");
    service.next_calls([Trouble::AnswerLost]);
    let request = Context::root(&clock).with_deadline(Deadline::after(Duration::from_millis(300), &clock));
    let lost = request.scope(charge(&channel, "order-1")).await.err().context("no answer")?;
    println!("  client: {}, the card may have been charged", lost.kind);
    anyhow::ensure!(lost.kind == ErrorKind::Indeterminate);

    println!("-- the same key again: the stored receipt, not a second charge");
    anyhow::ensure!(charge(&channel, "order-1").await? == "receipt-1");

    println!("-- a lost answer is retried only if the caller declares the call idempotent");
    let mut config = PolicyConfig::interactive();
    config.attempt_timeout = Some(Duration::from_millis(200));
    let policy = Policy::new("payments", config)?;
    service.next_calls([Trouble::AnswerLost, Trouble::AnswerLost]);
    let plain = policy.run(|| charge(&channel, "order-2")).await;
    println!("  client: not declared, {}", plain.err().context("no answer")?.kind);
    let receipt = policy.run_idempotent(|| charge(&channel, "order-2")).await?;
    anyhow::ensure!(receipt == "receipt-2", "charged once, in three attempts");

    println!("-- a refusal that is marked is retried in any case, after the wait that the server asks for");
    service.next_calls([Trouble::Overloaded]);
    anyhow::ensure!(policy.run(|| charge(&channel, "order-3")).await? == "receipt-3");

    anyhow::ensure!(service.with(|till| till.receipts.len()) == 3, "three orders, three charges");
    let _ = stop.send(());
    Ok(server.await??)
}
