//! The JSON of a service config. A field that is not listed is ignored (gRFC A21); `null` is the same as no field.

use comms_core::{
    Error,
    resilience::{Backoff, Jitter},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    invalid,
    values::{
        Attempts, Multiplier, PositiveDuration, ProtoDuration, StatusCode, StatusCodes, TokenRatio, Tokens,
        UInt32,
    },
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) method_config: Option<Vec<MethodEntry>>,
    pub(super) retry_throttling: Option<Throttling>,
    pub(super) load_balancing_config: Option<Vec<Map<String, Value>>>,
    /// The older form of `loadBalancingConfig`.
    pub(super) load_balancing_policy: Option<String>,
    pub(super) health_check_config: Option<HealthCheck>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MethodEntry {
    pub(super) name: Option<Vec<Name>>,
    pub(super) wait_for_ready: Option<bool>,
    pub(super) timeout: Option<PositiveDuration>,
    pub(super) max_request_message_bytes: Option<UInt32>,
    pub(super) max_response_message_bytes: Option<UInt32>,
    pub(super) retry_policy: Option<RetryPolicy>,
    pub(super) hedging_policy: Option<HedgingPolicy>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Name {
    pub(super) service: Option<String>,
    pub(super) method: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RetryPolicy {
    pub(super) max_attempts: Attempts,
    pub(super) initial_backoff: PositiveDuration,
    pub(super) max_backoff: PositiveDuration,
    pub(super) backoff_multiplier: Multiplier,
    pub(super) retryable_status_codes: StatusCodes,
    pub(super) per_attempt_recv_timeout: Option<PositiveDuration>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the values are checked, and the policy is refused")]
pub(super) struct HedgingPolicy {
    pub(super) max_attempts: Attempts,
    pub(super) hedging_delay: Option<ProtoDuration>,
    pub(super) non_fatal_status_codes: Option<Vec<StatusCode>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Throttling {
    pub(super) max_tokens: Tokens,
    pub(super) token_ratio: TokenRatio,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HealthCheck {
    pub(super) service_name: Option<String>,
}

impl Document {
    pub(super) fn parse(json: &str) -> Result<Self, Error> {
        let mut text = serde_json::Deserializer::from_str(json);
        let document = serde_path_to_error::deserialize(&mut text).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { "the document".to_owned() } else { path };
            invalid(&path, &error.into_inner().to_string())
        })?;
        text.end().map_err(|error| invalid("the document", &error.to_string()))?;
        Ok(document)
    }
}

impl RetryPolicy {
    /// Returns the waits between attempts: +-20 % (gRFC A6).
    pub(super) fn backoff(&self) -> Result<Backoff, Error> {
        let cap = self.max_backoff.0;
        // A factor below 1 would shorten the waits of a peer that keeps failing.
        let multiplier = self.backoff_multiplier.0.max(1.0);
        Backoff::new(self.initial_backoff.0.min(cap), cap)?
            .with_multiplier(multiplier)?
            .with_jitter(Jitter::Ratio(0.2))
    }
}
