//! A bounded accept loop for HTTP/1.1 and HTTP/2.
//!
//! The problem: hyper reads the HTTP version and the HTTP/2 handshake without a time limit, and writes to a peer that never
//! reads for as long as the peer likes. A few silent or slow peers take every file descriptor of a process.
//!
//! The promise, for every peer, whatever it sends:
//! - **Head.** A peer that has not sent a complete request head (HTTP/1), or the preface and a SETTINGS frame (HTTP/2),
//!   within [`ListenerConfig::head_timeout`] is disconnected. The limit runs again from the first byte of
//!   each further request of an HTTP/1 connection; before that byte, [`ListenerConfig::idle_timeout`] runs.
//! - **Progress.** A connection on which nothing moves for [`ListenerConfig::progress_timeout`] while something is owed is
//!   cut. What is owed: bytes that the socket does not accept, response data that the peer's HTTP/2 window does not admit,
//!   and request bodies if all handlers of the connection wait for theirs (not with [`Protocols::Http2`]: a gRPC stream
//!   without messages is usual). The kernel accepts bytes again when 16 KiB of the unsent ones were sent (Linux; on other
//!   systems a third of its send buffer), so a peer that takes less within the limit is cut. A handler that works, a
//!   response stream without data to send, and an upgraded connection owe nothing. Pings are not progress.
//! - **Bytes.** One connection holds at most `max_streams` responses. Of each response it holds at most 64 KiB and two
//!   chunks as the handler made them. Request heads are bounded by 64 KiB (16 KiB with [`Protocols::Http2`]), request bodies that
//!   handlers have not read by 1 MiB for each HTTP/2 connection.
//! - **Connections.** They are bounded in all and by address, from accept to the close of the socket, also after an upgrade.
//! - **Close.** If a handler does not read the whole request, its response is sent, the sending side is closed, and what the
//!   peer still sends is dropped until the peer closes, or for [`ListenerConfig::head_timeout`]: a client that sends its whole
//!   request first gets the response, and no reset.
//! - **Shutdown.** Connections without a request in flight are closed at once. Requests in flight have
//!   [`ListenerConfig::drain`].
//!
//! What breaks it: a handler that blocks its thread; shutdown does not wait for it. The HTTP/1 limit for heads also bounds
//! the time between two requests, so a pool of clients must close idle connections earlier, or repeat a request that found
//! the connection closed. At shutdown an HTTP/2 peer has 500 ms to answer the GOAWAY while it has no request in flight. The
//! HTTP/2 frames that hyper bounds by themselves are HEADERS, CONTINUATION, RST_STREAM and DATA without bytes; PING,
//! SETTINGS, PRIORITY and WINDOW_UPDATE cost processor time for as long as the peer sends and reads. A handler of an HTTP/1
//! client that has gone is not cancelled before it answers, because a client that closes its sending side after the request
//! gets its response. An HTTP/2 connection without requests stays open while its peer answers pings.

mod accept;
mod activity;
mod config;
mod connection;
mod preface;
mod refusal;
mod room;
mod service;
mod socket;
mod watch;

use std::{future::Future, net::SocketAddr, pin::pin};

use bytes::Bytes;
use comms_core::{BoxError, Error, clock::Clock};
use http::{Request, Response};
use http_body::Body;
use tokio::net::TcpListener;
use tower_service::Service;

use accept::Acceptor;
pub use config::{ListenerConfig, Protocols};
pub use service::RequestBody;

/// The addresses of an accepted connection.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Peer {
    /// The address of the peer.
    pub remote: SocketAddr,
    /// The address that the peer connected to, if the operating system reports it.
    pub local: Option<SocketAddr>,
}

/// Serves what `service` makes for each connection on `listener`, within the limits of `config`, until `shutdown` resolves.
///
/// Then the listener is closed, connections without a request in flight are closed, HTTP/2 peers get a GOAWAY, and requests in
/// flight run on for at most [`ListenerConfig::drain`]. Those that still run then are cut, with a warning. Dropping the future
/// cuts everything at once; connections that were upgraded belong to the code that upgraded them.
///
/// ```
/// use comms_core::clock::Clock;
/// use comms_grpc::{ListenerConfig, RequestBody, listen};
/// use http::{Request, Response};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let hello = async |_: Request<RequestBody>| Ok::<_, std::convert::Infallible>(Response::new(String::from("hello")));
/// let shutdown = async { /* SIGTERM */ };
/// let service = tower::service_fn(hello);
/// listen(listener, |_| service, ListenerConfig::default(), Clock::system(), shutdown).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Returns `Invalid` for a limit of zero. An accept that fails is not an error: it is logged and repeated.
pub async fn listen<S, B>(
    listener: TcpListener,
    mut service: impl FnMut(Peer) -> S + Send,
    config: ListenerConfig,
    clock: Clock,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    config.validate()?;
    let mut acceptor = Acceptor::new(listener, config, clock);
    let mut shutdown = pin!(shutdown);
    loop {
        let (socket, peer) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = acceptor.accept() => accepted,
        };
        acceptor.serve(socket, service(peer));
    }
    acceptor.drain().await;
    Ok(())
}
