//! Assertions about an aggregate without a store: given some events, when a command is decided, then these events
//! follow.
//!
//! The events are encoded and decoded as a store does, so a variant that [`EventSet::decode`] forgets fails the test.
//!
//! ```
//! use comms_core::testing::aggregate::given;
//! # use comms_core::{Error, ErrorKind, Message, event::{Event, EventSource}};
//! # use comms_core::event_sourcing::{Aggregate, EventSet, one_of};
//! # #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)] struct Opened {}
//! # impl Event for Opened {
//! #     const TYPE: &'static str = "opened"; const VERSION: u32 = 1; fn key(&self) -> String { String::new() }
//! # }
//! # impl EventSet for Opened {
//! #     fn message(&self, source: &EventSource) -> Result<Message, Error> { source.message(self) }
//! #     fn decode(message: &Message) -> Result<Self, Error> { one_of(message).event(|event: Self| event).decode() }
//! # }
//! # #[derive(Default)] struct Account { open: bool }
//! # struct Open;
//! # impl Aggregate for Account {
//! #     const CATEGORY: &'static str = "account"; type Command = Open; type Event = Opened;
//! #     fn decide(&self, _: Open) -> Result<Vec<Opened>, Error> {
//! #         if self.open { Err(Error::invalid("open already")) } else { Ok(vec![Opened {}]) }
//! #     }
//! #     fn evolve(&mut self, _: &Opened) { self.open = true; }
//! # }
//! given::<Account>([]).when(Open).then(&[Opened {}]);
//! given::<Account>([Opened {}]).when(Open).then_error(ErrorKind::Invalid);
//! ```

use std::{fmt::Debug, time::Duration};

use super::harness::fail::fail;
use crate::{
    Error, ErrorKind,
    clock::Clock,
    event::EventSource,
    event_sourcing::{Aggregate, EventSet, Stream},
};

/// An aggregate with the events of its past, made by [`given`].
#[derive(Debug)]
#[must_use = "call `when`"]
pub struct Given<A>(A);

/// The events or the error of a command, for the assertions.
#[derive(Debug)]
#[must_use = "call `then` or `then_error`"]
pub struct Then<A: Aggregate> {
    state: A,
    result: Result<Vec<A::Event>, Error>,
}

/// Returns an aggregate of which `events` have happened.
///
/// # Panics
/// Panics if an event does not encode and decode.
#[track_caller]
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::default();
    for event in events {
        state.evolve(&stored::<A>(&event));
    }
    Given(state)
}

impl<A: Aggregate> Given<A> {
    /// Lets the aggregate decide about `command`.
    pub fn when(self, command: A::Command) -> Then<A> {
        Then { result: self.0.decide(command), state: self.0 }
    }
}

impl<A: Aggregate> Then<A> {
    /// Asserts that the command caused the events `expected`. Returns the state after them, for further assertions.
    ///
    /// # Panics
    /// Panics with both lists if the events differ, with the error if the command was refused, and if an event does not
    /// encode and decode.
    #[track_caller]
    pub fn then(self, expected: &[A::Event]) -> A
    where
        A::Event: Debug + PartialEq,
    {
        let Self { mut state, result } = self;
        let events = match result {
            Ok(events) => events,
            Err(error) => fail(&format!("the command was refused: {}", error.chain())),
        };
        let stored: Vec<_> = events.iter().map(stored::<A>).collect();
        if stored != expected {
            fail(&format!("the events differ:\n{}", difference(&stored, expected)));
        }
        stored.iter().for_each(|event| state.evolve(event));
        state
    }

    /// Asserts that the command was refused with `kind`. Returns the error, for an assertion about its text.
    ///
    /// # Panics
    /// Panics if the command was not refused, or with another kind.
    #[track_caller]
    pub fn then_error(self, kind: ErrorKind) -> Error
    where
        A::Event: Debug,
    {
        match self.result {
            Ok(events) => fail(&format!("the command was not refused, it caused {events:#?}")),
            Err(error) if error.kind == kind => error,
            Err(error) => fail(&format!("the kind of the error is not {kind}: {}", error.chain())),
        }
    }
}

/// Returns the event as a store would return it.
#[track_caller]
fn stored<A: Aggregate>(event: &A::Event) -> A::Event {
    let source = EventSource::new("test", Clock::manual(Duration::ZERO));
    let message = event.message(&source).map(|message| Stream::new(A::CATEGORY, "1").event(&message));
    match message.and_then(|message| A::Event::decode(&message)) {
        Ok(event) => event,
        Err(error) => fail(&format!("an event does not encode and decode: {}", error.chain())),
    }
}

/// Returns the events one below the other: `=` equal, `-` expected, `+` caused.
fn difference<E: Debug + PartialEq>(caused: &[E], expected: &[E]) -> String {
    let mut lines = Vec::new();
    for n in 0..caused.len().max(expected.len()) {
        let (caused, expected) = (caused.get(n), expected.get(n));
        if caused == expected {
            lines.extend(caused.map(|event| format!("  = {event:?}")));
        } else {
            lines.extend(expected.map(|event| format!("  - {event:?}")));
            lines.extend(caused.map(|event| format!("  + {event:?}")));
        }
    }
    lines.join("\n")
}
