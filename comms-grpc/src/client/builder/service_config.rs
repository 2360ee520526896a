//! The service config of a channel.

use comms_core::Error;

use super::ChannelBuilder;
use crate::client::service_config::{Fixed, ServiceConfig};

impl ChannelBuilder {
    /// Sets the service config of gRPC: JSON with settings of the channel and of its methods, in the format of
    /// `service_config.proto`. Default `{}`. [`Channel::update_service_config`](crate::Channel::update_service_config)
    /// replaces it while the channel lives.
    ///
    /// An entry of `methodConfig` applies to the methods that it names: the entry of the method before that of its service,
    /// and that before the default, whose name is `{}`.
    ///
    /// | field | effect |
    /// |---|---|
    /// | `timeout` | the longest call, if it is shorter than [`timeout`](Self::timeout). Such a call counts as a failure of the peer |
    /// | `waitForReady` | as [`wait_for_ready`](Self::wait_for_ready), which has precedence |
    /// | `maxRequestMessageBytes` | a longer message is not sent: the call is RESOURCE_EXHAUSTED, and `Invalid` if nothing was sent |
    /// | `maxResponseMessageBytes` | a longer message ends the call as RESOURCE_EXHAUSTED. The limit of the generated client applies as well |
    /// | `retryPolicy` | attempts (at most 5), waits (±20 %), status codes and `perAttemptRecvTimeout` of the method, see below |
    /// | `retryThrottling` | replaces the retry budget of the policy, which pays for retries and hedges, see [`RetryBudget::throttle`](comms_core::resilience::RetryBudget::throttle) |
    /// | `hedgingPolicy` | as [`hedge`](Self::hedge), which has precedence. `nonFatalStatusCodes`: see below |
    /// | `loadBalancingConfig` | the first of `round_robin`, `least_request_experimental` ([`Balance::LeastLoaded`](crate::Balance::LeastLoaded)), `outlier_detection_experimental` around one of them, and, for one endpoint, `pick_first`. [`balance`](Self::balance) and [`outliers`](Self::outliers) have precedence |
    /// | `healthCheckConfig` | as [`health_check`](Self::health_check), which has precedence |
    ///
    /// Fields that are not known are ignored, and names that the list of load balancing policies has and the channel does
    /// not support are skipped. A known field with a wrong value is an error.
    ///
    /// # Retries
    /// The [`policy`](Self::policy) of the channel stays in charge: the calls of all methods share its breaker, bulkhead,
    /// rate limit and retry budget. An entry without a `retryPolicy` keeps the retries of the policy. A channel
    /// [`without_policy`](Self::without_policy), or with a policy whose retries are off, does not retry or hedge (gRFC A6, disabling
    /// retries). The policy of [`method_policy`](Self::method_policy) replaces the `retryPolicy` and the `hedgingPolicy` of its
    /// method, and `retryThrottling`.
    ///
    /// `retryableStatusCodes` does not make a call safe to repeat. A failure is retried if its code is listed, and
    /// - the call was provably not executed, or
    /// - executing it twice is harmless: it has an [idempotency key](crate::keyed), or its method is one of the
    ///   [`idempotent_methods`](Self::idempotent_methods).
    ///
    /// So list a method that may be executed twice in both places. A lost connection counts as UNAVAILABLE. A failure whose
    /// code is not listed is not retried, and the time limit of an attempt is retried without being listed. A
    /// `backoffMultiplier` below 1 counts as 1.
    ///
    /// # Hedges
    /// A failure whose code is in `nonFatalStatusCodes` lets the other attempts go on, and sends the next one at once. Any
    /// other failure ends the call, unless its attempt was provably not executed: such a failure leaves the attempts in
    /// flight, because one of them may have been executed. The list makes no call safe to repeat: only calls that may be
    /// executed twice are hedged. Without the list, the kind of a failure decides, as for [`hedge`](Self::hedge).
    ///
    /// ```
    /// use comms_grpc::Channel;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), comms_core::Error> {
    /// let json = r#"{
    ///     "methodConfig": [
    ///         { "name": [{}], "timeout": "2s" },
    ///         {
    ///             "name": [{ "service": "payment.v1.Payments", "method": "Get" }],
    ///             "timeout": "0.5s",
    ///             "retryPolicy": {
    ///                 "maxAttempts": 3,
    ///                 "initialBackoff": "0.02s",
    ///                 "maxBackoff": "0.2s",
    ///                 "backoffMultiplier": 2,
    ///                 "retryableStatusCodes": ["UNAVAILABLE"]
    ///             }
    ///         }
    ///     ],
    ///     "retryThrottling": { "maxTokens": 100, "tokenRatio": 0.1 }
    /// }"#;
    /// let channel = Channel::builder("http://127.0.0.1:50051")
    ///     .service_config(json)
    ///     .idempotent_methods(["/payment.v1.Payments/Get"])
    ///     .build()?;
    /// let error = channel.update_service_config(r#"{ "methodConfig": [{ "timeout": "soon" }] }"#).unwrap_err();
    /// assert!(error.chain().to_string().contains("methodConfig[0].timeout"), "{}", error.chain());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Sources: gRFC [A2](https://github.com/grpc/proposal/blob/master/A2-service-configs-in-dns.md),
    /// [A6](https://github.com/grpc/proposal/blob/master/A6-client-retries.md) and
    /// [A21](https://github.com/grpc/proposal/blob/master/A21-service-config-error-handling.md).
    pub fn service_config(mut self, json: impl Into<String>) -> Self {
        self.service_config = Some(json.into());
        self
    }

    /// Reads the service config, and makes its settings for the whole channel those of the builder, unless the code sets
    /// them. Returns the config, and what does not change while the channel lives.
    pub(super) fn read_service_config(&mut self, several: bool) -> Result<(ServiceConfig, Fixed), Error> {
        let config = ServiceConfig::parse(self.service_config.as_deref().unwrap_or("{}"))?;
        let fixed = Fixed::of(&config, several)?;
        self.balance.get_or_insert(fixed.choice.balance);
        if self.health_check.is_none() {
            self.health_check.clone_from(&fixed.health_check);
        }
        self.outliers = std::mem::take(&mut self.outliers).or(fixed.choice.outliers.clone());
        Ok((config, fixed))
    }
}
