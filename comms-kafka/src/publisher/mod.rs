//! The publisher: an idempotent producer behind [`Publisher`].
//!
//! Before the first message to a topic is sent, the publisher reads the topic's `max.message.bytes`. Messages to the
//! topic wait meanwhile. If that limit is below `batch.size`, the topic's messages go through a second producer, with
//! one message in a batch. If the cluster describes the topic but does not return its settings within 0.5 s, the topic
//! gets full batches. If the limit is lowered later, or cannot be read, the first refused batch has the same effect:
//! the publisher purges the messages that are queued behind the batch, and sends all of them again in order.

mod acks;
mod capacity;
mod lookup;
mod pipeline;
mod producers;
mod registry;
mod reports;
mod topic;

use async_trait::async_trait;
use futures::FutureExt;
use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use self::{
    acks::PendingAcks,
    capacity::{Capacity, InFlight},
    pipeline::Pipeline,
    producers::Producers,
};
use crate::{KafkaConfig, record};
use comms_core::{Error, Message, Publisher, clock::Clock, transport::Acks, wire};

/// Settings that `KafkaConfig::librdkafka` may replace.
const DEFAULTS: &[(&str, &str)] = &[
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    // The time until every broker knows a new topic. A topic that is missing for longer is reported.
    ("topic.metadata.propagation.max.ms", "5000"),
    // Selects the same partition for a key as the Java client.
    ("partitioner", "murmur2_random"),
];
const GUARANTEES: &[(&str, &str)] =
    &[("enable.idempotence", "true"), ("acks", "all"), ("message.timeout.ms", "0")];

const MAX_RECORDS: u64 = 100_000;
const MAX_KILOBYTES: u64 = 64 * 1024;
const MAX_MESSAGE_BYTES: u64 = 1_000_000;
/// The client's default of `batch.size`.
const BATCH_BYTES: u64 = 1_000_000;
/// Space for the headers of a dead letter, so that a record of the largest size can become one. Together with
/// [`MAX_MESSAGE_BYTES`] it stays below the brokers' default limit (1,048,588).
const DEAD_LETTER_HEADERS: usize = 16 * 1024;
/// The default time limit of [`Publisher::flush`].
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// An idempotent [`Publisher`] to a Kafka cluster.
///
/// One publisher per process and cluster is usually enough. Share it in an `Arc`.
///
/// **Problem.** A relay publishes messages in order and needs the result of each one. A broker may be away for longer
/// than a client's message timeout, and it refuses a batch as a whole because of one record in it.
///
/// **Promise.**
/// - [`Publisher::enqueue`] fixes the order: a partition receives the messages in the order in which `enqueue` took
///   them.
/// - A message is acknowledged when all in-sync replicas have it.
/// - No message expires locally. While the cluster is away, messages wait in order, within the bounds below. At a
///   bound, `enqueue` leaves the remaining messages in the batch, and [`Publisher::ready`] resolves when there is
///   capacity.
/// - Retries by the client neither duplicate nor reorder messages.
/// - A fault of one topic fails the messages of that topic with
///   [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) and does not delay other topics. A missing
///   permission is reported at once, a missing topic after `topic.metadata.propagation.max.ms` (5 s).
/// - A message fails with [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if its topic name is not valid, if it
///   is larger than `message.max.bytes`, if a header name contains a null byte, or if the broker refuses it in a batch
///   of its own.
/// - Dropped acknowledgements abandon the messages of that `enqueue` call. When no caller holds acknowledgements any
///   more, the publisher drops the messages that are not on the wire yet.
///
/// **What breaks it.**
/// - After a final refusal by the broker (`Invalid`, `Misconfigured`), later messages of the key may already be in the
///   log.
/// - A batch on the wire may overtake a refused one if a topic's `max.message.bytes` is lowered below `batch.size`
///   while messages are in flight, or if this process may not read it (no `DescribeConfigs` permission).
/// - If the process dies with messages in flight, they may or may not be in the log. Publishing them again makes
///   duplicates with the same `ce_id`.
/// - After a [`Fatal`](comms_core::ErrorKind::Fatal) error the broker has lost the producer's sequence, and this
///   publisher takes no more messages.
///
/// **Settings** in [`KafkaConfig::librdkafka`], with their defaults:
///
/// | setting | default | meaning |
/// |---|---|---|
/// | `queue.buffering.max.messages` | 100,000 | messages in flight |
/// | `queue.buffering.max.kbytes` | 65,536 (64 MiB) | kibibytes in flight |
/// | `message.max.bytes` | 1,000,000 | size of one message with its headers, bytes |
/// | `linger.ms` | 5 | wait for a fuller batch, milliseconds |
/// | `compression.type` | `lz4` | compression of batches |
/// | `topic.metadata.propagation.max.ms` | 5,000 | time until messages to a missing topic fail, milliseconds |
///
/// ```
/// use comms_core::{Publisher, clock::Clock};
/// use comms_kafka::{KafkaConfig, KafkaPublisher};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), comms_core::Error> {
/// let publisher = KafkaPublisher::new(&KafkaConfig::new("localhost:9092"), Clock::system())?;
/// publisher.ready().await?; // resolves if the publisher has capacity, also while the broker is away
/// # Ok(()) }
/// ```
pub struct KafkaPublisher {
    pipeline: Arc<Pipeline>,
    producers: Arc<Producers>,
    max_message_bytes: usize,
    flush_limit: Duration,
    clock: Clock,
}

impl KafkaPublisher {
    /// Creates a publisher to the cluster of `config`. It connects in the background. `clock` gives the timestamps of
    /// the records, and measures the time limit of [`Publisher::flush`].
    ///
    /// # Errors
    /// - Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `config` has no valid list of brokers, or if
    ///   a setting is unknown, has an impossible value, or carries a guarantee of this crate.
    /// - Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if the settings do not work on this
    ///   machine, for example because a certificate cannot be read, or need a feature of this crate that this build
    ///   lacks.
    /// - Returns [`ErrorKind::NotExecuted`](comms_core::ErrorKind::NotExecuted) if a thread cannot be started.
    pub fn new(config: &KafkaConfig, clock: Clock) -> Result<Self, Error> {
        let number = |key, default| config.number(key).map(|value| value.unwrap_or(default));
        let records = number("queue.buffering.max.messages", MAX_RECORDS)?.max(1);
        let kilobytes = number("queue.buffering.max.kbytes", MAX_KILOBYTES)?.max(1);
        let max_message_bytes = usize_of(number("message.max.bytes", MAX_MESSAGE_BYTES)?);
        let batch_bytes = usize_of(number("batch.size", BATCH_BYTES)?);
        let bound = InFlight { records: usize_of(records), bytes: usize_of(kilobytes * 1024) };

        // The publisher enforces the bound. The client counts a message until after its delivery report, so the
        // client's bound is twice as large.
        let mut settings = config.client(DEFAULTS, GUARANTEES)?;
        settings.set("queue.buffering.max.messages", (2 * records).to_string());
        settings.set("queue.buffering.max.kbytes", (2 * kilobytes + MAX_MESSAGE_BYTES / 512).to_string());
        settings.set("message.max.bytes", (max_message_bytes + DEAD_LETTER_HEADERS).to_string());

        let (pipeline, producers) = Pipeline::new(settings, bound, batch_bytes, clock.clone())?;
        Ok(Self { pipeline, producers, max_message_bytes, flush_limit: FLUSH_LIMIT, clock })
    }

    /// Sets the time limit of [`Publisher::flush`]. Default 30 s.
    #[must_use]
    pub fn flush_limit(self, flush_limit: Duration) -> Self {
        Self { flush_limit, ..self }
    }

    fn check(&self, message: &Message) -> Result<(), Error> {
        let dead_letter = message.headers().get(wire::DLQ_TOPIC).is_some();
        record::check(message, self.max_message_bytes + if dead_letter { DEAD_LETTER_HEADERS } else { 0 })
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    fn enqueue(&self, messages: &mut VecDeque<Message>) -> Acks {
        let (acks, complete) = PendingAcks::new();
        let mut call = self.pipeline.begin_enqueue(&self.producers);
        while let Some(message) = messages.pop_front() {
            let size = message.memory();
            if let Err(error) = self.check(&message) {
                acks.slot(0).complete(Err(error));
            } else if self.pipeline.capacity.try_acquire(size) {
                call.push(message, acks.slot(size));
            } else {
                messages.push_front(message);
                break;
            }
        }
        call.end();
        acks.seal();
        let held = HeldAcks { pipeline: self.pipeline.clone(), acks };
        async move {
            // After the drop of the publisher no more reports arrive, and the acknowledgements must still resolve.
            tokio::select! {
                biased;
                _ = complete => {}
                () = held.pipeline.closed.cancelled() => {}
            }
            held.acks.take_results()
        }
        .boxed()
    }

    async fn ready(&self) -> Result<(), Error> {
        let available = |capacity: &Capacity| match self.producers.fatal_error() {
            Some(error) => Some(Err(error)),
            None => capacity.is_available().then_some(Ok(())),
        };
        self.pipeline.capacity.wait_for(available).await
    }

    /// Also waits for the messages of `enqueue` calls made while it waits.
    async fn flush(&self) -> Result<(), Error> {
        let unused = self.pipeline.capacity.wait_for(|capacity| capacity.is_unused().then_some(()));
        self.clock.timeout(self.flush_limit, unused).await.map_err(|_| {
            Error::indeterminate(format!("flush: messages are still in flight after {:?}", self.flush_limit))
        })
    }
}

/// The acknowledgements of one `enqueue` call, held by its caller.
struct HeldAcks {
    pipeline: Arc<Pipeline>,
    acks: Arc<PendingAcks>,
}

impl Drop for HeldAcks {
    fn drop(&mut self) {
        self.pipeline.end_caller(self.acks.is_complete());
    }
}

impl fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaPublisher").field("producers", &self.producers).finish_non_exhaustive()
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
