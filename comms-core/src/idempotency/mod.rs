//! Requests that may be sent again: the reply of the first is stored and replayed.
//!
//! The problem: a caller whose answer was lost does not know whether it happened, and asks again. The second
//! request must not have a second effect. The caller gives each request a key of its choice (the header
//! `Idempotency-Key`, IETF draft-ietf-httpapi-idempotency-key-header), and keeps it when it asks again.
//!
//! There are two promises, by where the memory is:
//!
//! * **In the caller's transaction**: [`Replies`] and [`reply_once`]. Effect and reply commit together: once in
//!   effect, and nothing is ever stuck. For every effect that is rows in one database.
//! * **Leased**: [`IdempotencyStore`] and [`run_once`]. For effects that no transaction holds: a call, a mail, a
//!   charge at a provider. At most one runs at a time while its lease runs; a crash, or a lease that was too
//!   short, lets it run *again*.
//!
//! What breaks them: one key for two requests (refused where the fingerprint differs), and keys that are not
//! scoped by principal and operation: then one user gets another's answer. [`CallKey`] scopes them.

mod admission;
mod key;
mod memory;
mod replies;
mod reply;
mod run;
mod store;

pub use crate::context::key::{KEY_LIMIT, is_key};
pub use admission::Admission;
pub use key::CallKey;
pub use memory::{MemoryLimits, MemoryStore};
pub use replies::{Replies, reply_once};
pub use reply::{REPLY_HEADERS, REPLY_LIMIT, Replied, StoredReply};
pub use run::run_once;
pub use store::{IdempotencyStore, LeaseOptions, LeaseToken};

#[cfg(test)]
mod tests;
