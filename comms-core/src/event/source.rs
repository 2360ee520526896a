//! The messages that announce a service's events.

use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

use super::{Codec, Event, Json, definition::type_name};
use crate::{Error, Headers, Message, MessageParts, clock::Clock, context::Context, wire};

/// Makes the messages that announce the events of one service.
///
/// A service creates one `EventSource` at its start. Making a message publishes nothing: write the message to an
/// [`Outbox`](crate::Outbox), or pass it to a [`Publisher`](crate::Publisher). Clones are cheap.
///
/// ```
/// use comms_core::{clock::Clock, event::{Event, EventSource}};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct OrderPlaced { order_id: String }
/// impl Event for OrderPlaced {
///     const TYPE: &'static str = "order.placed";
///     const VERSION: u32 = 1;
///     fn key(&self) -> String { self.order_id.clone() }
/// }
/// let events = EventSource::new("order-service", Clock::system());
/// let message = events.message(&OrderPlaced { order_id: "7".into() })?;
/// assert_eq!((message.source(), message.topic()), ("order-service", "order.placed"));
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct EventSource {
    source: Arc<str>,
    clock: Clock,
}

impl EventSource {
    /// Creates the source of the service named `source`. `clock` provides identifiers and timestamps.
    ///
    /// The name is half of the identity of every message: it must be the same in all processes of the service, and must
    /// not change.
    #[must_use]
    pub fn new(source: impl Into<Arc<str>>, clock: Clock) -> Self {
        Self { source: source.into(), clock }
    }

    /// Returns the message that announces `event`: a JSON payload, `CloudEvents` headers, a new id, and the trace,
    /// correlation id and causation id of the current [`Context`]. The topic is [`Event::TYPE`]; [`Message::to`]
    /// changes it.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the event cannot be encoded.
    pub fn message<E>(&self, event: &E) -> Result<Message, Error>
    where
        E: Event + Serialize + DeserializeOwned,
    {
        self.encode(event, &Json)
    }

    /// Returns the message that announces `event`, as [`message`](Self::message) does, with a payload encoded by
    /// `codec`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the event cannot be encoded.
    pub fn encode<E: Event>(&self, event: &E, codec: &dyn Codec<E>) -> Result<Message, Error> {
        let headers = self.headers(&type_name::<E>(), codec.content_type());
        Ok(Message::new(MessageParts {
            source: &self.source,
            id: self.clock.uuid_v7().hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()),
            topic: E::TYPE,
            key: Some(event.key().as_bytes()),
            headers: headers.view(),
            payload: Some(&codec.encode(event)?),
        }))
    }

    /// Returns the headers of a message that announces an event of the type `type_name`, in the current [`Context`].
    pub(crate) fn headers(&self, type_name: &str, content_type: &str) -> Headers {
        let mut headers = Headers::new();
        headers.append(wire::CE_SPECVERSION, "1.0");
        headers.append(wire::CE_TYPE, type_name);
        headers.append(wire::CE_TIME, self.clock.rfc3339());
        headers.append(wire::CONTENT_TYPE, content_type);
        let context = Context::current();
        context.write_event_headers(&mut headers);
        headers
    }

    /// Returns the name of the source.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.source
    }

    /// Returns the clock of the source.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }
}
