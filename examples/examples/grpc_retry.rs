//! Retries over gRPC: only of calls that are safe to repeat, and only as many as the peer can take.
//!
//! The problem: UNAVAILABLE does not show whether a handler ran, so a retry may charge a card twice. And in an outage every
//! caller retries, which multiplies the load of a peer that is overloaded already.
//!
//! The solution: the server marks a refusal before any work as not executed (`refused`), which `Channel` retries. A call
//! without that proof is retried only with an idempotency key. The server names the wait before the next attempt
//! (pushback), or forbids it, and a service config throttles the retries of all calls.
//!
//! Prints for each case the attempts, the charges and the result.
//!
//! Run: `cargo run -p examples --example grpc_retry`. Nothing else is needed; client and server are in this process.

use std::{collections::BTreeSet, sync::Arc, time::Duration, vec};

use comms_core::{Error, clock::Clock, resilience};
use comms_grpc::{Channel, ServerConfig, from_status, key_of, keyed, refused, serve};
use examples::payments::{ChargeRequest, Receipt, payments_client::PaymentsClient, payments_server};
use tokio::{net::TcpListener, sync::Mutex};
use tonic::{Request, Response, Status, async_trait, service::Routes};

/// Up to three attempts of a call. A failure takes one of ten tokens, and is retried while more than half are left.
const SERVICE_CONFIG: &str = r#"{
    "methodConfig": [{ "name": [{ "service": "shop.payments.v1.Payments" }], "retryPolicy": {
        "maxAttempts": 3, "initialBackoff": "0.02s", "maxBackoff": "0.2s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    } }],
    "retryThrottling": { "maxTokens": 10, "tokenRatio": 1 }
}"#;

/// A failure of a call: whether the card was charged before it, and its status.
type Fault = (bool, Status);

#[derive(Clone, Default)]
struct PaymentService(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    faults: vec::IntoIter<Fault>,
    attempts: u32,
    /// The keys of the charges. A real service stores them in the transaction that charges.
    charges: BTreeSet<String>,
}

#[async_trait]
impl payments_server::Payments for PaymentService {
    async fn charge(&self, request: Request<ChargeRequest>) -> Result<Response<Receipt>, Status> {
        let mut state = self.0.lock().await;
        state.attempts += 1;
        let fault = state.faults.next();
        // Without a key, each attempt is another charge.
        let key = key_of(&request).unwrap_or_else(|_| format!("attempt {}", state.attempts));
        if fault.as_ref().is_none_or(|(charged, _)| *charged) {
            state.charges.insert(key.clone());
        }
        let receipt = Receipt { receipt_id: format!("receipt of {key}") };
        fault.map_or(Ok(Response::new(receipt)), |(_, status)| Err(status))
    }
}

/// Makes a call, which meets `faults`, and checks the numbers of attempts and charges.
async fn call(
    (channel, service): (&Channel, &PaymentService),
    key: Option<&str>,
    faults: Vec<Fault>,
    expected: (u32, usize),
) -> anyhow::Result<()> {
    let clock = Clock::system();
    *service.0.lock().await = State { faults: faults.into_iter(), ..State::default() };
    let request = Request::new(ChargeRequest { order_id: "order-1".into(), cents: 4_200 });
    let request = if let Some(key) = key { keyed(request, key)? } else { request };
    let started = clock.now();
    let result = PaymentsClient::new(channel.clone()).charge(request).await;
    let millis = (clock.now() - started).as_millis();
    let outcome =
        result.map_or_else(|status| from_status(&status).kind.to_string(), |_| "charged".to_owned());
    let state = service.0.lock().await;
    let (attempts, charges) = (state.attempts, state.charges.len());
    println!("  attempts: {attempts}, charges: {charges}, the caller gets after {millis} ms: {outcome}");
    anyhow::ensure!((attempts, charges) == expected, "expected {expected:?}");
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = PaymentService::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}", listener.local_addr()?);
    // Retries alone: the breaker of the default policy would end the outage below earlier.
    let retries = resilience::PolicyConfig::none().retry(resilience::RetryConfig::default());
    let policy = resilience::Policy::new("payments", retries)?;
    let channel = Channel::builder(uri).policy(policy).service_config(SERVICE_CONFIG).build()?;
    let routes = Routes::new(payments_server::PaymentsServer::new(service.clone()));
    tokio::spawn(serve(listener, routes, ServerConfig::default(), Clock::system(), std::future::pending()));
    let pair = (&channel, &service);
    let not_ready = (false, refused(&Error::not_executed("not ready")));
    let lost = (true, Status::unavailable("the answer was lost"));
    let overloaded = |wait| (false, refused(&Error::rejected("overloaded", Some(wait))));

    println!("-- two refusals with the proof that no handler did any work: retried");
    call(pair, None, vec![not_ready.clone(), not_ready.clone()], (3, 1)).await?;
    println!("-- the same status without the proof: no retry, because the card may have been charged");
    call(pair, None, vec![lost.clone()], (1, 1)).await?;
    println!("-- without the proof, and with an idempotency key: retried, and charged once");
    call(pair, Some("order-1"), vec![lost], (2, 1)).await?;
    println!("-- the server asks for a wait of 150 ms (pushback)");
    call(pair, None, vec![overloaded(Duration::from_millis(150))], (2, 1)).await?;
    println!("-- the server forbids another attempt");
    call(pair, None, vec![overloaded(Duration::MAX)], (1, 0)).await?;
    println!(
        "-- an outage: each failure takes a token, and with half of them gone each call has one attempt"
    );
    for attempts in [3, 2, 1, 1] {
        call(pair, None, vec![not_ready.clone(), not_ready.clone(), not_ready.clone()], (attempts, 0))
            .await?;
    }
    Ok(())
}
