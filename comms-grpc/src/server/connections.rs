//! Accepted connections: each a task with limits of its own, all of them owned by the server.

use std::{future::Future, io, pin::pin, time::Duration};

use http::Request;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::{service::Routes, transport::server::TcpConnectInfo};
use tower::ServiceExt;

use super::ServerConfig;

/// How long to wait when no socket can be accepted, mostly for want of file descriptors: at once would
/// be a busy loop.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Connections {
    routes: Routes,
    config: ServerConfig,
    open: JoinSet<()>,
    ending: watch::Sender<bool>,
}

impl Connections {
    pub(super) fn new(routes: Routes, config: ServerConfig) -> Self {
        Self { routes, config, open: JoinSet::new(), ending: watch::Sender::new(false) }
    }

    /// Accepts connections while there is room, until `shutdown` resolves; then the listener is closed. `age` is how
    /// long the next connection may live.
    pub(super) async fn accept(
        &mut self,
        listener: TcpListener,
        age: impl Fn() -> Duration,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        loop {
            let room = self.open.len() < self.config.max_connections;
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(_) = self.open.join_next() => {}
                accepted = accept(&listener), if room => match accepted {
                    Ok((socket, info)) => self.open(socket, info, age()),
                    Err(error) => {
                        tracing::warn!(%error, "accept");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    fn open(&mut self, socket: TcpStream, info: TcpConnectInfo, age: Duration) {
        let routes = self.routes.clone().map_request(move |mut request: Request<_>| {
            // For tonic's Request::remote_addr.
            request.extensions_mut().insert(info.clone());
            request
        });
        let ServerConfig { max_streams, keep_alive, max_timeout, .. } = self.config;
        let mut ending = self.ending.subscribe();
        self.open.spawn(async move {
            let mut http = Builder::new(TokioExecutor::new()).http2_only();
            http.http2()
                .timer(TokioTimer::new())
                .max_concurrent_streams(max_streams)
                .keep_alive_interval(keep_alive)
                .keep_alive_timeout(keep_alive / 2);
            let served = http.serve_connection(TokioIo::new(socket), TowerToHyperService::new(routes));
            let mut connection = pin!(served);
            let old = async { drop(timeout(age, ending.wait_for(|ending| *ending)).await) };
            let result = tokio::select! {
                result = connection.as_mut() => result,
                () = old => {
                    connection.as_mut().graceful_shutdown();
                    // No call is longer than this; a peer that does not read what it got may be.
                    timeout(max_timeout, connection).await.unwrap_or(Ok(()))
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "connection ends");
            }
        });
    }

    /// Sends GOAWAY to every peer, waits for the calls in flight, at most for the drain's limit, and cuts the connections
    /// that are still open then. Returns their number.
    pub(super) async fn drain(mut self) -> usize {
        self.ending.send_replace(true);
        let _ = timeout(self.config.drain, async { while self.open.join_next().await.is_some() {} }).await;
        let cut = self.open.len();
        self.open.shutdown().await;
        cut
    }
}

/// The next socket, with `TCP_NODELAY`: a call is several small writes, and Nagle's algorithm makes each wait
/// for the peer's delayed acknowledgement.
async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, TcpConnectInfo)> {
    let (socket, remote) = listener.accept().await?;
    socket.set_nodelay(true)?;
    let info = TcpConnectInfo { local_addr: socket.local_addr().ok(), remote_addr: Some(remote) };
    Ok((socket, info))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_send_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, info) = accept(&listener).await.unwrap();
        assert!(socket.nodelay().unwrap());
        assert_eq!(info.remote_addr, client.local_addr().ok());
    }
}
