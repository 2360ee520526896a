//! Mutual TLS between the services of real processes.

use std::time::Duration;

use comms_core::clock::Clock;
use comms_grpc::{
    Channel,
    tls::{ClientTls, DevelopmentAuthority, PeerName, rustls},
};
use http::uri::PathAndQuery;
use reference_app::{
    contracts::payment::proto::{Payment, RequestPaymentRequest, payments_client::PaymentsClient},
    services,
};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::support::{Deployment, Marketplace, marketplace::TRUST_DOMAIN};

/// Returns a channel to payment-service, with the identity of the service `caller`.
pub(crate) async fn channel(marketplace: &Marketplace, caller: Option<&str>) -> Channel {
    let (identity, trust) = marketplace.certificates(caller.unwrap_or("order")).await;
    let expected = PeerName::spiffe(format!("spiffe://{TRUST_DOMAIN}/payment")).unwrap();
    let tls = ClientTls::new(trust).expect(expected);
    let tls = if caller.is_some() { tls.identity(identity) } else { tls };
    Channel::builder(marketplace.url("payment")).tls(tls).build().unwrap()
}

async fn request_payment(marketplace: &Marketplace, caller: Option<&str>) -> Status {
    let mut payments = PaymentsClient::new(channel(marketplace, caller).await);
    payments.request_payment(Request::new(RequestPaymentRequest::default())).await.unwrap_err()
}

/// Sends two messages in one call.
async fn request_two_payments(marketplace: &Marketplace) -> Status {
    let mut client = tonic::client::Grpc::new(channel(marketplace, Some("order")).await);
    client.ready().await.unwrap();
    let requests =
        futures::stream::iter([RequestPaymentRequest::default(), RequestPaymentRequest::default()]);
    let path = PathAndQuery::from_static("/comms.payments.v1.Payments/RequestPayment");
    let codec = ProstCodec::<RequestPaymentRequest, Payment>::default();
    client.client_streaming(Request::new(requests), path, codec).await.unwrap_err()
}

/// Returns whether the status is of a connection that was cut. With TLS 1.3 the server refuses the certificate of a client
/// after the client's handshake, and the bytes of the refusal are no HTTP/2 for a client without TLS.
fn is_cut(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal)
}

#[tokio::test]
async fn only_order_service_may_ask_for_a_payment_embedded() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let admitted = request_payment(&marketplace, Some("order")).await;
    assert_eq!(admitted.code(), Code::InvalidArgument, "the handler refuses an empty request: {admitted}");
    let twice = request_two_payments(&marketplace).await;
    assert_eq!(twice.code(), Code::Unimplemented, "the contract has one message: {twice}");
    let denied = request_payment(&marketplace, Some("gateway")).await;
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");
    let anonymous = request_payment(&marketplace, None).await;
    assert!(is_cut(&anonymous), "{anonymous}");
    let plain = Channel::builder(marketplace.url("payment").replace("https", "http")).build().unwrap();
    let plain =
        PaymentsClient::new(plain).request_payment(Request::new(RequestPaymentRequest::default())).await;
    assert!(is_cut(&plain.unwrap_err()));
    let log = marketplace.processes[0].log();
    let denial = log.lines().find(|line| line.contains("a call was refused")).unwrap();
    assert!(
        denial.contains("spiffe://comms.local/gateway")
            && denial.contains("/comms.payments.v1.Payments/RequestPayment"),
        "{denial}"
    );
    let metrics = reqwest::get(marketplace.processes[0].admin_url("/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for reason in ["no_certificate", "plain_text"] {
        let labels = format!("{{listener=\"payment\",reason=\"{reason}\"}}");
        // A client may try more than once.
        let refused = format!("comms_tls_handshake_failures_total{labels} ");
        assert!(metrics.contains(&refused), "{refused}: {metrics}");
    }
    let counts = marketplace.databases.counts().await.unwrap();
    assert_eq!(counts.payments, 0);
}

#[tokio::test]
async fn an_order_is_paid_without_tls_embedded() {
    let marketplace = Marketplace::start_with(Deployment::Embedded, &[("COMMS_TLS__MODE", "off")]).await;
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    let placed = ann.place_with_retries("k", 100).await;
    socket.until(&placed.order_id, "PAID").await;
    assert!(marketplace.processes[0].log().contains("tls.mode is off"));
    assert!(!marketplace.data_dir().join("tls").exists());
}

/// The certificates of all services have expired while no process ran.
#[tokio::test]
async fn expired_development_certificates_are_renewed_at_the_start_embedded() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("tls");
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let authority = DevelopmentAuthority::open(&directory, TRUST_DOMAIN, Clock::system()).await.unwrap();
    let authority = authority.leaf_lifetime(Duration::from_secs(3));
    for service in services::ALL {
        authority.identity(service.name, &["localhost", "127.0.0.1", "::1"]).await.unwrap();
    }
    let file = directory.join("role-payment.pem");
    let expired = std::fs::read(&file).unwrap();
    tokio::time::sleep(Duration::from_millis(3_500)).await;

    let path = directory.display().to_string();
    let marketplace = Marketplace::start_with(Deployment::Embedded, &[("COMMS_TLS__DIRECTORY", &path)]).await;
    assert_ne!(std::fs::read(&file).unwrap(), expired);
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    let placed = ann.place_with_retries("k", 100).await;
    socket.until(&placed.order_id, "PAID").await;
}
