//! The task of one connection: drives hyper and enforces the time limits.

use std::{
    future::Future,
    pin::pin,
    task::{Poll, ready},
    time::Instant,
};

use comms_core::{BoxError, clock::Clock};
use hyper_util::{
    rt::TokioTimer,
    server::{conn::auto::Builder, graceful::GracefulConnection},
};
use tokio::sync::watch;

use super::{
    activity::Activity,
    config::{ListenerConfig, Protocols},
    stream_task::StreamExecutor,
    watchdog::{Limit, Watchdog, YEAR},
};

/// The maximum number of bytes that hyper buffers of one request head (HTTP/1), and of the responses of one HTTP/1
/// connection or HTTP/2 stream.
const MAX_BUFFER: usize = 64 * 1024;
/// The bytes of one HTTP/2 request body, and of all of a connection, that no handler has read. A body that is not read
/// leaves room for those of other requests.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The maximum size of the header fields of one gRPC call.
const MAX_GRPC_HEADERS: u32 = 16 * 1024;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum ConnectionEnd {
    /// The peer closed the connection, or the connection was closed gracefully.
    Closed,
    /// A protocol or socket error ended the connection.
    Failed(BoxError),
    /// A limit ended the connection, with this number of requests in flight.
    Cut(Limit, u32),
}

/// Returns hyper's settings for the connections of a listener.
pub(super) fn builder(config: &ListenerConfig, clock: &Clock) -> Builder<StreamExecutor> {
    let mut builder = Builder::new(StreamExecutor(clock.clone()));
    let mut max_headers = MAX_BUFFER as u32;
    if config.protocols == Protocols::Http2 {
        builder = builder.http2_only();
        max_headers = MAX_GRPC_HEADERS;
    }
    // hyper's timer for request heads starts after the HTTP version was read. The watchdog covers both.
    builder.http1().half_close(true).max_buf_size(MAX_BUFFER).header_read_timeout(None);
    // Limited to a year, because hyper adds the interval to an instant.
    let keep_alive = config.keep_alive.min(YEAR);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_BUFFER)
        .max_header_list_size(max_headers)
        .keep_alive_interval(keep_alive)
        .keep_alive_timeout(keep_alive / 2);
    builder
}

/// Drives `connection`, whose socket was accepted at `accepted`, until it ends by itself or by a limit. Dropping the
/// connection closes its socket.
pub(super) async fn drive<C>(
    connection: C,
    activity: &Activity,
    accepted: Instant,
    config: &ListenerConfig,
    clock: &Clock,
    mut shutdown: watch::Receiver<bool>,
) -> ConnectionEnd
where
    C: GracefulConnection<Error: Into<BoxError>>,
{
    let mut connection = pin!(connection);
    let mut shutdown = pin!(async move { drop(shutdown.wait_for(|shutdown| *shutdown).await) });
    let mut shutting_down = false;
    // Whether the peer has to get a GOAWAY, as soon as it has completed its handshake.
    let mut goaway_due = false;
    let mut watchdog = Watchdog::new(config, accepted, clock.clone());
    // One timer serves all limits. It is armed again when it fires, and for a limit that expires earlier.
    let mut timer = pin!(clock.sleep(config.head_timeout));
    let mut armed = None;
    std::future::poll_fn(|cx| {
        activity.set_waker(cx.waker());
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(match result {
                    Ok(()) => ConnectionEnd::Closed,
                    Err(error) => ConnectionEnd::Failed(error.into()),
                });
            }
            if !shutting_down && shutdown.as_mut().poll(cx).is_ready() {
                shutting_down = true;
                watchdog.shut_down(config.drain);
                activity.shut_down();
                goaway_due = true;
            }
            if goaway_due && !activity.awaits_http2() {
                goaway_due = false;
                connection.as_mut().graceful_shutdown();
                continue;
            }
            if watchdog.can_close(activity) {
                return Poll::Ready(ConnectionEnd::Closed);
            }
            let Some((at, limit)) = watchdog.next_limit(activity) else { return Poll::Pending };
            if armed.is_none_or(|armed| at < armed) {
                timer.set(clock.sleep(at.saturating_duration_since(clock.now())));
                armed = Some(at);
            }
            ready!(timer.as_mut().poll(cx));
            armed = None;
            if clock.now() < at {
                continue;
            }
            if limit != Limit::Age {
                if limit == Limit::Progress {
                    activity.request_reset();
                }
                return Poll::Ready(ConnectionEnd::Cut(limit, activity.requests.open()));
            }
            watchdog.drain(config.max_connection_age_grace);
            goaway_due = true;
        }
    })
    .await
}
