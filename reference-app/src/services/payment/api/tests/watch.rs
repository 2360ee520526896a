//! The stream of the statuses of a payment, on both databases.

use std::{future::pending, net::SocketAddr, time::Duration};

use comms_core::context::{Context, Deadline};
use comms_grpc::{Channel, Resume, ResumeConfig, Resuming, Server, ServerConfig, from_status};
use futures::StreamExt as _;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::service::Routes;

use super::*;
use crate::contracts::payment::proto::{payments_client::PaymentsClient, payments_server::PaymentsServer};

impl Bench {
    async fn watch(&self, order: &str, after_sequence: u64) -> Result<BoxStream<PaymentUpdate>, Status> {
        let request = WatchPaymentRequest { order_id: order.to_owned(), after_sequence };
        self.api.watch_payment(Request::new(request)).await.map(Response::into_inner)
    }

    /// Returns the updates of a stream that ends.
    async fn updates(&self, order: &str, after: u64) -> Vec<PaymentUpdate> {
        let updates = self.watch(order, after).await.unwrap();
        updates.map(Result::unwrap).collect().await
    }

    /// The events of an order, each once, in the form of updates.
    async fn events(&self, order: &str) -> Vec<PaymentUpdate> {
        let mut events: Vec<PaymentStatusChanged> = Vec::new();
        for (_, payload) in self.db.published().await {
            events.push(serde_json::from_value(payload).unwrap());
        }
        events.retain(|event| event.order_id == order);
        events.dedup_by_key(|event| event.sequence);
        let update = |event: PaymentStatusChanged| PaymentUpdate {
            payment_id: event.payment_id,
            order_id: event.order_id,
            status: <&str>::from(event.status).to_owned(),
            sequence: event.sequence.unsigned_abs(),
            reason: event.reason,
            changed_at: event.changed_at,
            is_final: event.status.is_final(),
        };
        events.into_iter().map(update).collect()
    }
}

/// Brings a payment of each order to a final status, each in another way.
async fn end_payments(bench: &Bench) -> [&'static str; 4] {
    bench.cancel("never requested", "1").await.unwrap();
    bench.request("cancelled", "2").await.unwrap();
    bench.cancel("cancelled", "3").await.unwrap();
    bench.request("refunded", "4").await.unwrap();
    bench.settle(LIMIT).await;
    bench.request("declined", "5").await.unwrap();
    bench.settle(1).await;
    bench.cancel("refunded", "6").await.unwrap();
    ["never requested", "cancelled", "refunded", "declined"]
}

/// A payment has the statuses that were published, and a watch after any of them has the rest.
async fn watched_from_each_status(bench: Bench) {
    let mut lengths = Vec::new();
    for order in end_payments(&bench).await {
        let events = bench.events(order).await;
        for after in 0..=events.len() {
            assert_eq!(bench.updates(order, after as u64).await, events[after..], "{order} after {after}");
        }
        lengths.push(events.len());
    }
    assert_eq!(lengths, [1, 2, 3, 2]);
}

#[tokio::test]
async fn a_watch_after_any_status_has_each_later_one_that_was_published_sqlite() {
    watched_from_each_status(sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_watch_after_any_status_has_each_later_one_that_was_published_postgres() {
    watched_from_each_status(postgres().await).await;
}

/// Serves the bench's calls at `address`, until the task is aborted.
async fn serve(bench: &Bench, address: Option<SocketAddr>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())).await.unwrap();
    let address = listener.local_addr().unwrap();
    let clock = Clock::system();
    let drain = Shutdown::new(clock.clone()).stage("calls").signal();
    let (db, store) = (bench.api.db.clone(), bench.api.store.clone());
    let api = Api { watches: Watches::new(store.clone(), clock, drain), db, store };
    let server = Server::new(Routes::new(PaymentsServer::new(api))).config(ServerConfig::default());
    (address, tokio::spawn(async move { server.serve(listener, pending()).await.unwrap() }))
}

fn resume(address: SocketAddr) -> Resuming<PaymentUpdate> {
    let backoff = comms_core::resilience::Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
    let config = ResumeConfig::default().backoff(backoff.unwrap()).max_failures(1_000).follow(true);
    let channel = Channel::builder(format!("http://{address}"))
        .without_policy()
        .reconnect_backoff(config.backoff)
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    let resume = Resume::new("payment", config, Clock::system()).unwrap().drop_duplicates();
    resume.open(
        |update: &PaymentUpdate| Some(update.sequence),
        move |after| {
            let mut client = PaymentsClient::new(channel.clone());
            let request =
                WatchPaymentRequest { order_id: "o".into(), after_sequence: after.unwrap_or_default() };
            async move { client.watch_payment(request).await }
        },
    )
}

/// The payment is settled while no server runs, and refunded while the next one runs.
async fn a_server_is_replaced(bench: Bench) {
    bench.request("o", "pay").await.unwrap();
    let (address, first) = serve(&bench, None).await;
    let mut updates = resume(address);
    let mut next = async || updates.next().await.unwrap().unwrap();
    assert_eq!(next().await.status, "PENDING");
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    bench.settle(LIMIT).await;
    let (_, second) = serve(&bench, Some(address)).await;
    assert_eq!(next().await.status, "SUCCEEDED");
    bench.cancel("o", "undo").await.unwrap();
    let last = next().await;
    assert_eq!((&*last.status, last.sequence, last.is_final), ("REFUNDED", 3, true));
    second.abort();
}

#[tokio::test]
async fn a_watch_continues_at_the_next_server_without_a_gap_sqlite() {
    a_server_is_replaced(sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run scripts/test"]
async fn a_watch_continues_at_the_next_server_without_a_gap_postgres() {
    a_server_is_replaced(postgres().await).await;
}

#[tokio::test]
async fn a_watch_of_nothing_and_one_ahead_of_the_payment_are_refused() {
    let bench = sqlite().await;
    bench.request("o", "pay").await.unwrap();
    for (order, after, code) in
        [("none", 0, Code::NotFound), ("o", 2, Code::InvalidArgument), ("o", u64::MAX, Code::InvalidArgument)]
    {
        let status = bench.watch(order, after).await.err().unwrap();
        assert_eq!(status.code(), code, "{order} {after}");
    }
}

#[tokio::test]
async fn watches_are_bounded_and_a_watch_that_ends_makes_room() {
    let bench = sqlite().await;
    bench.request("o", "pay").await.unwrap();
    let mut open = Vec::new();
    let refused = loop {
        match bench.watch("o", 0).await {
            Ok(watch) => open.push(watch),
            Err(status) => break from_status(&status),
        }
    };
    assert_eq!((open.len(), refused.kind), (128, comms_core::ErrorKind::Rejected));
    assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
    open.pop();
    assert!(bench.watch("o", 0).await.is_ok());
}

/// Without an error, so that the caller can tell a planned end from a fault.
#[tokio::test]
async fn a_watch_ends_in_order_before_its_deadline_and_at_the_shutdown() {
    let clock = Clock::manual(Duration::from_secs(1_800_000_000));
    let shutdown = Shutdown::new(Clock::system());
    let drain = shutdown.stage("calls").signal();
    let bench = Bench::with(TestDb::sqlite(SCHEMA, &MIGRATIONS).await, clock.clone(), drain);
    bench.request("o", "pay").await.unwrap();

    let context = Context::default().with_deadline(Deadline::after(Duration::from_secs(10), &clock));
    let mut watch = context.scope(bench.watch("o", 1)).await.unwrap();
    let started = clock.now();
    let (end, ()) = tokio::join!(watch.next(), async {
        while clock.now() - started < Duration::from_secs(8) {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_millis(10));
        }
    });
    assert!(end.is_none(), "{end:?}");

    let mut watch = bench.watch("o", 1).await.unwrap();
    let (end, ended) = tokio::join!(watch.next(), shutdown.end(Duration::from_secs(5), pending()));
    assert!(end.is_none() && ended.is_clean(), "{end:?}");
}
