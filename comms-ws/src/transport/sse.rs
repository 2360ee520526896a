//! Server-sent events (HTML Living Standard, section 9.2), over HTTP/1.1 and HTTP/2.
//!
//! A browser that reconnects sends the `id` of the last event that it has dispatched. An event therefore carries the cursor
//! of all topics of its stream, not only of its own. Tokens that would make it too long for a header are left out, and their
//! topics have not recovered after a reconnect.

use std::{
    fmt,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    close::{self, Close},
    connection::{Duty, Item},
    cursor,
    hub::streams::Stream,
    message::Encoding,
    protocol::ServerFrame,
    session::{Link, Pulled},
};

/// The longest first wait of a client that reconnects. Each client gets a random part of it.
const RECONNECT: Duration = Duration::from_secs(5);
/// The maximum length of the `id` of an event, which comes back in the header `Last-Event-ID`. Servers and proxies accept
/// headers of 8 KiB; with a longer one, a browser would be refused at each reconnect, for ever.
const MAX_ID: usize = 6 * 1024;

/// The body of an event stream.
pub(crate) struct EventStream {
    shared: Arc<Shared>,
    /// What is sent before the first event.
    head: Bytes,
}

/// The state of a stream, which the hub can end.
struct Shared(Mutex<State>);

enum State {
    Open(Box<Open>),
    /// The session has ended. The last event follows, if there is one.
    Ended(Option<Bytes>),
}

/// The session of a stream.
struct Open {
    link: Link,
    /// The cursor token of each topic after what was sent.
    tokens: Vec<(Arc<str>, Box<str>)>,
    /// The last event was returned. The session ends with the body, when the server has taken that event.
    has_ended: bool,
}

impl EventStream {
    /// Creates the stream of a session. `random` is a random number below 1.
    pub(super) fn new(link: Link, random: f64) -> Self {
        let wait = RECONNECT.mul_f64(0.2 + 0.8 * random).as_millis();
        let head = Bytes::from(format!("retry: {wait}\n\n"));
        let (hub, connection) = (link.hub.clone(), link.connection.id);
        let open = Open { link, tokens: Vec::new(), has_ended: false };
        let shared = Arc::new(Shared(Mutex::new(State::Open(Box::new(open)))));
        let stream = Arc::downgrade(&shared);
        hub.watch.streams.add(connection, stream);
        Self { shared, head }
    }

    /// Returns the next events, or `None` after the last.
    pub(crate) fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.head.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.head)));
        }
        match &mut *self.shared.lock() {
            State::Open(open) => open.poll_events(cx),
            State::Ended(last) => Poll::Ready(last.take()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for Shared {
    fn abandon(&self) {
        let mut state = self.lock();
        let last = match &*state {
            State::Open(open) => open.end(),
            State::Ended(_) => return,
        };
        let ended = std::mem::replace(&mut *state, State::Ended(last));
        // The session leaves its topics without the lock.
        drop(state);
        drop(ended);
    }
}

impl Open {
    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        // Each event has the cursor of all topics as well.
        match ready!(self.link.poll_items(cx, 1 + self.tokens.len())) {
            Pulled::Items(items) => Poll::Ready(Some(self.encode(&items))),
            Pulled::Close(close) => {
                self.has_ended = true;
                self.link.note_end(Some(close));
                Poll::Ready(Some(self.last_event(close)))
            }
            Pulled::Gone => Poll::Ready(None),
        }
    }

    /// Returns the last event of a stream that the server does not poll, if the server begins to do so again.
    fn end(&self) -> Option<Bytes> {
        match self.link.connection.duty() {
            Duty::Close(close) if !self.has_ended => Some(self.last_event(close)),
            _ => None,
        }
    }

    fn last_event(&self, close: Close) -> Bytes {
        let frame = ServerFrame::Close { code: close.code, reason: close.reason };
        let mut last = BytesMut::new();
        if close.code == close::GOING_AWAY {
            let _ = writeln!(last, "retry: {}", self.link.hub.env.retry_after().as_millis());
        }
        last.put(Encoding::EventStream.encode(&frame.encode()));
        last.freeze()
    }

    fn encode(&mut self, items: &[Item]) -> Bytes {
        let mut events = BytesMut::new();
        for item in items {
            if self.advance(item) {
                self.put_id(&mut events);
            }
            events.put(item.bytes(Encoding::EventStream, &self.link.hub.env.cursor_keys));
        }
        events.freeze()
    }

    /// Advances the cursor by what an item carries. Returns whether it carries anything.
    fn advance(&mut self, item: &Item) -> bool {
        let tokens = item.tokens(&self.link.hub.env.cursor_keys);
        for (topic, token) in &tokens {
            match self.tokens.iter_mut().find(|(other, _)| other == topic) {
                Some((_, current)) => current.clone_from(token),
                None => self.tokens.push((topic.clone(), token.clone())),
            }
        }
        !tokens.is_empty()
    }

    fn put_id(&self, events: &mut BytesMut) {
        events.put_slice(b"id: ");
        let start = events.len();
        for (_, token) in &self.tokens {
            if events.len() + token.len() + 1 > start + MAX_ID - cursor::LEFT_OUT.len() {
                events.put_slice(cursor::LEFT_OUT.as_bytes());
                events.put_u8(b'\n');
                return;
            }
            events.put_slice(token.as_bytes());
            events.put_u8(b',');
        }
        events.truncate(events.len() - 1);
        events.put_u8(b'\n');
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}
