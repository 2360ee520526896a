//! Serves HTTP/1.1, HTTP/2 and WebSockets on a listener with limits.

use std::future::Future;

use axum::{Extension, extract::ConnectInfo};
use comms_core::{Error, clock::Clock};
use comms_grpc::{ListenerConfig, Peer};
use tokio::net::TcpListener;
use tower_layer::Layer;

use super::Guarded;

/// Serves `routes` on `listener` within `limits`, including WebSocket upgrades, until `shutdown` resolves.
///
/// Then the listener closes, requests in flight have [`ListenerConfig::drain`] to complete, and the future resolves.
/// The limits in time are those of `clock`. Handlers can extract the peer's address as [`ConnectInfo`]. An accept that fails is retried.
///
/// # Errors
/// Returns `Invalid` if a limit is zero.
pub async fn serve(
    listener: TcpListener,
    routes: Guarded,
    limits: ListenerConfig,
    clock: Clock,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let routes = routes.into_router();
    let service = move |peer: Peer| Extension(ConnectInfo(peer.remote)).layer(routes.clone());
    comms_grpc::listen(listener, service, limits, clock, shutdown).await
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::{Router, routing::get};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::platform::http::checked;

    #[tokio::test]
    async fn a_handler_can_extract_the_peer_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let peer = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string();
        let routes = checked(Router::new().route("/", get(peer)), &Clock::system());
        let shutdown = async { drop(stopped.await) };
        let served =
            tokio::spawn(serve(listener, routes, ListenerConfig::default(), Clock::system(), shutdown));
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        let own = client.local_addr().unwrap().to_string();
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with(&own), "{text}");
        stop.send(()).unwrap();
        served.await.unwrap().unwrap();
    }
}
