//! Idempotent requests: the reply of the first request is stored, and a repetition gets that reply.
//!
//! A caller that lost the answer to a request cannot know whether the request took effect, so it repeats the request. The
//! repetition must not have a second effect. The caller gives each request a key (the header `Idempotency-Key`, IETF
//! draft-ietf-httpapi-idempotency-key-header) and sends the same key with each repetition.
//!
//! There are two guarantees, by the place of the stored reply:
//!
//! * **In the caller's transaction**: [`Replies`] and [`reply_once`]. The effect and the reply commit together, so the
//!   request takes effect once, and no lease can expire. For every effect that is rows in one database.
//! * **Under a lease**: [`IdempotencyStore`] and [`run_once`]. For effects outside a transaction: a call, a mail, a charge at
//!   a provider. One request of a key runs at a time while its lease lasts. After a crash, or after a lease that was too
//!   short, the request may run *again*.
//!
//! Both compare a fingerprint of the request, so a key that is used for two different requests is refused. [`CallKey`]
//! scopes the keys by principal and operation; without the scope one user could get another user's reply.

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
