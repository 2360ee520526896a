//! Idempotent requests: the reply of the first request is stored, and a repetition gets that reply.
//!
//! A caller that did not receive the reply to a request cannot determine whether the request took effect, so the caller
//! repeats the request. The repetition must not have a second effect. The caller gives each request a key (the header
//! `Idempotency-Key`, IETF draft-ietf-httpapi-idempotency-key-header) and sends the same key with each repetition.
//!
//! The guarantee depends on where the reply is stored:
//!
//! * **In the transaction of the effect**: [`Replies`] and [`reply_once`]. Use them if the effect consists of rows in
//!   one database. The effect and the reply commit together, so the request takes effect once. There is no lease that
//!   could expire.
//! * **Under a lease**: [`IdempotencyStore`] and [`run_once`]. Use them for effects outside a transaction: a call, a
//!   mail, a charge at a provider. At most one request of a key runs while its lease lasts. After a crash, or after a
//!   lease that was too short, the request may run *again*.
//!
//! Both compare a fingerprint of the request, so a key that is used for two different requests is refused. [`CallKey`]
//! scopes the keys by principal (the authenticated caller) and operation; without the scope one user could get another
//! user's reply.

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
