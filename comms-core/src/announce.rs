//! The message of an event, in the context that runs.
//!
//! Apart from [`Message`] itself, which events and contexts are read from.

use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

use crate::{Clock, Codec, Context, Error, Event, Headers, Message, event, wire};

impl Message {
    /// The message that announces `event`: JSON payload, `CloudEvents` headers, and the trace,
    /// correlation and cause of the current [`Context`]. The destination is the event's
    /// [`Event::TYPE`]; change it with [`Message::to`].
    ///
    /// # Errors
    /// `Invalid` where the event cannot be encoded.
    pub fn event<E>(source: &Arc<str>, event: &E, clock: &Clock) -> Result<Self, Error>
    where
        E: Event + Serialize + DeserializeOwned,
    {
        Self::encode(source, event, &event::Json, clock)
    }

    /// As [`Message::event`], in the encoding of `codec`.
    ///
    /// # Errors
    /// `Invalid` where the event cannot be encoded.
    pub fn encode<E: Event>(
        source: &Arc<str>,
        event: &E,
        codec: &dyn Codec<E>,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let mut headers = Headers::new();
        headers.append(wire::CE_SPECVERSION, "1.0");
        headers.append(wire::CE_TYPE, event::type_name::<E>());
        headers.append(wire::CE_TIME, clock.rfc3339());
        headers.append(wire::CONTENT_TYPE, codec.content_type());
        let context = Context::current();
        context.write_event_headers(&mut headers);
        Ok(Self {
            source: source.clone(),
            id: clock.uuid_v7().to_string().into(),
            destination: E::TYPE.into(),
            key: Some(event.key().into_bytes().into()),
            headers,
            payload: Some(codec.encode(event)?),
        })
    }
}
