//! Who may call whom over real connections, and the renewal of certificates under a manual clock.

use std::{future::pending, net::SocketAddr, path::Path, time::Duration};

use comms_core::shutdown::Shutdown;
use comms_grpc::{Channel, Server, ServerConfig};
use figment::Jail;
use serde::Serialize;
use serde_json::{Value, json};
use tonic::{Code, Request, service::Routes};

use super::*;
use crate::{
    contracts::payment::proto::{RequestPaymentRequest, payments_client::PaymentsClient},
    platform::{config, service::Service},
    services,
};

const DAY: Duration = Duration::from_secs(86_400);
const PAYMENTS: &str = "comms.payments.v1.Payments";
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Serialize)]
struct Overrides<'a> {
    data_dir: &'a Path,
    tls: Value,
}

/// Reads the default configuration with a data directory. The lock of [`Jail`] keeps the environment of other tests out.
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
fn config(data_dir: &Path, tls: Value) -> Config {
    let mut loaded = None;
    Jail::expect_with(|jail| {
        jail.clear_env();
        let overrides = Overrides { data_dir, tls };
        loaded = Some(config::load(services::ALL, None, None, overrides).unwrap());
        Ok(())
    });
    loaded.unwrap()
}

/// A server without methods that has the identity and the callers of payment-service.
struct Payment {
    tls: Tls,
    clock: Clock,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Payment {
    async fn start(mode: &str, clock: Clock) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), json!({ "mode": mode }));
        Self::start_with(&config, dir, clock).await
    }

    async fn start_with(config: &Config, dir: tempfile::TempDir, clock: Clock) -> Self {
        let tls = Tls::load(config, &clock).await.unwrap();
        let access = tls.access("payment", PAYMENTS, config.callers("payment")).unwrap();
        let address = serve(&tls, access, &clock).await;
        Self { tls, clock, address, _dir: dir }
    }

    /// Calls the server over a new connection. An admitted call is UNIMPLEMENTED.
    async fn call(&self, tls: Option<ClientTls>) -> Code {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let channel = Channel::builder(format!("{scheme}://{}", self.address)).clock(self.clock.clone());
        // A policy would wait for its next attempt on a manual clock, which stands still during the call.
        let channel = channel.without_policy();
        let channel = match tls {
            Some(tls) => channel.tls(tls),
            None => channel,
        };
        let mut client = PaymentsClient::new(channel.build().unwrap());
        client.request_payment(Request::new(RequestPaymentRequest::default())).await.unwrap_err().code()
    }
}

/// Serves no methods, with the identity of payment-service and the rules of `access`.
async fn serve(tls: &Tls, access: Option<Access>, clock: &Clock) -> SocketAddr {
    let mut limits = ServerConfig::default();
    limits.tls = tls.server("payment").unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(Routes::default()).service_names([PAYMENTS]).config(limits).clock(clock.clone());
    let server = match access {
        Some(access) => server.authorize(access),
        None => server,
    };
    tokio::spawn(server.serve(listener, pending()));
    address
}

/// Returns whether the status is of a connection that was cut. With TLS 1.3 the server refuses the certificate of a client
/// after the client's handshake, and the bytes of the refusal are no HTTP/2 for a client without TLS.
const fn is_cut(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Unknown | Code::Internal)
}

#[tokio::test]
async fn only_a_service_that_registered_the_call_is_admitted() {
    let mut payment = Payment::start("development", Clock::system()).await;
    let tls = payment.tls.clone();
    let client = |caller, called| tls.client(caller, called).unwrap();
    assert_eq!(payment.call(client("order", "payment")).await, Code::Unimplemented);
    for caller in ["gateway", "payment", "ad"] {
        assert_eq!(payment.call(client(caller, "payment")).await, Code::PermissionDenied, "{caller}");
    }
    assert_eq!(payment.call(client("order", "ad")).await, Code::Unavailable, "another server is expected");
    let certificates = payment.tls.0.as_ref().unwrap();
    let nobody = ClientTls::new(certificates.trust.clone());
    let expected = PeerName::spiffe("spiffe://comms.local/payment").unwrap();
    for (case, tls) in [("no certificate", Some(nobody.expect(expected))), ("plain text", None)] {
        let code = payment.call(tls).await;
        assert!(is_cut(code), "{case}: {code:?}");
    }
    let closed = payment.tls.access("payment", PAYMENTS, std::iter::empty()).unwrap().unwrap();
    payment.address = serve(&payment.tls, Some(closed), &payment.clock).await;
    for caller in ["order", "gateway"] {
        assert_eq!(payment.call(client(caller, "payment")).await, Code::PermissionDenied, "{caller}");
    }
    assert!(payment.tls.client("notification", "payment").is_err(), "it has no certificate");
    assert!(
        payment.tls.server("notification").is_err(),
        "a service without a certificate is not served in plain text"
    );
}

/// The files are those of a development authority, which has no part in the mode `files`.
#[tokio::test]
async fn certificates_are_read_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let issued = config(dir.path(), json!({ "mode": "development" }));
    Tls::load(&issued, &Clock::system()).await.unwrap();
    let file = |name: &str| dir.path().join("tls").join(name).display().to_string();
    let of_service = |service: &&'static Service| {
        let file = file(&format!("role-{}.pem", service.name));
        (service.name.to_owned(), json!({ "certificate": file, "key": file }))
    };
    let services: serde_json::Map<_, _> = issued.services().iter().map(of_service).collect();
    let tls = json!({ "mode": "files", "authority": file("ca.pem"), "services": services });
    let payment = Payment::start_with(&config(dir.path(), tls), dir, Clock::system()).await;
    assert!(payment.tls.renewal().is_none());
    let client = |caller| payment.tls.client(caller, "payment").unwrap();
    assert_eq!(payment.call(client("order")).await, Code::Unimplemented);
    assert_eq!(payment.call(client("gateway")).await, Code::PermissionDenied);
}

#[tokio::test]
async fn without_tls_every_caller_is_admitted() {
    let payment = Payment::start("off", Clock::system()).await;
    assert!(payment.tls.client("order", "payment").unwrap().is_none() && payment.tls.renewal().is_none());
    assert_eq!(payment.call(None).await, Code::Unimplemented);
}

#[tokio::test]
async fn development_certificates_are_renewed_while_the_process_runs() {
    let clock = Clock::manual(Duration::from_secs(1_800_000_000));
    let payment = Payment::start("development", clock.clone()).await;
    let shutdown = Shutdown::new(Clock::system());
    let renewal = payment.tls.renewal().unwrap();
    shutdown.stage("databases").spawn("certificates", |signal| renewal.run(signal));
    let call = || async { payment.call(payment.tls.client("order", "payment").unwrap()).await };
    assert_eq!(call().await, Code::Unimplemented);
    let files = ["role-order.pem", "role-payment.pem"].map(|file| payment._dir.path().join("tls").join(file));
    let read = || files.each_ref().map(|file| std::fs::read(file).unwrap());
    let first = read();

    clock.advance(21 * DAY);
    let renewed = async {
        while read().iter().zip(&first).any(|(now, before)| now == before) {
            tokio::task::yield_now().await;
        }
    };
    Clock::system().timeout(LIMIT, renewed).await.expect("both certificates are renewed");
    // The first certificates have expired. The files are read again within 30 s.
    clock.advance(15 * DAY);
    let admitted = async {
        while call().await != Code::Unimplemented {
            clock.advance(Duration::from_secs(30));
        }
    };
    Clock::system().timeout(LIMIT, admitted).await.expect("new connections use the new certificates");
    assert!(shutdown.end(LIMIT, pending()).await.is_clean());
}
