//! The two producers of a publisher: one that batches, and one that sends each message in a batch of its own.

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    error::KafkaError,
    producer::{BaseRecord, Producer as _},
    types::RDKafkaErrorCode,
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    capacity::Capacity,
    reports::{Producer, ReportHandler, Reports, serve},
    topic::{SendError, Sender, SentMessage, is_missing},
};
use crate::{error::classify, record};
use comms_core::{Error, Message, clock::Clock};

pub(super) struct Producers {
    /// The settings of the batching producer.
    pub(super) settings: ClientConfig,
    pub(super) batched: Arc<Producer>,
    /// Created when the first topic needs it.
    unbatched: Mutex<Option<Arc<Producer>>>,
    capacity: Arc<Capacity>,
    handler: Arc<dyn ReportHandler>,
    clock: Clock,
}

impl Producers {
    pub(super) fn new(
        settings: ClientConfig,
        capacity: Arc<Capacity>,
        handler: Arc<dyn ReportHandler>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let batched = start(&settings, &handler, "kafka-publisher")?;
        Ok(Self { settings, batched, unbatched: Mutex::default(), capacity, handler, clock })
    }

    /// Returns the producers that exist.
    pub(super) fn all(&self) -> Vec<Arc<Producer>> {
        [Some(self.batched.clone()), self.lock().clone()].into_iter().flatten().collect()
    }

    /// Returns the error after which a producer takes no message any more, if there is one.
    pub(super) fn fatal_error(&self) -> Option<Error> {
        self.all().iter().find_map(|producer| fatal_error(producer))
    }

    fn unbatched(&self) -> Result<Arc<Producer>, Error> {
        let mut unbatched = self.lock();
        if let Some(producer) = &*unbatched {
            return Ok(producer.clone());
        }
        let mut settings = self.settings.clone();
        settings.set("batch.num.messages", "1").set("linger.ms", "0");
        Ok(unbatched.insert(start(&settings, &self.handler, "kafka-unbatched")?).clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Producer>>> {
        self.unbatched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender for Producers {
    fn send(&self, message: &Message, sent: Box<SentMessage>) -> Result<(), (SendError, Box<SentMessage>)> {
        let producer = match sent.unbatched {
            false => self.batched.clone(),
            true => match self.unbatched() {
                Ok(producer) => producer,
                Err(error) => return Err((SendError::Refused(error), sent)),
            },
        };
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(message.topic(), sent)
            .headers(record::headers(message))
            .timestamp(self.clock.unix_millis());
        record.key = message.key();
        record.payload = message.payload();
        producer.send(record).map_err(|(error, record)| {
            let reason = match (error.rdkafka_error_code(), fatal_error(&producer)) {
                (_, Some(fatal)) => SendError::Refused(fatal),
                (Some(RDKafkaErrorCode::QueueFull), _) => SendError::QueueFull,
                (code, _) if is_missing(code) => SendError::TopicMissing(classify(error)),
                _ => SendError::Refused(classify(error)),
            };
            (reason, record.delivery_opaque)
        })
    }

    fn release(&self, size: usize) {
        self.capacity.release(size);
    }
}

impl fmt::Debug for Producers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producers").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

fn fatal_error(producer: &Producer) -> Option<Error> {
    let (code, reason) = producer.client().fatal_error()?;
    Some(Error::fatal(KafkaError::MessageProduction(code)).context(reason))
}

fn start(
    settings: &ClientConfig,
    handler: &Arc<dyn ReportHandler>,
    thread: &str,
) -> Result<Arc<Producer>, Error> {
    let producer = Producer::from_config_and_context(settings, Reports::new(handler.clone()));
    let producer = Arc::new(producer.map_err(classify)?);
    serve(producer.clone(), thread)?;
    Ok(producer)
}
