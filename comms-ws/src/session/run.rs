//! The task of a session: writes what waits, reads what comes, and ends it by its limits.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use futures::{SinkExt, StreamExt};
use tokio::time::{sleep, timeout};

use super::{Session, client::Client};
use crate::{
    close::Close,
    hub::{
        Admission, Shared,
        outbound::{Next, Outbound},
    },
};

/// Longer than any session lives.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// An admitted session.
pub(crate) struct Running {
    hub: Arc<Shared>,
    queue: Arc<Outbound>,
    client: Client,
    expires_at_unix: Option<u64>,
    heard: Instant,
    // Last, so that the place is free when everything else is gone.
    _admission: Admission,
}

/// How it ends: with a close frame, or without one because the peer is gone.
type End = Option<Close>;

impl Running {
    pub(crate) fn new(
        hub: Arc<Shared>,
        session: Session,
        queue: Arc<Outbound>,
        admission: Admission,
    ) -> Self {
        let (heard, expires_at_unix) = (hub.clock.now(), session.expires_at_unix);
        let client = Client::new(hub.clone(), session, queue.clone(), admission.id);
        Self { hub, queue, client, expires_at_unix, heard, _admission: admission }
    }

    pub(crate) async fn run(mut self, mut socket: WebSocket) {
        self.client.welcome();
        let end = self.talk(&mut socket).await;
        // First out of the topics: what is published now is not for this session any more.
        self.client.leave();
        if end == Some(Close::TOO_SLOW) {
            self.hub.meters.slow_closed();
        }
        tracing::debug!(code = end.map(|close| close.code), "session ends");
        let _ = timeout(self.hub.config.close_timeout, farewell(&mut socket, end)).await;
    }

    async fn talk(&mut self, socket: &mut WebSocket) -> End {
        let mut ping = pin!(sleep(self.ping_in()));
        let mut expiry = pin!(sleep(self.expires_in().unwrap_or_default()));
        loop {
            // What has come is read before silence is judged, and written last; the rate of what
            // comes is bounded, and the timers are rare.
            let result = tokio::select! {
                biased;
                message = socket.next() => self.read(message),
                () = &mut expiry => match self.expires_in() {
                    None => return Some(Close::TOKEN_EXPIRED),
                    // The wall clock was set back.
                    Some(left) => {
                        expiry.set(sleep(left));
                        Ok(())
                    }
                },
                () = &mut ping => {
                    ping.set(sleep(self.ping_in()));
                    self.ping(socket).await
                }
                next = self.queue.next() => match next {
                    Next::Write(frames) => self.write(socket, frames).await,
                    Next::Close(close) => return Some(close),
                },
            };
            if let Err(end) = result {
                return end;
            }
        }
    }

    /// Hands all of `frames` to the socket, then flushes once. The limit is on each step, not on the whole, so
    /// that a client on a thin line that takes its bytes is not cut off.
    async fn write(&self, socket: &mut WebSocket, frames: VecDeque<Utf8Bytes>) -> Result<(), End> {
        let (count, limit) = (frames.len(), self.hub.config.write_timeout);
        let writing = async {
            for frame in frames {
                within(limit, socket.feed(Message::Text(frame.clone()))).await?;
                self.queue.written(&frame);
            }
            within(limit, socket.flush()).await
        };
        tokio::select! {
            biased;
            result = writing => result?,
            close = self.queue.overflowed() => return Err(Some(close)),
        }
        self.hub.meters.delivered(count);
        Ok(())
    }

    fn read(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        self.heard = self.hub.clock.now();
        match message {
            Some(Ok(Message::Close(_))) | None => Err(None),
            Some(Ok(message)) => self.client.on_message(&message, self.heard).map_err(Some),
            // Where the connection is broken, this close frame finds nobody, which harms nobody.
            Some(Err(_)) => Err(Some(Close::PROTOCOL)),
        }
    }

    /// Asks for life, or gives up: two intervals without a frame.
    async fn ping(&self, socket: &mut WebSocket) -> Result<(), End> {
        let silent = self.hub.clock.now().saturating_duration_since(self.heard);
        let interval = self.hub.config.ping_interval;
        if silent >= interval * 2 {
            return Err(Some(Close::SILENT));
        }
        within(self.hub.config.write_timeout, socket.send(Message::Ping(Default::default()))).await
    }

    /// Spread, so that sessions that began together do not ping together.
    fn ping_in(&self) -> Duration {
        self.hub.config.ping_interval.mul_f64(0.9 + 0.2 * self.hub.clock.random_unit())
    }

    /// What is left of the token's time.
    fn expires_in(&self) -> Option<Duration> {
        let end = Duration::from_secs(self.expires_at_unix.unwrap_or(u64::MAX));
        end.checked_sub(self.hub.clock.unix()).filter(|left| !left.is_zero()).map(|left| left.min(NEVER))
    }
}

/// A step of writing: too slow where it takes longer than `limit`, gone where it fails.
async fn within(limit: Duration, step: impl Future<Output = Result<(), axum::Error>>) -> Result<(), End> {
    match timeout(limit, step).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(None),
        Err(_) => Err(Some(Close::TOO_SLOW)),
    }
}

/// Says why, and reads on until the peer has said so too, or answers a peer that said so first. Closing a
/// socket with unread bytes resets it, and the close frame would be lost.
async fn farewell(socket: &mut WebSocket, end: End) {
    if let Some(close) = end
        && socket.send(Message::Close(Some(close.into()))).await.is_err()
    {
        return;
    }
    while let Some(Ok(_)) = socket.next().await {}
}
