//! The task of a session: writes queued frames, reads the client's frames, and enforces time limits.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use futures::{SinkExt, StreamExt};

use super::{client::Client, grant::Session};
use crate::{
    close::Close,
    hub::{
        outbound::{Next, Outbound},
        registry::Admission,
        state::HubState,
    },
};

/// The maximum of the expiry timer, longer than any session lives.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// An admitted session.
pub(crate) struct RunningSession {
    hub: Arc<HubState>,
    queue: Arc<Outbound>,
    client: Client,
    expires_at_unix: Option<u64>,
    last_received: Instant,
    // The last field, so that the session counts as open until all other fields are dropped.
    _admission: Admission,
}

/// The end of a session: the close frame to send, or `None` because the peer is gone.
type End = Option<Close>;

impl RunningSession {
    pub(crate) fn new(
        hub: Arc<HubState>,
        session: Session,
        queue: Arc<Outbound>,
        admission: Admission,
    ) -> Self {
        let (last_received, expires_at_unix) = (hub.clock.now(), session.expires_at_unix);
        let client = Client::new(hub.clone(), session, queue.clone(), admission.id);
        Self { hub, queue, client, expires_at_unix, last_received, _admission: admission }
    }

    pub(crate) async fn run(mut self, mut socket: WebSocket) {
        self.client.start();
        let end = self.exchange(&mut socket).await;
        // Unsubscribe before the close handshake, so that no further frame is queued.
        self.client.unsubscribe_all();
        if end == Some(Close::TOO_SLOW) {
            self.hub.meters.slow_closed();
        }
        tracing::debug!(code = end.map(|close| close.code), "a session ended");
        let HubState { config, clock, .. } = &*self.hub;
        let _ = clock.timeout(config.close_timeout, close(&mut socket, end)).await;
    }

    /// Reads and writes frames until the session ends.
    async fn exchange(&mut self, socket: &mut WebSocket) -> End {
        let mut ping = pin!(self.hub.clock.sleep(self.ping_in()));
        let mut expiry = pin!(self.hub.clock.sleep(self.expires_in().unwrap_or_default()));
        loop {
            // Received frames are polled before the ping timer, which decides about silence. Writes are polled last.
            // They do not starve, because the rate of client frames is limited and the timers fire rarely.
            let result = tokio::select! {
                biased;
                message = socket.next() => self.read(message),
                () = &mut expiry => match self.expires_in() {
                    None => return Some(Close::TOKEN_EXPIRED),
                    // The wall clock was set back, so the session has not expired yet.
                    Some(left) => {
                        expiry.as_mut().reset(left);
                        Ok(())
                    }
                },
                () = &mut ping => {
                    ping.as_mut().reset(self.ping_in());
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

    /// Writes all `frames` to the socket and flushes once. The time limit applies to each step and not to the sum, so
    /// that a client on a slow link that keeps reading is not closed.
    async fn write(&self, socket: &mut WebSocket, frames: VecDeque<Utf8Bytes>) -> Result<(), End> {
        let count = frames.len();
        let writing = async {
            for frame in frames {
                self.within(socket.feed(Message::Text(frame.clone()))).await?;
                self.queue.written(&frame);
            }
            self.within(socket.flush()).await
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
        self.last_received = self.hub.clock.now();
        match message {
            Some(Ok(Message::Close(_))) | None => Err(None),
            Some(Ok(message)) => self.client.on_message(&message, self.last_received).map_err(Some),
            // If the connection is broken, sending this close frame fails without effect.
            Some(Err(_)) => Err(Some(Close::PROTOCOL)),
        }
    }

    /// Sends a ping, or ends the session after two intervals without a frame.
    async fn ping(&self, socket: &mut WebSocket) -> Result<(), End> {
        let silence = self.hub.clock.now().saturating_duration_since(self.last_received);
        let interval = self.hub.config.ping_interval;
        if silence >= interval * 2 {
            return Err(Some(Close::SILENT));
        }
        self.within(socket.send(Message::Ping(Default::default()))).await
    }

    /// Runs a step of writing. The session is too slow if the step takes longer than the write timeout, and gone if the
    /// step fails.
    async fn within(&self, step: impl Future<Output = Result<(), axum::Error>>) -> Result<(), End> {
        match self.hub.clock.timeout(self.hub.config.write_timeout, step).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(None),
            Err(_) => Err(Some(Close::TOO_SLOW)),
        }
    }

    /// Returns the time until the next ping, spread by 10%, so that sessions that started together do not ping
    /// together.
    fn ping_in(&self) -> Duration {
        self.hub.config.ping_interval.mul_f64(0.9 + 0.2 * self.hub.clock.random_unit())
    }

    /// Returns the time until the session expires, or `None` if it has expired.
    fn expires_in(&self) -> Option<Duration> {
        let end = Duration::from_secs(self.expires_at_unix.unwrap_or(u64::MAX));
        end.checked_sub(self.hub.clock.unix()).filter(|left| !left.is_zero()).map(|left| left.min(NEVER))
    }
}

/// Runs the close handshake: sends the close frame, and reads until the peer has closed as well. The kernel would reset
/// a socket that is closed with unread bytes, and the close frame would be lost.
async fn close(socket: &mut WebSocket, end: End) {
    if let Some(close) = end
        && socket.send(Message::Close(Some(close.into()))).await.is_err()
    {
        return;
    }
    while let Some(Ok(_)) = socket.next().await {}
}
