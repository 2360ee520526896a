//! gRPC over mutual TLS: who may call which method.
//!
//! The problem: in plain text, a service believes every peer that can reach its port. Certificates solve this only if each
//! side checks the name of the other, if the rules are checked for each method, and if new certificates are used without a
//! restart.
//!
//! The solution: each role has an identity, a SPIFFE id in its certificate. The channel expects that of the called service,
//! and `Access` permits each method to named callers.
//!
//! Prints the result of the calls of three roles, and of a channel that expects another server.
//!
//! Run: `cargo run -p examples --example grpc_mtls`. Nothing else is needed; the certificates come from a development
//! authority in a temporary folder.

use anyhow::Context as _;
use comms_core::{Error, ErrorKind, clock::Clock};
use comms_grpc::{
    Access, Caller, Channel, PeerIdentity, Server, ServerConfig, from_status,
    tls::{ClientTls, DevelopmentAuthority, Identity, PeerName, ServerTls, rustls},
};
use examples::payments::{
    ChargeRequest, Receipt,
    payments_client::PaymentsClient,
    payments_server::{Payments, PaymentsServer},
};
use tokio::{net::TcpListener, sync::oneshot};
use tonic::{Request, Response, Status, async_trait, service::Routes};

struct PaymentService;

#[async_trait]
impl Payments for PaymentService {
    async fn charge(&self, request: Request<ChargeRequest>) -> Result<Response<Receipt>, Status> {
        let caller = request.extensions().get::<PeerIdentity>().map(ToString::to_string).unwrap_or_default();
        Ok(Response::new(Receipt { receipt_id: format!("receipt for {caller}") }))
    }
}

/// Makes one call to payment as the owner of `identity`. The server must have the SPIFFE id `expected`.
async fn charge(
    port: u16,
    trust: ClientTls,
    identity: Option<Identity>,
    expected: &str,
) -> Result<String, Error> {
    let tls = trust.expect(PeerName::spiffe(expected)?);
    let tls = match identity {
        Some(identity) => tls.identity(identity),
        None => tls,
    };
    let uri = format!("https://localhost:{port}");
    let channel = Channel::builder(uri).peer("payment").tls(tls).without_policy().build()?;
    let request = ChargeRequest { order_id: "order-1".into(), cents: 4_200 };
    let response = PaymentsClient::new(channel).charge(request).await;
    response.map(|receipt| receipt.into_inner().receipt_id).map_err(|status| from_status(&status))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The process selects the cryptography once. An error means that one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // In production: Identity::from_pem_files and Trust::from_pem_file. Replaced files are used without a restart.
    let folder = tempfile::tempdir()?;
    let authority =
        DevelopmentAuthority::open(folder.path().join("tls"), "shop.test", Clock::system()).await?;

    let payment = authority.identity("payment", &["localhost"]).await?;
    let access = Access::builder()
        .allow("/shop.payments.v1.Payments/Charge", [Caller::spiffe_id("spiffe://shop.test/order")])
        .build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::new(Routes::default())
        .add_service(PaymentsServer::new(PaymentService))
        .config(ServerConfig::default().tls(ServerTls::new(payment).client_trust(authority.trust())))
        .authorize(access);
    let server = tokio::spawn(server.serve(listener, async { drop(stopped.await) }));

    let trust = || ClientTls::new(authority.trust());
    let (order, ad) = (authority.identity("order", &[]).await?, authority.identity("ad", &[]).await?);
    let payment = "spiffe://shop.test/payment";

    let receipt = charge(port, trust(), Some(order.clone()), payment).await?;
    println!("order: {receipt}");
    anyhow::ensure!(receipt == "receipt for spiffe://shop.test/order");

    let error = charge(port, trust(), Some(ad), payment).await.err().context("ad may not charge")?;
    println!("ad: {error}");
    anyhow::ensure!(error.kind == ErrorKind::Misconfigured, "the deployment, and not the request, is wrong");

    let error = charge(port, trust(), None, payment).await.err().context("no certificate")?;
    println!("no certificate: {error}");
    anyhow::ensure!(error.kind == ErrorKind::NotExecuted);

    let error =
        charge(port, trust(), Some(order), "spiffe://shop.test/ad").await.err().context("another server")?;
    println!("another server: {error}");
    anyhow::ensure!(error.kind == ErrorKind::NotExecuted, "no call is sent to it");

    let _ = stop.send(());
    Ok(server.await??)
}
