//! One connection: hyper serves it, its task watches it.

use std::{
    future::Future,
    pin::pin,
    task::{Poll, ready},
};

use comms_core::{BoxError, clock::Clock};
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulConnection},
};
use tokio::sync::watch;

use super::{
    ListenerConfig, Protocols,
    activity::Activity,
    watch::{Limit, Watch, YEAR},
};

/// What hyper buffers of one request head (HTTP/1), and of the responses of one HTTP/1 connection or HTTP/2 stream.
const BUFFER: usize = 64 * 1024;
/// The header fields of one gRPC call.
const METADATA: u32 = 16 * 1024;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// By the peer, or gracefully.
    Closed,
    /// By a protocol or socket error.
    Failed(BoxError),
    /// By a limit, with this many requests in flight.
    Cut(Limit, u32),
}

pub(super) fn builder(config: &ListenerConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let mut head = BUFFER as u32;
    if config.protocols == Protocols::Http2 {
        builder = builder.http2_only();
        head = METADATA;
    }
    // Its own timer for heads begins behind the version; the watch has both.
    builder.http1().half_close(true).max_buf_size(BUFFER).header_read_timeout(None);
    // hyper adds it to an instant.
    let keep_alive = config.keep_alive.min(YEAR);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .max_send_buf_size(BUFFER)
        .max_header_list_size(head)
        .keep_alive_interval(keep_alive)
        .keep_alive_timeout(keep_alive / 2);
    builder
}

/// Drives `connection` until it ends, or until a limit ends it. Dropping the connection closes its socket.
pub(super) async fn drive<C>(
    connection: C,
    activity: &Activity,
    config: &ListenerConfig,
    clock: &Clock,
    mut ending: watch::Receiver<bool>,
) -> End
where
    C: GracefulConnection<Error: Into<BoxError>>,
{
    let mut connection = pin!(connection);
    let mut ending = pin!(async move { drop(ending.wait_for(|ending| *ending).await) });
    let mut ended = false;
    let mut watch = Watch::new(config, clock.clone());
    // One timer for all limits. It is armed again when it fires, or for a limit that ends earlier.
    let mut timer = pin!(clock.sleep(config.head_timeout));
    let mut armed = None;
    std::future::poll_fn(|cx| {
        activity.watched_by(cx.waker());
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(result.map_or_else(|e| End::Failed(e.into()), |()| End::Closed));
            }
            if !ended && ending.as_mut().poll(cx).is_ready() {
                ended = true;
                watch.end(config.drain);
                activity.end();
                connection.as_mut().graceful_shutdown();
                continue;
            }
            if watch.is_over(activity) {
                return Poll::Ready(End::Closed);
            }
            let Some((at, limit)) = watch.due(activity) else { return Poll::Pending };
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
                    activity.reset();
                }
                return Poll::Ready(End::Cut(limit, activity.calls.open()));
            }
            watch.drain(config.max_connection_age_grace);
            connection.as_mut().graceful_shutdown();
        }
    })
    .await
}
