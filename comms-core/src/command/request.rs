//! The request of a command service.

use std::sync::Arc;

use super::Caller;
use crate::{Error, context::Context};

/// A command, its caller, and an idempotency key.
///
/// Trace, correlation id and deadline are those of the current [`Context`], and are not repeated here. The key is part
/// of the request, because it belongs to one command: a handler that sends another command must not use it again.
///
/// ```
/// use comms_core::{command::{Caller, CommandRequest}, event_sourcing::AuthType};
/// struct Withdraw { cents: u64 }
/// let ann = Caller::new(AuthType::AppUser, "ann");
/// let request = CommandRequest::new(ann, Withdraw { cents: 500 }).with_idempotency_key("k-1")?;
/// assert_eq!(request.idempotency_key.as_deref(), Some("k-1"));
/// # assert_eq!(request.command.cents, 500);
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandRequest<C> {
    /// The principal that sends the command.
    pub caller: Caller,
    /// The command, as data.
    pub command: C,
    /// The key that the caller gives to this command, and sends again with each repetition. Default: none.
    pub idempotency_key: Option<Arc<str>>,
}

impl<C> CommandRequest<C> {
    /// Makes the request of `caller` to execute `command`, without an idempotency key.
    #[must_use]
    pub const fn new(caller: Caller, command: C) -> Self {
        Self { caller, command, idempotency_key: None }
    }

    /// Sets the idempotency key.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if `key` is not valid by
    /// [`is_key`](crate::idempotency::is_key).
    pub fn with_idempotency_key(self, key: &str) -> Result<Self, Error> {
        let context = Context::default().with_idempotency_key(key)?;
        Ok(self.with_key_of(&context))
    }

    /// Sets the idempotency key of `context`: that of the request that is being handled, for the command that this
    /// request sends. Without a key in `context` the command has none.
    #[must_use]
    pub fn with_key_of(self, context: &Context) -> Self {
        Self { idempotency_key: context.idempotency_key.clone(), ..self }
    }
}
