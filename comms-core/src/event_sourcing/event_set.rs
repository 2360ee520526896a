//! The events of an aggregate, as messages.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Message,
    event::{self, Event, EventSource, Versions},
};

/// The events of one aggregate: an enum of types that implement [`Event`].
///
/// The key of a stored event is the id of its stream, whatever [`Event::key`] returns.
pub trait EventSet: Sized + Send + Sync + 'static {
    /// Returns the message that announces the event. Call [`EventSource::message`], or [`Versions::message`] for
    /// another encoding than JSON.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the event cannot be encoded.
    fn message(&self, source: &EventSource) -> Result<Message, Error>;

    /// Reads the event of a stored message. [`one_of`] does it.
    ///
    /// # Errors
    /// Returns [`Misconfigured`](crate::ErrorKind::Misconfigured) if the message announces an event, or a version of
    /// it, that this program does not read, and [`Invalid`](crate::ErrorKind::Invalid) if the payload does not decode.
    fn decode(message: &Message) -> Result<Self, Error>;
}

/// Reads `message` as one of several event types: add each of them, and call [`OneOf::decode`].
///
/// ```
/// use comms_core::{Error, Message, event_sourcing::one_of, event::{Event, Versions}};
/// use std::sync::LazyLock;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Placed { order: String, currency: String }
/// # impl Event for Placed {
/// #     const TYPE: &'static str = "placed"; const VERSION: u32 = 2; fn key(&self) -> String { String::new() }
/// # }
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Paid {}
/// # impl Event for Paid {
/// #     const TYPE: &'static str = "paid"; const VERSION: u32 = 1; fn key(&self) -> String { String::new() }
/// # }
/// enum OrderEvent { Placed(Placed), Paid(Paid) }
///
/// /// Version 1 had no currency.
/// static PLACED: LazyLock<Versions<Placed>> = LazyLock::new(|| {
///     let eur = |mut old: serde_json::Value| { old["currency"] = "EUR".into(); Ok(old) };
///     Versions::json().upcast(1, eur).build().expect("an upcaster for each version")
/// });
///
/// fn decode(message: &Message) -> Result<OrderEvent, Error> {
///     one_of(message).versions(&PLACED, OrderEvent::Placed).event(OrderEvent::Paid).decode()
/// }
/// # let message = comms_core::event::EventSource::new("shop", comms_core::clock::Clock::system()).message(&Paid {})?;
/// # assert!(matches!(decode(&message)?, OrderEvent::Paid(_)));
/// # Ok::<(), Error>(())
/// ```
pub const fn one_of<S>(message: &Message) -> OneOf<'_, S> {
    OneOf { message, found: Ok(None) }
}

/// A message that is read as one of several event types, made by [`one_of`].
#[derive(Debug)]
#[must_use = "call `decode`"]
pub struct OneOf<'a, S> {
    message: &'a Message,
    found: Result<Option<S>, Error>,
}

impl<S> OneOf<'_, S> {
    /// Adds an event in its newest version with a JSON payload, as [`event::read`] reads it. `into` is the variant.
    pub fn event<E>(self, into: impl FnOnce(E) -> S) -> Self
    where
        E: Event + Serialize + DeserializeOwned,
    {
        self.or(event::read, into)
    }

    /// Adds an event in the versions and the encoding of `versions`. `into` is the variant.
    pub fn versions<E: Event>(self, versions: &Versions<E>, into: impl FnOnce(E) -> S) -> Self {
        self.or(|message| versions.read(message), into)
    }

    /// Returns the event.
    ///
    /// # Errors
    /// Returns the error of the event type that the message announces, as [`Versions::read`] does. Returns
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) if the message announces none of the added types: a newer
    /// program has stored it.
    pub fn decode(self) -> Result<S, Error> {
        let announced = self.message.event_type().unwrap_or("");
        self.found?.ok_or_else(|| {
            Error::misconfigured(format!(
                "the stored event {announced:?} is of a type that this program does not read: deploy a program that \
                 reads it"
            ))
        })
    }

    fn or<E>(
        self,
        read: impl FnOnce(&Message) -> Result<Option<E>, Error>,
        into: impl FnOnce(E) -> S,
    ) -> Self {
        match self.found {
            Ok(None) => Self { found: read(self.message).map(|event| event.map(into)), ..self },
            _ => self,
        }
    }
}
