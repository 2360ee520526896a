//! Drives a connection to its end, and gives up one whose peer does not answer.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use comms_core::clock::Clock;
use h2::{Ping, PingPong, client::Connection};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Limits, observed::Observed, streams::Streams, traffic::Traffic, wakes::WakesAfterPoll};
use crate::client::{
    keep_alive::{KeepAlive, LONGEST},
    task::Task,
};

/// Drives `connection` to its end.
pub(super) async fn run<T>(connection: Connection<Observed<T>, Bytes>, traffic: Arc<Traffic>, end: EndOnDrop)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        biased;
        // The calls of the connection report its failure.
        ended = WakesAfterPoll::new(connection) => if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        },
        () = traffic.gave_up() => {}
    }
    drop(end);
}

/// Wakes the calls that wait for a stream when the connection ends, also at the end of its runtime.
pub(super) struct EndOnDrop {
    pub(super) streams: Arc<Streams>,
    /// The task that watches the peer.
    pub(super) _watch: Task,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.streams.close();
    }
}

/// Watches the peer of a connection: gives the connection up if the peer does not answer a ping, and sends no further call
/// to a peer that permits none for too long.
pub(super) async fn watch(
    pings: Option<PingPong>,
    streams: Arc<Streams>,
    traffic: Arc<Traffic>,
    limits: Limits,
) {
    let Limits { keep_alive, connect_timeout, clock } = limits;
    let starved = async {
        streams.starved(connect_timeout, &clock).await;
        tracing::debug!("a connection is given up: the peer permits no call");
        streams.close();
        std::future::pending::<()>().await;
    };
    // Always present: nothing else takes it.
    let Some(pings) = pings else { return starved.await };
    tokio::select! {
        () = starved => {}
        () = is_silent(pings, &streams, &traffic, keep_alive, &clock) => {
            let timeout = keep_alive.timeout;
            traffic.give_up(format!("keep-alive timed out: the peer did not answer a ping within {timeout:?}"));
        }
    }
}

/// Resolves when the peer has not answered a ping. A ping is sent when nothing was received for the interval, and only
/// while a call uses the connection.
async fn is_silent(
    mut pings: PingPong,
    streams: &Streams,
    traffic: &Traffic,
    keep_alive: KeepAlive,
    clock: &Clock,
) {
    let [interval, timeout] =
        [keep_alive.interval, keep_alive.timeout].map(|limit: Duration| limit.min(LONGEST));
    loop {
        clock.sleep_until(traffic.last_read() + interval).await;
        if clock.now() < traffic.last_read() + interval {
            continue;
        }
        if !streams.is_in_use() {
            clock.sleep(interval).await;
            continue;
        }
        let pong = async {
            pings.send_ping(Ping::opaque())?;
            poll_fn(|cx| pings.poll_pong(cx)).await
        };
        match clock.timeout(timeout, pong).await {
            Ok(Ok(_)) => {}
            // The connection has ended.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}
