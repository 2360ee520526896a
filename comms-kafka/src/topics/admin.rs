//! The two clients of [`provision`](super::provision): an admin client creates topics, and a producer reads metadata
//! and receives the reason why the cluster is unreachable. rdkafka does not serve the error events of an admin client.

use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicResult},
    client::DefaultClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    metadata::Metadata,
    producer::{BaseProducer, DeliveryResult, Producer, ProducerContext},
    types::RDKafkaErrorCode,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::error::classify;
use comms_core::{Error, ErrorKind};

/// The time limit of one request to the cluster.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The events to serve before the last failure is read: more than arrive in the attempts of one call of `provision`.
const MAX_EVENTS: usize = 1_000;

pub(super) struct Clients {
    admin: AdminClient<DefaultClientContext>,
    metadata: BaseProducer<LastFailure>,
}

impl Clients {
    pub(super) fn new(settings: &ClientConfig) -> Result<Self, Error> {
        let admin = settings.create().map_err(classify)?;
        let metadata = BaseProducer::from_config_and_context(settings, LastFailure::default());
        Ok(Self { admin, metadata: metadata.map_err(classify)? })
    }

    /// Requests the creation of `topics`, and returns the result for each topic.
    pub(super) async fn create(&self, topics: &[NewTopic<'_>]) -> Result<Vec<TopicResult>, Error> {
        let timeout = Some(REQUEST_TIMEOUT);
        let options = AdminOptions::new().request_timeout(timeout).operation_timeout(timeout);
        self.admin.create_topics(topics, &options).await.map_err(classify)
    }

    /// Reads the metadata of `topic`. Blocks for at most [`REQUEST_TIMEOUT`].
    pub(super) fn metadata(&self, topic: &str) -> Result<Metadata, Error> {
        self.metadata.client().fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(classify)
    }

    /// Adds the last failure of a connection to `error` if the cluster was unreachable.
    pub(super) fn explain(&self, error: Error) -> Error {
        // Each poll serves one event that has arrived, and does not block.
        (0..MAX_EVENTS).for_each(|_| self.metadata.poll(Duration::ZERO));
        let failure = self.metadata.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
        explained(error, failure)
    }
}

/// Adds `failure` to an error that has no reason, such as a timeout. The code of `failure` decides whether the error is
/// `Misconfigured`.
fn explained(mut error: Error, failure: Option<(KafkaError, String)>) -> Error {
    let unreachable = matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Indeterminate);
    let Some((failure, reason)) = failure.filter(|_| unreachable) else { return error };
    if classify(failure).kind == ErrorKind::Misconfigured {
        error.kind = ErrorKind::Misconfigured;
    }
    error.context(reason)
}

/// The context of the metadata client. It stores the last failure of a connection, with its text.
#[derive(Default)]
struct LastFailure(Mutex<Option<(KafkaError, String)>>);

impl ClientContext for LastFailure {
    /// Logs at debug level: the error of `provision` contains the same failure.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(facility, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // AllBrokersDown follows the failures of the brokers, and has no reason.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((error, reason.to_owned()));
        }
    }
}

impl ProducerContext for LastFailure {
    type DeliveryOpaque = ();

    /// Never called: this client produces no records.
    fn delivery(&self, _: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {}
}

/// The owner of [`Clients`] that drops them on another thread, because the drop blocks.
pub(super) struct Closing(Option<Arc<Clients>>);

impl Closing {
    pub(super) fn new(clients: Clients) -> (Self, Arc<Clients>) {
        let clients = Arc::new(clients);
        (Self(Some(clients.clone())), clients)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let clients = self.0.take();
        // If the thread cannot be started, the closure is dropped here, and the clients with it.
        let _ = std::thread::Builder::new().name("kafka-admin-close".to_owned()).spawn(move || drop(clients));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as Code;

    #[test]
    fn a_timeout_gets_the_last_connection_failure_and_the_kind_of_its_code() {
        let kind = |error, code| {
            let error = explained(error, Some((KafkaError::Global(code), "why".to_owned())));
            (error.kind, error.chain().to_string().contains("why"))
        };
        let late = || Error::indeterminate("late");
        assert_eq!(kind(late(), Code::BrokerTransportFailure), (ErrorKind::Indeterminate, true));
        assert_eq!(kind(late(), Code::Resolve), (ErrorKind::Indeterminate, true));
        assert_eq!(kind(late(), Code::Authentication), (ErrorKind::Misconfigured, true));
        assert_eq!(kind(late(), Code::SSL), (ErrorKind::Misconfigured, true));
        let refused = Error::misconfigured("refused");
        assert_eq!(kind(refused, Code::BrokerTransportFailure), (ErrorKind::Misconfigured, false));
    }
}
