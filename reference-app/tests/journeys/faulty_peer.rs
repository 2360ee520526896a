//! A gRPC proxy between two services that fails on demand: as an HTTP proxy, as an older release, by a lost
//! response, or by no response.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use comms_core::clock::Clock;
use comms_grpc::{
    Channel, ListenerConfig, Protocols, listen,
    tls::{ClientTls, PeerName, ServerTls},
};
use tempfile::TempDir;
use tonic::codegen::Service as _;

use crate::support::marketplace::{TRUST_DOMAIN, certificates};

/// The behavior of the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Forwards the call to the service.
    Forward,
    /// Answers UNIMPLEMENTED, as a server without the method.
    Unimplemented,
    /// Answers with this HTTP status, as a proxy that cannot reach the service.
    Http(u16),
    /// Forwards the call to the service, and answers UNAVAILABLE.
    LosesResponses,
    /// Never answers.
    Silent,
}

#[derive(Clone)]
pub(crate) struct FaultyPeer(Arc<Inner>);

struct Inner {
    url: String,
    service: Channel,
    mode: Mutex<Mode>,
    calls: AtomicUsize,
    certificates: TempDir,
}

impl FaultyPeer {
    /// Creates a peer in front of the service `called` at `address`, which the service `caller` calls. The services may start
    /// later, with the certificates of this peer.
    ///
    /// The peer has the identity of `called` for the caller, and that of `caller` for the called service.
    pub(crate) async fn in_front_of(called: &str, address: &str, caller: &str, mode: Mode) -> Self {
        let certificates_dir = tempfile::tempdir().unwrap();
        let directory = certificates_dir.path().join("tls");
        let (server, trust) = certificates(&directory, called).await;
        let (client, _) = certificates(&directory, caller).await;
        let expected = PeerName::spiffe(format!("spiffe://{TRUST_DOMAIN}/{called}")).unwrap();
        let tls = ClientTls::new(trust.clone()).identity(client).expect(expected);
        let service = Channel::builder(format!("https://{address}")).tls(tls).build().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (mode, calls) = (Mutex::new(mode), AtomicUsize::new(0));
        let peer = Self(Arc::new(Inner { url, service, mode, calls, certificates: certificates_dir }));
        let routes = Router::new().fallback(answer).with_state(peer.clone());
        let mut config = ListenerConfig::default().protocols(Protocols::Http2);
        config.tls = Some(ServerTls::new(server).client_trust(trust));
        tokio::spawn(async move {
            listen(listener, |_| routes.clone(), config, Clock::system(), pending()).await.unwrap();
        });
        peer
    }

    /// Returns the value of `tls.directory` for the services.
    pub(crate) fn certificates(&self) -> std::path::PathBuf {
        self.0.certificates.path().join("tls")
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
        self.0.calls.store(0, Ordering::SeqCst);
    }

    /// Returns the number of calls since the last change of the mode.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    async fn forward(&self, request: Request) -> Response {
        let mut service = self.0.service.clone();
        std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        match service.call(request.map(tonic::body::Body::new)).await {
            Ok(answer) => answer.map(Body::new),
            Err(status) => status.into_http::<tonic::body::Body>().map(Body::new),
        }
    }
}

async fn answer(State(peer): State<FaultyPeer>, request: Request) -> Response {
    let mode = *peer.0.mode.lock().unwrap();
    peer.0.calls.fetch_add(1, Ordering::SeqCst);
    match mode {
        Mode::Forward => peer.forward(request).await,
        Mode::Unimplemented => status(12, "unknown service"),
        Mode::Http(code) => (StatusCode::from_u16(code).unwrap(), "<html>a proxy</html>").into_response(),
        Mode::LosesResponses => {
            let answer = peer.forward(request).await;
            to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            status(14, "upstream connect error")
        }
        Mode::Silent => pending().await,
    }
}

/// Returns a gRPC response without a message, which has the status in the headers.
fn status(code: i32, message: &str) -> Response {
    let headers = [
        ("content-type", "application/grpc".to_owned()),
        ("grpc-status", code.to_string()),
        ("grpc-message", message.to_owned()),
    ];
    (headers, Body::empty()).into_response()
}
