//! A server whose tokens are user names.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use comms_ws::{Body, Hub, Session, Stats, credentials};
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

type Grant = dyn Fn(&str) -> Option<Session> + Send + Sync;

/// What the hub gets to see of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Io {
    /// The TCP socket: the flushers write to it.
    Bare,
    /// A stream that hides its socket, as TLS does: the task of the session writes to it.
    Wrapped,
}

/// A server with one hub, over HTTP/1.1 and HTTP/2. It ends when it is dropped; its sessions go on.
pub(crate) struct Server {
    pub(crate) hub: Hub,
    pub(crate) address: SocketAddr,
    accept: JoinHandle<()>,
}

struct App {
    hub: Hub,
    grant: Box<Grant>,
}

impl Server {
    /// Grants each user the topic `user/<name>`, and allows subscriptions to `public/...`.
    pub(crate) async fn start(hub: Hub) -> Self {
        Self::start_with(hub, Io::Bare, |user| {
            let session = Session::new(user, vec![format!("user/{user}")]);
            Some(session.allow(|topic| topic.starts_with("public/")))
        })
        .await
    }

    /// Grants the session that `grant` returns for a token. A request without a token has to authenticate in a frame.
    pub(crate) async fn start_with(
        hub: Hub,
        io: Io,
        grant: impl Fn(&str) -> Option<Session> + Send + Sync + 'static,
    ) -> Self {
        let app = Arc::new(App { hub: hub.clone(), grant: Box::new(grant) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accept = tokio::spawn(async move {
            loop {
                let Ok((socket, peer)) = listener.accept().await else { continue };
                tokio::spawn(serve(app.clone(), io, socket, peer));
            }
        });
        Self { hub, address, accept }
    }

    /// Waits until `test` returns true for the load of the hub.
    pub(crate) async fn until(&self, what: &str, test: impl Fn(&Stats) -> bool) {
        for _ in 0..2_000 {
            if test(&self.hub.stats()) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("not within 10 s: {what}: {:?}", self.hub.stats());
    }

    /// Waits until the hub holds nothing: no session, no topic, no queue and no message.
    pub(crate) async fn until_empty(&self) {
        self.until("empty", |s| (s.sessions, s.topics, s.queued_bytes, s.held_bytes) == (0, 0, 0, 0)).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn serve(app: Arc<App>, io: Io, socket: TcpStream, peer: SocketAddr) {
    socket.set_nodelay(true).unwrap();
    match io {
        Io::Bare => serve_stream(app, socket, peer).await,
        Io::Wrapped => {
            let (reader, writer) = socket.into_split();
            serve_stream(app, tokio::io::join(reader, writer), peer).await;
        }
    }
}

async fn serve_stream(
    app: Arc<App>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
) {
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.respond(request, peer)) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(2));
    builder.http2().enable_connect_protocol();
    // A client that has gone is an error of the connection.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

impl App {
    fn respond(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let Some(token) = credentials(request.headers()) else {
            return self.hub.accept_unauthenticated(request, Some(peer.ip()));
        };
        match (self.grant)(token) {
            Some(session) => self.hub.accept(request, session),
            None => {
                let mut response = Response::new(Body::default());
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                response
            }
        }
    }
}
