//! Surviving a peer that is slow, away, or overloaded.
//!
//! A [`Policy`] puts the guards of a call together in the right order; it is described by a
//! [`PolicyConfig`], can be swapped while calls run, and shows and forces its state. Each guard is there alone,
//! too, as a pure state machine behind a shared handle:
//!
//! | guard | says no when |
//! |---|---|
//! | deadline | nobody waits for the answer any more |
//! | [`RetryConfig`] with [`Backoff`] and [`RetryBudget`] | (it asks again, where that is right and paid for) |
//! | [`Breaker`] | the peer has not answered lately |
//! | [`Bulkhead`] | calls of this kind take all their seats |
//! | `RateLimiter` | the key has used up its rate (feature `rate-limit`) |
//! | [`FallbackLayer`] | (it answers in place of an error) |
//!
//! All of them speak of failures in one vocabulary, [`ErrorKind`](crate::ErrorKind), and say no with a
//! [`Rejection`], which names the guard and the wait. A refusal is ready at once, but for a wait that was asked for, and
//! never allocates.

mod backoff;
mod breaker;
mod budget;
mod bulkhead;
mod classify;
mod config;
mod fallback;
mod name;
mod policy;
#[cfg(feature = "rate-limit")]
mod rate_limit;
mod retry;

pub use crate::error::{Guard, Rejection, Retry};
pub use backoff::{Backoff, Jitter};
pub use breaker::{
    Breaker, BreakerConfig, BreakerPermit, BreakerSnapshot, BreakerState, BreakerTransition, WindowConfig,
    WindowKind,
};
pub use budget::{RetryBudget, RetryBudgetConfig};
pub use bulkhead::{Bulkhead, BulkheadConfig, BulkheadPermit, BulkheadRegistry, BulkheadSnapshot};
pub use classify::{ByKind, Class, Classify};
pub use fallback::{Fallback, FallbackCall, FallbackLayer};
pub use policy::{Call, Policy, PolicyBuilder, PolicyConfig, PolicyLayer, PolicyService, PolicySnapshot};
#[cfg(feature = "rate-limit")]
pub use rate_limit::{
    KeyedRateLimiter, RateLimit, RateLimitCall, RateLimitConfig, RateLimitKey, RateLimitLayer, RateLimiter,
};
pub use retry::RetryConfig;
