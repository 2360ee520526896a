//! The publisher: an idempotent producer behind [`Publisher`].
//!
//! **Problem.** A relay hands messages over in an order and must know of each what became of it, through
//! broker restarts that last longer than any client's patience.
//!
//! **Promise.** Hand-over is synchronous: the order in which [`Publisher::enqueue`] takes messages is the
//! order in the partition. A message is acknowledged when all in-sync replicas have it. Nothing is given up
//! locally: while the cluster is away messages wait, in order, within the bound. What the client retries
//! it neither duplicates nor reorders.
//!
//! **What breaks it.** A *permanent* refusal by the broker (`Invalid`: larger than the topic allows, not
//! authorised): later messages of that key may already stand before a corrected one. The death of the process
//! with messages on the way: whether they arrived is not known, and who sends them again makes duplicates
//! with the same `ce_id`. `Fatal`: the broker lost track of the producer's sequence; this producer is
//! finished, a new one begins afresh.

mod acks;
mod reports;
mod room;

use async_trait::async_trait;
use futures::FutureExt;
use rdkafka::{
    config::FromClientConfigAndContext,
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, Producer},
    types::RDKafkaErrorCode,
};
use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use self::{
    acks::Batch,
    reports::Reports,
    room::{Bound, Room},
};
use crate::{KafkaConfig, error::classify, record};
use comms_core::{Acks, Clock, Error, Message, Publisher, wire};

/// Settings that the pass-through may replace.
const DEFAULTS: &[(&str, &str)] = &[
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    // The partition that Java's clients choose for the same key.
    ("partitioner", "murmur2_random"),
];
const PROMISES: &[(&str, &str)] =
    &[("enable.idempotence", "true"), ("acks", "all"), ("message.timeout.ms", "0")];

const RECORDS: u64 = 100_000;
const KILOBYTES: u64 = 64 * 1024;
const MESSAGE_BYTES: u64 = 1_000_000;
/// Room for the headers of a dead letter, so that a record of the greatest size can become one. Together
/// with [`MESSAGE_BYTES`] it stays below what brokers take by default (1,048,588).
const DEAD_LETTER_HEADERS: usize = 16 * 1024;
/// How long [`Publisher::flush`] waits by default.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// A [`Publisher`] to Kafka. Share it by `Arc`; one per process and cluster is the usual number.
///
/// Bounds, by the pass-through: `queue.buffering.max.messages` (default 100,000 messages on their way),
/// `queue.buffering.max.kbytes` (64 MiB), `message.max.bytes` (1,000,000 for one message with its headers).
/// Others of interest: `linger.ms` (5), `compression.type` (lz4).
///
/// ```
/// use comms_core::{Clock, Publisher};
/// use comms_kafka::{KafkaConfig, KafkaPublisher};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), comms_core::Error> {
/// let publisher = KafkaPublisher::new(&KafkaConfig::new("localhost:9092"), Clock::system())?;
/// publisher.ready().await?; // there is room: also while the broker is away
/// # Ok(()) }
/// ```
pub struct KafkaPublisher {
    producer: Arc<BaseProducer<Reports>>,
    message_limit: usize,
    flush_limit: Duration,
    clock: Clock,
}

impl KafkaPublisher {
    /// A publisher to the cluster of `config`. It connects in the background; `clock` stamps the records.
    ///
    /// # Errors
    /// `Invalid` for settings that are refused, unknown or impossible.
    pub fn new(config: &KafkaConfig, clock: Clock) -> Result<Self, Error> {
        let number = |key, default| config.number(key).map(|value| value.unwrap_or(default));
        let records = number("queue.buffering.max.messages", RECORDS)?.max(1);
        let kilobytes = number("queue.buffering.max.kbytes", KILOBYTES)?.max(1);
        let message_limit = usize_of(number("message.max.bytes", MESSAGE_BYTES)?);
        let bound = Bound { records: usize_of(records), bytes: usize_of(kilobytes * 1024) };

        // The bound is kept here. The client counts a message until after its report, hence the double.
        let mut settings = config.client(DEFAULTS, PROMISES)?;
        settings.set("queue.buffering.max.messages", (2 * records).to_string());
        settings.set("queue.buffering.max.kbytes", (2 * kilobytes + MESSAGE_BYTES / 512).to_string());
        settings.set("message.max.bytes", (message_limit + DEAD_LETTER_HEADERS).to_string());

        let producer = BaseProducer::from_config_and_context(&settings, Reports::new(bound));
        let producer = Arc::new(producer.map_err(classify)?);
        reports::serve(producer.clone())?;
        Ok(Self { producer, message_limit, flush_limit: FLUSH_LIMIT, clock })
    }

    /// The same publisher with another limit for [`Publisher::flush`] (30 s by default).
    #[must_use]
    pub fn with_flush_limit(self, flush_limit: Duration) -> Self {
        Self { flush_limit, ..self }
    }

    fn reports(&self) -> &Arc<Reports> {
        self.producer.context()
    }

    fn fatal(&self) -> Option<Error> {
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(Error::fatal(KafkaError::MessageProduction(code)).context(reason))
    }

    fn check(&self, message: &Message) -> Result<(), Error> {
        let dead_letter = message.headers.get(wire::DLQ_TOPIC).is_some();
        record::check(message, self.message_limit + if dead_letter { DEAD_LETTER_HEADERS } else { 0 })
    }

    /// Gives `message` to the client. `Ok(false)`: there is no room for it now.
    fn hand_over(&self, message: &Message, batch: &Arc<Batch>) -> Result<bool, Error> {
        self.check(message)?;
        let size = message.size();
        let room = &self.reports().room;
        if !room.take(size) {
            return Ok(false);
        }
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&message.destination, batch.slot(size))
            .headers(record::headers(message))
            .timestamp(self.clock.unix_millis());
        record.key = message.key.as_deref();
        record.payload = message.payload.as_deref();
        let Err((error, record)) = self.producer.send(record) else { return Ok(true) };
        record.delivery_opaque.withdraw();
        room.give(size);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Ok(false),
            _ => Err(self.fatal().unwrap_or_else(|| classify(error))),
        }
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    fn enqueue(&self, messages: &mut VecDeque<Message>) -> Acks {
        let (batch, complete) = Batch::new();
        while let Some(message) = messages.pop_front() {
            match self.hand_over(&message, &batch) {
                Ok(true) => {}
                Ok(false) => {
                    messages.push_front(message);
                    break;
                }
                Err(error) => batch.slot(0).answer(Err(error)),
            }
        }
        batch.seal();
        let closed = self.reports().closed.clone();
        async move {
            // Should the producer be gone, and with it the reports, there is still an end.
            tokio::select! {
                biased;
                _ = complete => {}
                () = closed.cancelled() => {}
            }
            batch.answers()
        }
        .boxed()
    }

    async fn ready(&self) -> Result<(), Error> {
        let look = |room: &Room| match self.fatal() {
            Some(error) => Some(Err(error)),
            None => room.has_room().then_some(Ok(())),
        };
        self.reports().room.until(look).await
    }

    /// Also waits for what others hand over meanwhile.
    async fn flush(&self) -> Result<(), Error> {
        let empty = self.reports().room.until(|room| room.is_empty().then_some(()));
        tokio::time::timeout(self.flush_limit, empty).await.map_err(|_| {
            Error::indeterminate(format!("messages are still on their way after {:?}", self.flush_limit))
        })
    }
}

impl fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaPublisher").field("room", &self.reports().room).finish_non_exhaustive()
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
