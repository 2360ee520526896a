//! The service config of a channel.

use comms_core::Error;

use super::ChannelBuilder;
use crate::client::service_config::{BalanceChoice, ServiceConfig};

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
    /// | `retryThrottling` | replaces the retry budget of the policy, see [`RetryBudget::throttle`](comms_core::resilience::RetryBudget::throttle) |
    /// | `loadBalancingConfig` | the first of `round_robin`, `least_request_experimental` ([`Balance::LeastLoaded`](crate::Balance::LeastLoaded)), and, for one endpoint, `pick_first`. [`balance`](Self::balance) has precedence |
    ///
    /// Fields that are not known are ignored, and names that the list of load balancing policies has and the channel does
    /// not support are skipped. A known field with a wrong value is an error. `hedgingPolicy` and the `serviceName` of
    /// `healthCheckConfig` are refused.
    ///
    /// # Retries
    /// The [`policy`](Self::policy) of the channel stays in charge: the calls of all methods share its breaker, bulkhead,
    /// rate limit and retry budget. An entry without a `retryPolicy` keeps the retries of the policy. A channel
    /// [`without_policy`](Self::without_policy), or with a policy whose retries are off, does not retry (gRFC A6, disabling
    /// retries). The policy of [`method_policy`](Self::method_policy) replaces the `retryPolicy` of its method, and
    /// `retryThrottling`.
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

    /// Reads the service config, and returns it with the choice of endpoints of a channel with one or `several`.
    pub(super) fn read_service_config(&self, several: bool) -> Result<(ServiceConfig, BalanceChoice), Error> {
        let json = self.service_config.as_deref().unwrap_or("{}");
        let config = ServiceConfig::parse(json)?;
        let balance = BalanceChoice::new(self.balance, &config.balancing, several)?;
        Ok((config, balance))
    }
}
