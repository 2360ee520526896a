//! A gRPC peer between two services that answers wrongly on demand: a proxy, an older release, a lost answer.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tonic::{
    codegen::Service as _,
    transport::{Channel, Endpoint},
};

/// How the peer answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// As the service behind it does.
    Forward,
    /// As a server without the method.
    Unimplemented,
    /// As a proxy that does not reach the service.
    Http(u16),
    /// The service does the work, and the caller gets UNAVAILABLE.
    LosesAnswers,
}

#[derive(Clone)]
pub(crate) struct FaultyPeer(Arc<Inner>);

struct Inner {
    url: String,
    service: Channel,
    mode: Mutex<Mode>,
    calls: AtomicUsize,
}

impl FaultyPeer {
    /// A peer in front of the service at `address`, which need not be there yet.
    pub(crate) async fn in_front_of(address: &str, mode: Mode) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let mode = Mutex::new(mode);
        let peer = Self(Arc::new(Inner { url, service, mode, calls: AtomicUsize::new(0) }));
        let routes = Router::new().fallback(answer).with_state(peer.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        peer
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
        self.0.calls.store(0, Ordering::SeqCst);
    }

    /// The calls since the last change of the mode.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    async fn forward(&self, request: Request) -> Response {
        let mut service = self.0.service.clone();
        std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        let answer = service.call(request.map(tonic::body::Body::new)).await.unwrap();
        answer.map(Body::new)
    }
}

async fn answer(State(peer): State<FaultyPeer>, request: Request) -> Response {
    let mode = *peer.0.mode.lock().unwrap();
    let answer = match mode {
        Mode::Forward => peer.forward(request).await,
        Mode::Unimplemented => status(12, "unknown service"),
        Mode::Http(code) => (StatusCode::from_u16(code).unwrap(), "<html>a proxy</html>").into_response(),
        Mode::LosesAnswers => {
            let answer = peer.forward(request).await;
            to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            status(14, "upstream connect error")
        }
    };
    peer.0.calls.fetch_add(1, Ordering::SeqCst);
    answer
}

/// A response of trailers only.
fn status(code: i32, message: &str) -> Response {
    let headers = [
        ("content-type", "application/grpc".to_owned()),
        ("grpc-status", code.to_string()),
        ("grpc-message", message.to_owned()),
    ];
    (headers, Body::empty()).into_response()
}
