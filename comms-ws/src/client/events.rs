//! The stream of items.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use comms_core::Error;
use futures_util::{Stream, StreamExt};

use super::{
    cursor::Place,
    handled::{Handled, Window},
    item::Item,
    queue::{Entry, Receiver},
};

/// The stream of a client's items, in order. Dropping it closes the connection.
///
/// The client keeps the connection alive also while the stream is not polled. When the queue is full, the client stops
/// reading from the connection. The server closes the connection of a client that is too slow for its limits, and the
/// client resumes when the application reads again.
pub struct Events {
    queue: Receiver,
    places: HashMap<String, Place>,
    handled: Arc<Handled>,
    /// The topic and the window of the last item, until the application asks for the next one.
    last: Option<(String, Window)>,
}

impl Events {
    pub(super) const fn new(queue: Receiver, places: HashMap<String, Place>, handled: Arc<Handled>) -> Self {
        Self { queue, places, handled, last: None }
    }

    /// Returns the next item, or `None` after the client was closed or the error was returned. Cancel-safe: a dropped
    /// future has taken no item. In a topic with a window, the call acknowledges the item before
    /// ([`Subscription::window`](super::Subscription::window)).
    ///
    /// # Errors
    /// The error ends the client, and describes what to change:
    /// - `PermissionDenied`, `Unauthenticated`: the server or the token source refuses the user (status 403, code
    ///   4403).
    /// - `Invalid`: the server closed the connection because of the frames of this client (codes 1008 and 1009), or the
    ///   token cannot be sent.
    /// - `Conflict`: a newer session of the user has replaced this one (code 4409). A client that connected again by itself
    ///   would replace that session in turn.
    /// - `Internal`: client and server disagree about the protocol (codes 1002, 1003, 1007).
    /// - `Misconfigured`: a message is longer than [`Builder::max_message`](super::Builder::max_message).
    /// - `Fatal`: the token source returned it.
    /// - the kind of the last failure, after [`Builder::max_attempts`](super::Builder::max_attempts).
    pub async fn next(&mut self) -> Option<Result<Item, Error>> {
        StreamExt::next(self).await
    }

    /// Returns the position after the last item that was returned, for [`Builder::cursor`](super::Builder::cursor) of
    /// a later client. Topics without history have no position. An application that stores it after it has processed
    /// an item processes that item at least once.
    #[must_use]
    pub fn cursor(&self) -> String {
        let mut tokens: Vec<String> = self.places.values().filter_map(Place::cursor).collect();
        tokens.sort();
        tokens.join(",")
    }

    /// Notes that the application has handled the last item.
    fn handled_last(&mut self) {
        let Some((topic, window)) = self.last.take() else { return };
        if let Some(place) = self.places.get(&topic) {
            self.handled.note(&topic, place, window);
        }
    }

    fn moved(&mut self, entry: &Entry) {
        self.last = entry.window.and_then(|window| Some((entry.item.topic()?.to_owned(), window)));
        match (&entry.item, &entry.place) {
            (Item::Event(event), _) => {
                if let (Some(place), Some(offset)) = (self.places.get_mut(&event.topic), event.offset) {
                    place.reached = offset;
                }
            }
            (Item::Unsubscribed { topic, .. }, _) => {
                self.places.remove(topic);
            }
            (
                Item::Subscribed { topic } | Item::Recovered { topic } | Item::Missed { topic, .. },
                Some(place),
            ) => {
                self.places.insert(topic.clone(), place.clone());
            }
            _ => {}
        }
    }
}

impl Stream for Events {
    type Item = Result<Item, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.handled_last();
        let entry = match std::task::ready!(self.queue.poll(cx)) {
            Some(Ok(entry)) => entry,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        };
        self.moved(&entry);
        Poll::Ready(Some(Ok(entry.item)))
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("cursor", &self.cursor()).finish_non_exhaustive()
    }
}
