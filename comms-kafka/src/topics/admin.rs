//! The clients of [`provision`](super::provision): one creates topics, the other one reads metadata and learns why the
//! cluster cannot be reached. The first never does: rdkafka does not serve the error events of an admin client.

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

use super::REQUEST;
use crate::error::classify;
use comms_core::{Error, ErrorKind};

/// More events than come in the few attempts of a usual time limit.
const EVENTS: usize = 1_000;

pub(super) struct Clients {
    admin: AdminClient<DefaultClientContext>,
    looker: BaseProducer<LastFailure>,
}

impl Clients {
    pub(super) fn new(settings: &ClientConfig) -> Result<Self, Error> {
        let admin = settings.create().map_err(classify)?;
        let looker = BaseProducer::from_config_and_context(settings, LastFailure::default());
        Ok(Self { admin, looker: looker.map_err(classify)? })
    }

    pub(super) async fn create(&self, topics: &[NewTopic<'_>]) -> Result<Vec<TopicResult>, Error> {
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        self.admin.create_topics(topics, &options).await.map_err(classify)
    }

    /// Blocks, for at most one request.
    pub(super) fn metadata(&self, topic: &str) -> Result<Metadata, Error> {
        self.looker.client().fetch_metadata(Some(topic), REQUEST).map_err(classify)
    }

    /// `error` with the last failure of a connection, if the cluster could not be reached.
    pub(super) fn explain(&self, error: Error) -> Error {
        // Each call serves one of the events that have come, and does not block.
        (0..EVENTS).for_each(|_| self.looker.poll(Duration::ZERO));
        let failure = self.looker.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
        explained(error, failure)
    }
}

/// A time-out names no reason. The code of `failure` decides whether an operator must repair it.
fn explained(mut error: Error, failure: Option<(KafkaError, String)>) -> Error {
    let unreachable = matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Indeterminate);
    let Some((failure, reason)) = failure.filter(|_| unreachable) else { return error };
    if classify(failure).kind == ErrorKind::Misconfigured {
        error.kind = ErrorKind::Misconfigured;
    }
    error.context(reason)
}

/// The last failure of a connection, with its text.
#[derive(Default)]
struct LastFailure(Mutex<Option<(KafkaError, String)>>);

impl ClientContext for LastFailure {
    /// The error events say the same, and end in the error of `provision`.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(facility, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Follows the failure of each broker, and names no reason.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((error, reason.to_owned()));
        }
    }
}

impl ProducerContext for LastFailure {
    type DeliveryOpaque = ();

    /// Nothing is produced.
    fn delivery(&self, _: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {}
}

/// Clients whose drop blocks, and so happens on a thread of its own.
pub(super) struct Closing(Option<Arc<Clients>>);

impl Closing {
    pub(super) fn of(clients: Clients) -> (Self, Arc<Clients>) {
        let clients = Arc::new(clients);
        (Self(Some(clients.clone())), clients)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let clients = self.0.take();
        // Without a thread the clients are dropped here.
        let _ = std::thread::Builder::new().name("kafka-admin-close".to_owned()).spawn(move || drop(clients));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as Code;

    #[test]
    fn a_time_out_is_explained_by_the_last_failure_and_classified_by_its_code() {
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
