//! Divides the memory for prefetched records among the partitions.
//!
//! Once a partition has a queue of its own, librdkafka applies `queued.max.messages.kbytes` to each partition, and the
//! setting cannot be changed while the client runs. So the number of partitions is read before the client is created.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext},
};

use super::{control::Control, health::ConsumerHealth};
use crate::{client, error::classify};
use comms_core::{
    Error,
    health::{Heartbeat, State},
};

/// The setting that bounds the prefetched records of one partition.
pub(super) const SETTING: &str = "queued.max.messages.kbytes";
/// The smallest bound for one partition, KiB.
const LEAST: usize = 1024;
/// The time limit of one request for metadata.
const REQUEST: Duration = Duration::from_secs(1);

/// Returns the value of [`SETTING`] for `partitions` partitions that share `bytes`.
pub(super) fn share(bytes: usize, partitions: usize) -> usize {
    (bytes / 1024 / partitions.max(1)).max(LEAST)
}

/// Returns the number of partitions of all `topics`. Blocks until the cluster is reachable; then a topic that does not
/// exist counts as one partition. `None` if the consumer is stopped first.
pub(super) fn partitions(
    settings: &ClientConfig,
    group: &str,
    topics: &[&str],
    health: &Arc<ConsumerHealth>,
    control: &Control,
    heartbeat: Option<&Heartbeat>,
) -> Result<Option<usize>, Error> {
    let context = Reports(health.clone());
    let client: BaseProducer<Reports> =
        BaseProducer::from_config_and_context(settings, context).map_err(classify)?;
    let mut total = 0;
    for topic in topics {
        let metadata = loop {
            if control.stopping.is_cancelled() {
                return Ok(None);
            }
            if let Some(heartbeat) = heartbeat {
                heartbeat.beat();
            }
            let metadata = client.client().fetch_metadata(Some(topic), REQUEST);
            // Serves the errors of connections.
            client.poll(Duration::ZERO);
            match metadata {
                Ok(metadata) => break metadata,
                Err(error) => {
                    tracing::debug!(%error, topic, "the metadata is not available yet");
                    health.set_membership(State::unready(format!("group {group}: no metadata yet, {error}")));
                    health.report_error(&error);
                }
            }
        };
        total += metadata.topics().iter().map(|topic| topic.partitions().len().max(1)).sum::<usize>();
    }
    Ok(Some(total))
}

/// Reports the errors of connections to the health component.
struct Reports(Arc<ConsumerHealth>);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::error(&error, reason);
        self.0.report_error(&error);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    /// Never called: this client produces no records.
    fn delivery(&self, _: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_share_the_memory_and_have_at_least_a_mebibyte() {
        let mebibytes = |n: usize| n * 1024 * 1024;
        assert_eq!(share(mebibytes(48), 6), 8 * 1024);
        assert_eq!(share(mebibytes(48), 100), 1024);
        assert_eq!(share(mebibytes(48), 0), 48 * 1024);
    }
}
