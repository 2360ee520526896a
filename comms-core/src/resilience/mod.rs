//! Guards for calls to a peer, the called service, that is slow, down, or overloaded.
//!
//! A [`Policy`] runs a call through several guards in a fixed order. A [`PolicyConfig`] contains the settings of the
//! guards and can be replaced while calls are in flight. Each guard can also be used without a policy.
//!
//! | guard | effect |
//! |---|---|
//! | deadline | ends or rejects a call whose caller no longer waits |
//! | [`RetryConfig`] with [`Backoff`], [`RetryBudget`] | retries a failed attempt if that is safe and within budget |
//! | [`Breaker`] | rejects calls while the peer fails |
//! | [`Bulkhead`] | rejects or queues calls beyond a number of calls in flight |
//! | `RateLimiter`, `KeyedRateLimiter` | reject calls beyond a rate (feature `rate-limit`) |
//! | [`Shedder`] | sheds requests by priority beyond a fixed or adaptive number in flight |
//! | [`OutlierDetector`] | takes a host that fails more than the others out of rotation for a time |
//! | [`Hedge`] | sends a second attempt of an idempotent call that takes long |
//! | [`FallbackLayer`] | replaces an error by a substitute response |
//!
//! All guards classify failures by [`ErrorKind`](crate::ErrorKind). A guard refuses a call with a [`Rejection`], which
//! names the guard and the wait until the guard can permit a call. A refused call resolves at its first poll, unless
//! [`BulkheadConfig::max_wait`] lets it wait for a permit. A rejection allocates nothing.
//!
//! The name of a guard or policy is a label of metrics and is never freed, so use a bounded set of names.

mod backoff;
mod breaker;
mod budget;
mod bulkhead;
mod classify;
mod config;
mod fallback;
mod hedge;
mod name;
mod outlier;
mod policy;
#[cfg(feature = "rate-limit")]
mod rate_limit;
mod retry;
mod shed;

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
pub use hedge::{Hedge, HedgeCall, HedgeConfig, HedgeDelay, HedgeLayer, HedgeService, HedgeSnapshot};
pub use outlier::{
    EjectionReason, FailurePercentageConfig, HostSnapshot, OutlierChange, OutlierConfig, OutlierDetector,
    OutlierHost, SuccessRateConfig,
};
pub use policy::{
    Call, Policy, PolicyBuilder, PolicyConfig, PolicyLayer, PolicyOverrides, PolicyService, PolicySnapshot,
};
#[cfg(feature = "rate-limit")]
pub use rate_limit::{
    KeyedRateLimiter, RateLimit, RateLimitCall, RateLimitConfig, RateLimitKey, RateLimitLayer, RateLimiter,
};
pub use retry::RetryConfig;
pub use shed::{
    AdaptiveLimitConfig, InFlight, Shed, ShedCall, ShedConfig, ShedLayer, ShedLimit, ShedPermit,
    ShedSnapshot, Shedder,
};
