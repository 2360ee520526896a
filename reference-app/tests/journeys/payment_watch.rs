//! The stream of the statuses of a payment, across a crash of the processes.

use std::time::Duration;

use comms_core::clock::Clock;
use comms_grpc::{
    Channel, Resume, ResumeConfig,
    tls::{ClientTls, PeerName},
};
use futures::StreamExt;
use reference_app::contracts::payment::proto::{
    PaymentUpdate, WatchPaymentRequest, payments_client::PaymentsClient,
};
use tonic::Code;

use crate::support::{Deployment, Marketplace, eventually, marketplace::TRUST_DOMAIN};

const LIMIT: Duration = Duration::from_secs(30);

/// Returns a client of payment-service with the identity of the service `caller`.
async fn payments(marketplace: &Marketplace, caller: &str) -> PaymentsClient<Channel> {
    let (identity, trust) = marketplace.certificates(caller).await;
    let expected = PeerName::spiffe(format!("spiffe://{TRUST_DOMAIN}/payment")).unwrap();
    let tls = ClientTls::new(trust).identity(identity).expect(expected);
    let channel = Channel::builder(marketplace.url("payment")).peer("payment").tls(tls).timeout(LIMIT);
    PaymentsClient::new(channel.without_policy().build().unwrap())
}

/// A courier refuses the order after its payment, so the money is given back. The processes are killed meanwhile.
async fn a_refund_is_watched_across_a_crash(deployment: Deployment) {
    let refused = [("COMMS_ORDER__SHIPPING__REFUSE_ADS", r#"["lamp-7"]"#)];
    let mut marketplace = Marketplace::start_with(deployment, &refused).await;
    let ann = marketplace.buyer("ann");
    let order = serde_json::json!({
        "ad_id": "lamp-7", "quantity": 1, "price": {"minor": 4_990, "currency": "RUB"}
    });
    let order_id = ann.place_order("k", &order).await.order_id;
    let mut gateway = payments(&marketplace, "gateway").await;
    let request = move |after_sequence| WatchPaymentRequest { order_id: order_id.clone(), after_sequence };
    let denied = gateway.watch_payment(request(0)).await.err().unwrap();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");

    let client = payments(&marketplace, "order").await;
    eventually("the payment is requested", LIMIT, async || {
        let opened = client.clone().watch_payment(request(0)).await;
        opened.map(drop).or_else(|status| (status.code() != Code::NotFound).then_some(()).ok_or(())).ok()
    })
    .await;
    let config = ResumeConfig::default().max_failures(100).follow(true);
    let resume = Resume::new("payment", config, Clock::system()).unwrap().drop_duplicates();
    let mut updates = resume.open(
        |update: &PaymentUpdate| Some(update.sequence),
        move |after| {
            let (mut client, request) = (client.clone(), request(after.unwrap_or_default()));
            async move { client.watch_payment(request).await }
        },
    );
    let mut statuses = Vec::new();
    loop {
        let update = tokio::time::timeout(2 * LIMIT, updates.next()).await.unwrap().unwrap().unwrap();
        statuses.push(update.status);
        assert_eq!(update.sequence as usize, statuses.len());
        if statuses.len() == 1 {
            for process in &mut marketplace.processes {
                process.kill();
                process.spawn();
            }
        }
        if update.is_final {
            break;
        }
    }
    assert_eq!(statuses, ["PENDING", "SUCCEEDED", "REFUNDED"]);
}

#[tokio::test]
async fn a_refund_is_watched_across_a_crash_embedded() {
    a_refund_is_watched_across_a_crash(Deployment::Embedded).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn a_refund_is_watched_across_a_crash_full() {
    a_refund_is_watched_across_a_crash(Deployment::Full).await;
}
