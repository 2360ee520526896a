//! The setting of hedged methods.

use comms_core::resilience::HedgeConfig;

use super::ChannelBuilder;

impl ChannelBuilder {
    /// Hedges the calls of the methods `paths`: sends another attempt while the attempts in flight take long, and returns
    /// the first response (gRFC A6). [`Hedge`](comms_core::resilience::Hedge) has the rules. Default none.
    ///
    /// A call is hedged if executing it twice is harmless ([`idempotent_methods`](Self::idempotent_methods), or an
    /// [idempotency key](crate::keyed)) and its request is one message of at most
    /// [`replay_limit`](Self::replay_limit) bytes. A hedged call is not retried. Any other call of the method has one
    /// attempt at a time, and the retries of the policy.
    ///
    /// - An attempt goes to an endpoint that no other attempt of the call was sent to, if one is usable. While an attempt
    ///   waits for a connection, no other one does.
    /// - Each attempt passes the breaker and the bulkhead of the policy and those of its endpoint, and counts for the rate
    ///   limit. The retry budget of the policy, or `retryThrottling` of a [service config](Self::service_config), pays for
    ///   each attempt after the first one.
    /// - The response headers of an attempt commit the call. The other attempts are cancelled (RST_STREAM with CANCEL),
    ///   and count for no breaker. An attempt on trial ([`outliers`](Self::outliers)) that a later attempt overtakes ejects its
    ///   endpoint again.
    /// - The header `grpc-previous-rpc-attempts` counts the attempts that were sent before.
    ///
    /// The duration of a call in the metrics of the policy is then that of an attempt.
    /// [`Channel::snapshot`](crate::Channel::snapshot) has the hedges and wins of each method.
    ///
    /// ```
    /// use comms_core::resilience::HedgeConfig;
    /// use comms_grpc::Channel;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), comms_core::Error> {
    /// let prices = "/shop.v1.Prices/Get";
    /// let channel = Channel::builder("http://127.0.0.1:50051")
    ///     .endpoints(["http://127.0.0.1:50052"])
    ///     .idempotent_methods([prices])
    ///     .hedge([prices], HedgeConfig::default())
    ///     .build()?;
    /// # drop(channel);
    /// # Ok(())
    /// # }
    /// ```
    pub fn hedge(mut self, paths: impl IntoIterator<Item = impl Into<String>>, config: HedgeConfig) -> Self {
        for path in paths {
            self.methods.entry(path.into()).or_default().hedge = Some(config.clone());
        }
        self
    }
}
