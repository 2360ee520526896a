//! What a transport drives: the session on one side, the client on the other.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{client::Client, grant::Session};
use crate::{
    close::{Close, CloseReason},
    connection::{Connection, Duty, Item, Opening},
    hub::{registry::Admission, state::HubState},
    message::Encoding,
    socket::Socket,
};

/// How much a transport takes from the queue at a time, in bytes.
const PULL_BYTES: usize = 64 * 1024;

/// The server's end of a session, for a transport.
///
/// WebSocket and server-sent events are built in, see [`Hub::accept`](crate::Hub::accept). A further transport opens a
/// link with [`Hub::open`](crate::Hub::open), passes the text of each frame of its client to [`receive`](Self::receive),
/// and sends what [`next`](Self::next) returns. The session ends when the link is dropped.
pub struct Link {
    pub(crate) hub: Arc<HubState>,
    pub(crate) connection: Arc<Connection>,
    client: Client,
    // The last field, so that the session counts as open until all other fields are dropped.
    admission: Admission,
}

/// What a transport sends to its client, from [`Link::next`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outgoing {
    /// A frame in the encoding of the link.
    Frame(Bytes),
    /// The session ends for this reason. No frame follows.
    Close(CloseReason),
}

/// What a built-in transport takes from the queue.
pub(crate) enum Pulled {
    Items(Vec<Item>),
    Close(Close),
    /// The session ended without a close code.
    Gone,
}

impl Link {
    /// Opens a link for an admitted session. Without `session`, its client has to authenticate.
    pub(crate) fn open(
        hub: &Arc<HubState>,
        admission: Admission,
        session: Option<&Session>,
        encoding: Encoding,
        socket: Option<Socket>,
    ) -> Self {
        let connection = Connection::new(Opening {
            id: admission.id,
            name: hub.env.clock.uuid_v7(),
            principal: session.map(|session| session.principal.clone()),
            encoding,
            socket,
            expires: session.map_or(u64::MAX, Session::end),
            env: hub.env.clone(),
            waiting: hub.watch.waiting.clone(),
        });
        hub.env.meters.opened(encoding.transport());
        if let Some(close) = admission.set_connection(&connection) {
            connection.close(close);
        }
        hub.watch.add(&connection);
        // A drain that began before the connection was registered has not seen it.
        if hub.registry.is_draining() {
            connection.close(Close::GOING_AWAY);
        }
        if connection.socket().is_some() {
            hub.env.meters.direct_opened();
        }
        let client = Client::new(hub.clone(), connection.clone());
        Self { hub: hub.clone(), connection, client, admission }
    }

    /// Starts the session with its rights. A link without rights waits for its client to authenticate.
    pub(crate) fn start(&mut self, session: Session, topics: Vec<String>, cursor: Option<&str>) {
        self.client.start(session, topics, cursor);
    }

    /// Handles a text frame of the client. A frame that cannot be read is answered, and does not end the session.
    ///
    /// # Errors
    /// Returns the close reason if the frame ends the session: it is longer than
    /// [`HubConfig::max_client_frame`](crate::HubConfig::max_client_frame), or there were too many frames, too many of
    /// them malformed, or the client is not authenticated.
    pub async fn receive(&mut self, text: &str) -> Result<(), CloseReason> {
        let received = async {
            self.count_frame()?;
            if text.len() > self.hub.env.config.max_client_frame {
                return Err(Close::TOO_BIG);
            }
            self.on_text(text).await
        };
        received.await.map_err(|close| {
            self.note_end(Some(close));
            close.into()
        })
    }

    /// Waits until the client authenticates, at most `seconds`, and starts the session then.
    pub(crate) fn wait(&mut self, topics: Vec<String>, cursor: Option<String>, seconds: u64) {
        self.client.wait(topics, cursor);
        self.hub.watch.set_expiry(&self.connection, self.hub.env.clock.unix().as_secs() + seconds);
    }

    /// Counts the end of the session, once. `None`: its client has ended it.
    pub(crate) fn note_end(&mut self, close: Option<Close>) {
        if !self.connection.is_first_end() {
            return;
        }
        self.hub.env.meters.closed(close);
        let session = self.connection.peer.name;
        tracing::debug!(%session, code = close.map(|close| close.code), "a session ended");
    }

    /// Counts a frame of the client, whatever its kind.
    pub(crate) fn count_frame(&mut self) -> Result<(), Close> {
        self.connection.peer.heard_at(self.hub.env.now());
        self.client.count_frame()
    }

    pub(crate) async fn on_text(&mut self, text: &str) -> Result<(), Close> {
        // While it looks a permission up, which may take seconds, the session neither reads what the client sends nor writes
        // what is queued.
        self.connection.peer.pause();
        let paused = self.hub.env.clock.now();
        let result = self.client.on_text(text, &mut self.admission).await;
        self.client.resume(paused);
        self.connection.excuse(self.hub.env.clock.now().saturating_duration_since(paused));
        self.connection.peer.heard_at(self.hub.env.now());
        result
    }

    /// Leaves all topics, so that no further message is queued.
    pub(crate) fn leave_all(&mut self) {
        self.client.leave_all();
    }

    /// Returns the next frame for the client, or the reason of the end. Frames that the hub queued before the end come
    /// first, unless the client was too slow. Cancel safe.
    pub async fn next(&mut self) -> Outgoing {
        loop {
            let pulled = poll_fn(|cx| self.poll_pull(cx, 1)).await;
            match pulled {
                Pulled::Items(items) => {
                    let keys = &self.hub.env.cursor_keys;
                    let bytes = items.first().map(|item| item.bytes(self.connection.encoding, keys));
                    if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
                        return Outgoing::Frame(bytes);
                    }
                }
                Pulled::Close(close) => {
                    self.note_end(Some(close));
                    return Outgoing::Close(close.into());
                }
                Pulled::Gone => return Outgoing::Close(Close::GOING_AWAY.into()),
            }
        }
    }

    /// Returns `items` as one piece of bytes.
    pub(crate) fn encode(&self, items: &[Item]) -> Bytes {
        let encode = |item: &Item| item.bytes(self.connection.encoding, &self.hub.env.cursor_keys);
        match items {
            [item] => encode(item),
            items => items.iter().map(encode).collect::<Vec<_>>().concat().into(),
        }
    }

    /// Takes what is queued, up to 64 KiB, or a part of this.
    pub(crate) fn poll_items(&mut self, cx: &mut Context<'_>, parts: usize) -> Poll<Pulled> {
        self.poll_pull(cx, PULL_BYTES / parts.max(1))
    }

    fn poll_pull(&mut self, cx: &mut Context<'_>, max_bytes: usize) -> Poll<Pulled> {
        loop {
            let items = self.connection.pull(max_bytes);
            if !items.is_empty() {
                self.hub.env.meters.delivered(items.len());
                return Poll::Ready(Pulled::Items(items));
            }
            match self.connection.duty() {
                Duty::Close(close) => return Poll::Ready(Pulled::Close(close)),
                Duty::Gone => return Poll::Ready(Pulled::Gone),
                Duty::Idle | Duty::Write => ready!(self.connection.poll_attention(cx)),
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let close = match self.connection.duty() {
            Duty::Close(close) => Some(close),
            _ => None,
        };
        self.note_end(close);
        self.client.leave_all();
        self.connection.end();
        self.hub.watch.remove(&self.connection);
        if self.connection.socket().is_some() {
            self.hub.env.meters.direct_ended();
        }
    }
}
