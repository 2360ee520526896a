//! A bounded accept loop for HTTP/1.1 and HTTP/2.
//!
//! [`listen`] has the promise and its limits.
//!
//! A connection passes through the files in this order:
//! 1. `accept.rs`: accepts the socket, within the limits of `connection_limits.rs`, and counts its end in
//!    `close_counters.rs`.
//! 2. `socket.rs`: wraps the socket, and records blocked writes.
//! 3. `handshake.rs`: makes the TLS handshake, and finds the identity of the peer for `peer.rs` (feature `tls`).
//! 4. `transport.rs`: detects the HTTP version with `preface.rs`, and records reads.
//! 5. `problem_details.rs`: replaces responses that hyper sends by itself.
//! 6. `counting_service.rs`: calls the service, and counts requests and bodies.
//! 7. `stream_task.rs`: drives a stream of HTTP/2, and resets it if its response is not read until its deadline.
//! 8. `connection.rs`: drives hyper until the connection ends.
//! 9. `watchdog.rs`: derives the time limits of the connection from the counters in `activity.rs`.
//!
//! After an upgrade, `upgraded.rs` takes the layers of 2, 4 and 5 apart.

mod accept;
mod activity;
mod close_counters;
mod config;
mod connection;
mod connection_limits;
mod counting_service;
#[cfg(feature = "tls")]
mod handshake;
mod peer;
mod preface;
mod problem_details;
mod socket;
mod stream_task;
mod transport;
mod upgraded;
mod watchdog;

use std::{future::Future, pin::pin};

use bytes::Bytes;
use comms_core::{BoxError, Error, clock::Clock};
use http::{Request, Response};
use http_body::Body;
use tokio::net::TcpListener;
use tower_service::Service;

use accept::Acceptor;
pub use config::{ListenerConfig, Protocols};
pub use counting_service::RequestBody;
pub use peer::Peer;
pub(super) use stream_task::ResetAfter;
pub use upgraded::take_socket;

/// Serves an HTTP service on `listener`, within the limits of `config`, until `shutdown` resolves.
///
/// `service` is called once for each accepted connection, after its TLS handshake if the listener has TLS, and returns the
/// service of that connection.
///
/// When `shutdown` resolves, the listener is closed, connections without a request in flight are closed, and HTTP/2
/// peers get a GOAWAY. Requests in flight continue for at most [`ListenerConfig::drain`]. The requests that still run
/// then are cut, and a warning is logged. Dropping the future cuts all connections at once, except upgraded ones, which
/// belong to the code that upgraded them. [`take_socket`] gives that code the bare socket.
///
/// # The problem
/// hyper reads the HTTP version and the HTTP/2 handshake without a time limit, and waits without a limit
/// for a peer that does not read. A few silent or slow peers take all file descriptors of a process.
///
/// # The promise
/// For every peer, whatever it sends:
/// - **Head.** A peer that has not completed the TLS handshake, and sent a complete request head (HTTP/1) or the preface
///   and a SETTINGS frame (HTTP/2), within [`ListenerConfig::head_timeout`] is disconnected. The limit starts again at the first byte of each further
///   request of an HTTP/1 connection. Until that byte, [`ListenerConfig::idle_timeout`] applies.
/// - **Progress.** A connection is cut if it has pending data and nothing moves for
///   [`ListenerConfig::progress_timeout`]. Pending data are bytes that the socket does not accept, response data that
///   the HTTP/2 window of the peer does not admit, and request bodies if every handler of the connection waits for its
///   body (not with [`Protocols::Http2`], because a gRPC stream without messages is usual). A running handler, a
///   response stream without data to send, and an upgraded connection have no pending data. Pings are not progress. The
///   kernel accepts further bytes after 16 KiB of the unsent bytes were sent (Linux; a third of the send buffer on
///   other systems), so a peer that reads less than that within the limit is cut.
/// - **Bytes.** One connection holds at most `max_streams` responses. Of each response it holds at most 64 KiB and two
///   chunks as the handler produced them. Request heads are limited to 64 KiB (16 KiB with [`Protocols::Http2`]), and
///   request bodies that no handler has read to 1 MiB for each HTTP/2 connection. TLS adds at most 64 KiB in each
///   direction.
/// - **Connections.** Their number is limited in total and by address, from the accept to the close of the socket, also
///   after an upgrade.
/// - **Lingering close.** If a handler does not read the whole request, the response is sent and the sending side is
///   closed. Then received bytes are discarded until the peer closes, or for [`ListenerConfig::head_timeout`]. A client
///   that sends its whole request before it reads gets the response, and no reset.
/// - **Shutdown.** Connections without a request in flight are closed at once. A peer of HTTP/2 gets a GOAWAY before, also
///   one whose handshake ends within 500 ms. Requests in flight may continue for [`ListenerConfig::drain`].
///
/// # What breaks it
/// - A handler that blocks its thread. Shutdown does not wait for such a handler.
/// - A client pool that keeps connections for longer than [`ListenerConfig::idle_timeout`]. The pool must close idle
///   connections earlier, or repeat a request that finds its connection closed.
///
/// # Limits of the promise
/// - At shutdown, an HTTP/2 peer without a request in flight has 500 ms to complete its handshake, and 500 ms to answer the
///   GOAWAY. A connection in the backlog of the socket is reset.
/// - hyper limits floods of HEADERS, CONTINUATION, RST_STREAM and empty DATA frames. PING, SETTINGS, PRIORITY and
///   WINDOW_UPDATE frames cost processor time for as long as the peer sends and reads.
/// - The handler of an HTTP/1 client that is gone is not cancelled before it responds, because a client may close its
///   sending side after the request and still expect the response.
/// - An HTTP/2 connection without requests stays open while its peer answers pings.
///
/// # Example
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
/// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if a limit of `config` is zero, other than
/// [`ListenerConfig::drain`] and [`ListenerConfig::max_connection_age_grace`], and
/// [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if TLS is set and its certificates cannot be
/// loaded, or no cryptography provider is installed. An accept that fails is logged and repeated.
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
    let mut acceptor = Acceptor::new(config, clock)?;
    let mut shutdown = pin!(shutdown);
    loop {
        let (connection, peer) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = acceptor.accept(&listener) => accepted,
        };
        acceptor.serve(connection, service(peer));
    }
    drop(listener);
    let end = acceptor.shut_down();
    // A client whose TLS handshake ends now may have sent a request, and gets a GOAWAY.
    while let Some((connection, peer)) = acceptor.finish_handshake(end).await {
        acceptor.serve(connection, service(peer));
    }
    acceptor.drain().await;
    Ok(())
}
