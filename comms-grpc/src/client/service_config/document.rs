//! The JSON of a service config. A field that is not listed is ignored (gRFC A21); `null` is the same as no field.

use comms_core::{
    Error,
    resilience::{Backoff, HedgeConfig, HedgeDelay, Jitter},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    errors::invalid,
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
pub(super) struct HedgingPolicy {
    max_attempts: Attempts,
    hedging_delay: ProtoDuration,
    non_fatal_status_codes: Option<Vec<StatusCode>>,
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
        let document = serde_path_to_error::deserialize(&mut text).map_err(|error| at("", error))?;
        text.end().map_err(|error| invalid("the document", &error.to_string()))?;
        Ok(document)
    }
}

/// Reads the `value` at `path`.
pub(super) fn read<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T, Error> {
    serde_path_to_error::deserialize(value).map_err(|error| at(path, error))
}

/// Returns the error of a value below `parent`, with its path.
fn at(parent: &str, error: serde_path_to_error::Error<serde_json::Error>) -> Error {
    let path = match (parent, error.path().to_string().as_str()) {
        ("", ".") => "the document".to_owned(),
        (parent, ".") => parent.to_owned(),
        ("", path) => path.to_owned(),
        (parent, path) => format!("{parent}.{path}"),
    };
    invalid(&path, &error.into_inner().to_string())
}

impl HedgingPolicy {
    pub(super) fn config(&self) -> HedgeConfig {
        let delay = HedgeDelay::Fixed(self.hedging_delay.0);
        HedgeConfig::default().delay(delay).max_attempts(self.max_attempts.0)
    }

    /// Returns the codes after which a call goes on. `None`: the kind of a failure decides.
    pub(super) fn non_fatal(&self) -> Option<StatusCodes> {
        self.non_fatal_status_codes.as_deref().map(StatusCodes::of)
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
