//! One open connection: reads and writes frames, refreshes the token, and detects a dead peer.

use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use comms_core::{Error, clock::Sleep};
use futures_util::{SinkExt, StreamExt, future::BoxFuture};
use tokio_tungstenite::tungstenite::{
    Bytes, Message, Utf8Bytes,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    connect::{Socket, Target},
    failure::Failure,
    frame::ClientFrame,
    pace::Pace,
};

/// The limits of the server's ping interval, and its default, in seconds.
const PING_SECONDS: (u64, u64, u64) = (1, 3_600, 30);
/// A token is refreshed this long before it expires, or in the last quarter of its time if that is shorter.
const EARLY: Duration = Duration::from_secs(60);
/// The time that the server has to confirm a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Session {
    socket: Socket,
    target: Arc<Target>,
    outgoing: VecDeque<Message>,
    pace: Pace,
    /// Resolves when the next frame may be sent. `None`: the rate allows one now.
    paced: Option<Pin<Box<Sleep>>>,
    ping: Duration,
    began: Instant,
    last_read: Instant,
    /// Whether a ping was sent after the last read.
    is_asked: bool,
    check: Pin<Box<Sleep>>,
    expires: Option<Instant>,
    refresh: Option<BoxFuture<'static, Result<Option<String>, Error>>>,
}

/// What happened on a connection.
pub(super) enum Signal {
    Frame(Utf8Bytes),
    Ended(Failure),
}

impl Session {
    pub(super) fn new(
        socket: Socket,
        target: Arc<Target>,
        ping_seconds: Option<u64>,
        expires: Option<Instant>,
    ) -> Self {
        let (min, max, default) = PING_SECONDS;
        let ping = Duration::from_secs(ping_seconds.unwrap_or(default).clamp(min, max));
        let (now, check) = (target.clock.now(), Box::pin(target.clock.sleep(ping)));
        let (outgoing, pace) = (VecDeque::new(), Pace::default());
        let mut session = Self {
            socket,
            target,
            outgoing,
            pace,
            paced: None,
            ping,
            began: now,
            last_read: now,
            is_asked: false,
            check,
            expires,
            refresh: None,
        };
        session.schedule_refresh();
        session
    }

    /// Returns the time since the connection was opened.
    pub(super) fn age(&self) -> Duration {
        self.target.clock.now() - self.began
    }

    /// Queues a text frame.
    pub(super) fn send(&mut self, text: String) {
        self.outgoing.push_back(Message::text(text));
    }

    /// Returns the number of frames that are not sent.
    pub(super) fn unsent(&self) -> usize {
        self.outgoing.len()
    }

    /// Returns the next frame, and writes queued frames meanwhile. Without `read`, it returns no frame, and the
    /// silence of the server is not counted. Cancel-safe.
    pub(super) async fn next(&mut self, read: bool) -> Signal {
        loop {
            let token = async {
                match &mut self.refresh {
                    Some(refresh) => refresh.await,
                    None => pending().await,
                }
            };
            let io = Io {
                socket: &mut self.socket,
                outgoing: &mut self.outgoing,
                pace: &mut self.pace,
                paced: &mut self.paced,
                target: &self.target,
            };
            tokio::select! {
                biased;
                token = token => self.refreshed_token(token),
                message = io.next(read) => {
                    self.last_read = self.target.clock.now();
                    self.is_asked = false;
                    match message {
                        Some(Ok(Message::Text(text))) => return Signal::Frame(text),
                        Some(Ok(Message::Close(frame))) => return Signal::Ended(Failure::closed(frame.as_ref())),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Signal::Ended(Failure::socket(error)),
                        None => return Signal::Ended(Failure::lost("the connection ended")),
                    }
                }
                // Last: this timer may be overdue while frames have already arrived.
                () = &mut self.check => if let Some(failure) = self.check_silence(read) {
                    return Signal::Ended(failure);
                },
            }
        }
    }

    /// Sends a ping after one interval without a frame, and reports a failure if the next one brings none either.
    fn check_silence(&mut self, read: bool) -> Option<Failure> {
        let now = self.target.clock.now();
        if !read {
            self.last_read = now;
            self.is_asked = false;
        }
        let silent = now - self.last_read;
        if silent < self.ping {
            self.check.as_mut().reset(self.ping - silent);
            return None;
        }
        if self.is_asked {
            return Some(Failure::lost("the server sent no frame during two ping intervals"));
        }
        self.is_asked = true;
        self.outgoing.push_back(Message::Ping(Bytes::new()));
        self.check.as_mut().reset(self.ping);
        None
    }

    /// Takes the time at which the session ends.
    pub(super) fn expires_at(&mut self, expires: Option<Instant>) {
        self.expires = expires;
        self.schedule_refresh();
    }

    /// Gets a new token before the session ends. After a failure, called again: each time in the last quarter of what
    /// is left, until the last second.
    pub(super) fn schedule_refresh(&mut self) {
        self.refresh = None;
        let Some(expires) = self.expires else { return };
        let left = expires.saturating_duration_since(self.target.clock.now());
        if left < Duration::from_secs(1) || self.target.token.is_none() {
            return;
        }
        let sleep = self.target.clock.sleep(left - EARLY.min(left / 4));
        let target = self.target.clone();
        self.refresh = Some(Box::pin(async move {
            sleep.await;
            target.token().await
        }));
    }

    fn refreshed_token(&mut self, token: Result<Option<String>, Error>) {
        self.refresh = None;
        match token {
            Ok(Some(token)) => self.send(ClientFrame::Refresh { token: &token }.encode()),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = %error.chain(), "no token to refresh the session");
                self.schedule_refresh();
            }
        }
    }

    /// Closes the connection with 1000, or answers the close frame of the server, and waits up to 5 s for the end.
    pub(super) async fn close(mut self) {
        let close = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let closing = async {
            // Fails if the server has closed the connection. The reads send the answer.
            let _ = self.socket.close(Some(close)).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        // A server that does not answer loses the connection.
        let _ = self.target.clock.timeout(CLOSE_TIMEOUT, closing).await;
    }
}

/// The parts of a session that read and write.
struct Io<'a> {
    socket: &'a mut Socket,
    outgoing: &'a mut VecDeque<Message>,
    pace: &'a mut Pace,
    paced: &'a mut Option<Pin<Box<Sleep>>>,
    target: &'a Target,
}

type Fault = tokio_tungstenite::tungstenite::Error;

impl Io<'_> {
    async fn next(mut self, read: bool) -> Option<Result<Message, Fault>> {
        poll_fn(|cx| {
            // Reading goes on while a write waits for the server, or two full connections would wait for each other. A
            // write that waits for its turn does not delay the flush of those before.
            for written in [self.poll_enqueue(cx), self.socket.poll_flush_unpin(cx)] {
                if let Poll::Ready(Err(error)) = written {
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if read { self.socket.poll_next_unpin(cx) } else { Poll::Pending }
        })
        .await
    }

    /// Hands the queued frames that the rate allows to the socket.
    fn poll_enqueue(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while !self.outgoing.is_empty() {
            if let Some(paced) = self.paced.as_mut() {
                ready!(paced.as_mut().poll(cx));
                *self.paced = None;
            }
            ready!(self.socket.poll_ready_unpin(cx))?;
            let now = self.target.clock.now();
            match self.pace.take(now) {
                Ok(()) => {
                    if let Some(message) = self.outgoing.pop_front() {
                        self.socket.start_send_unpin(message)?;
                    }
                }
                Err(at) => *self.paced = Some(Box::pin(self.target.clock.sleep(at - now))),
            }
        }
        Poll::Ready(Ok(()))
    }
}
