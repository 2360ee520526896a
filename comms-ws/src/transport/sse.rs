//! Server-sent events (HTML Living Standard, section 9.2), over HTTP/1.1 and HTTP/2.
//!
//! A browser that reconnects sends the `id` of the last event that it has dispatched. An event therefore carries the cursor
//! of all topics of its stream, not only of its own.

use std::{
    fmt,
    fmt::Write as _,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    close,
    connection::Item,
    message::Encoding,
    protocol::ServerFrame,
    session::{Link, Pulled},
};

/// The longest first wait of a client that reconnects. Each client gets a random part of it.
const RECONNECT: Duration = Duration::from_secs(5);

/// The events of a session.
pub(crate) struct EventStream {
    link: Link,
    /// The cursor token of each topic after what was sent.
    tokens: Vec<(Arc<str>, Box<str>)>,
    /// What is sent before the first event.
    head: Bytes,
    has_ended: bool,
}

impl EventStream {
    /// Creates the stream of a session. `random` is a random number below 1.
    pub(super) fn new(link: Link, random: f64) -> Self {
        let wait = RECONNECT.mul_f64(0.2 + 0.8 * random).as_millis();
        let head = Bytes::from(format!("retry: {wait}\n\n"));
        Self { link, tokens: Vec::new(), head, has_ended: false }
    }

    /// Returns the next events, or `None` after the last.
    pub(crate) fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if !self.head.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut self.head)));
        }
        // Each event has the cursor of all topics as well.
        let close = match ready!(self.link.poll_items(cx, 1 + self.tokens.len())) {
            Pulled::Items(items) => return Poll::Ready(Some(self.encode(&items))),
            Pulled::Close(close) => close,
            Pulled::Gone => return Poll::Ready(None),
        };
        self.has_ended = true;
        self.link.note_end(Some(close));
        let frame = ServerFrame::Close { code: close.code, reason: close.reason };
        let mut last = BytesMut::new();
        if close.code == close::GOING_AWAY {
            let _ = writeln!(last, "retry: {}", self.link.hub.env.retry_after().as_millis());
        }
        last.put(Encoding::EventStream.encode(&frame.encode()));
        Poll::Ready(Some(last.freeze()))
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
        for (index, (_, token)) in self.tokens.iter().enumerate() {
            if index > 0 {
                events.put_u8(b',');
            }
            events.put_slice(token.as_bytes());
        }
        events.put_u8(b'\n');
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("session", &self.link.connection).finish_non_exhaustive()
    }
}
