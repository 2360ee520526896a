//! Commands: requests to change state, executed through layers around a function with a transaction.
//!
//! # The problem
//! Each command needs the same steps: is the caller allowed to send it, are its fields valid, was it executed before, and
//! what happens if it loses against another command. Written in each handler, one step is forgotten, or runs in the wrong
//! order: after the effect, or outside of the transaction.
//!
//! # The promise
//! A command is data, and its service is a [`tower_service::Service`] of a [`CommandRequest`]. Each layer works alone, and
//! around any such service. The order, from the outside in:
//!
//! | layer | effect | error |
//! |---|---|---|
//! | [`authorize`] | a rule of the caller and the command | `Unauthenticated`, `PermissionDenied` |
//! | [`validate`] | rules of the command's fields | `Invalid` with [`FieldErrors`] |
//! | [`retry_conflicts`] | another attempt after a lost race, within the deadline; metrics by command and outcome | `Conflict` after the last attempt |
//! | `CommandFn::idempotent` (feature `fingerprint`) | the reply of the first request of a key, stored with the effect | `Invalid` without a key |
//! | [`command_fn`] | the function, in one transaction | those of the function |
//!
//! - A command that the caller may not execute, or that is not valid, opens no transaction and changes nothing.
//! - The effect of a key and its reply commit together. A key belongs to one caller and one operation. The reply of a
//!   repetition is that of the first request.
//! - Each attempt opens a new transaction and calls the function again, so that no attempt decides on state that an
//!   earlier one has read.
//! - A command whose commit has an unknown result ([`Indeterminate`](crate::ErrorKind::Indeterminate)) is not executed
//!   again. The client repeats it with its key.
//!
//! The promise does not cover effects outside of the transaction. Use [`run_once`](crate::idempotency::run_once) for
//! those, or write a message to the outbox. Queries need no layer: a query reads the tables of a projection.
//!
//! ```
//! # #[cfg(not(all(feature = "testing", feature = "fingerprint")))] fn main() {}
//! # #[cfg(all(feature = "testing", feature = "fingerprint"))]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), comms_core::Error> {
//! use comms_core::{Error, ErrorKind, Scoped, clock::Clock, event_sourcing::AuthType, testing::{MemoryTx, MemoryUnit}};
//! use comms_core::command::{Caller, CommandRequest, FieldErrors, authorize, command_fn, retry_conflicts, validate};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! #[derive(Clone, serde::Serialize)]
//! struct Rename { user: String, name: String }
//!
//! async fn rename(request: CommandRequest<Rename>, mut tx: Scoped<MemoryTx>) -> Result<String, Error> {
//!     tx.write(&request.command.user, request.command.name.clone()).await?;
//!     Ok(request.command.name)
//! }
//!
//! let unit = MemoryUnit::new();
//! let renames = ServiceBuilder::new()
//!     .layer(authorize(|caller: &Caller, command: &Rename| *caller.id == *command.user || caller.has_scope("admin")))
//!     .layer(validate(|command: &Rename, errors: &mut FieldErrors| {
//!         errors.require(!command.name.is_empty(), "/name", "must not be empty");
//!     }))
//!     .layer(retry_conflicts("rename", &Clock::system()))
//!     .service(command_fn(unit.clone(), rename).idempotent("rename"));
//!
//! let send = |caller: &str, name: &str| {
//!     let command = Rename { user: "ann".into(), name: name.into() };
//!     let request = CommandRequest::new(Caller::new(AuthType::AppUser, caller), command);
//!     renames.clone().oneshot(request.with_idempotency_key("k-1").expect("a valid key"))
//! };
//! assert_eq!(send("ann", "Anna").await?, "Anna");
//! assert_eq!(send("ann", "Anna").await?, "Anna"); // `rename` does not run
//! assert_eq!(send("ann", "").await.unwrap_err().kind, ErrorKind::Invalid);
//! assert_eq!(send("bob", "Bob").await.unwrap_err().kind, ErrorKind::PermissionDenied);
//! # Ok(()) }
//! ```

mod caller;
mod check;
mod conflict;
mod handler;
#[cfg(feature = "fingerprint")]
mod idempotent;
mod request;

pub use crate::error::{FieldError, FieldErrors};
pub use caller::Caller;
pub use check::{Check, CheckCall, CheckLayer, authorize, validate};
pub use conflict::{ConflictsOnly, retry_conflicts};
pub use handler::{CommandFn, CommandFuture, command_fn};
#[cfg(feature = "fingerprint")]
pub use idempotent::IdempotentCommandFn;
pub use request::CommandRequest;

#[cfg(test)]
mod tests;
