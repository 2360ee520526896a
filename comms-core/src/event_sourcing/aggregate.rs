//! The aggregate: pure decisions and pure changes of state.

use super::EventSet;
use crate::Error;

/// An entity whose state is the result of its events.
///
/// Both methods are pure: they read no clock, make no call and hold no connection, so that a test needs no runtime
/// (`comms_core::testing::aggregate`), and a replay gives the same state each time. Every input of a decision, such as
/// the time or a price, is part of the command.
///
/// `Default` is the state of a stream without events. The module [`event_sourcing`](super) has an example.
pub trait Aggregate: Default + Send + Sync + 'static {
    /// The name of the kind of entity, such as `account`: the topic of its events, and half of the name of a
    /// [`Stream`](super::Stream). It must not change.
    const CATEGORY: &'static str;
    /// A request to change the entity. A command that may be repeated, as by
    /// [`Repository::run`](super::Repository::run), implements `Clone`.
    type Command: Send;
    /// The events, usually an enum with a variant for each type.
    type Event: EventSet;

    /// Returns the events that `command` causes in this state, which may be none.
    ///
    /// # Errors
    /// Returns an error if the command is refused. The sender of the command gets the error with its kind: usually
    /// [`Invalid`](crate::ErrorKind::Invalid), or [`NotFound`](crate::ErrorKind::NotFound) for an entity that does not
    /// exist.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Error>;

    /// Changes the state by an event that has happened. It cannot fail, because the event is stored.
    fn evolve(&mut self, event: &Self::Event);
}
