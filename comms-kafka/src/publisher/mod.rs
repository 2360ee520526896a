//! The publisher: an idempotent producer behind [`Publisher`].
//!
//! **Problem.** A relay hands messages over in order and needs the fate of each, through broker restarts that last
//! longer than any client's patience. A Kafka broker refuses a batch whole, also for one record in it.
//!
//! **Promise.** Hand-over is synchronous: the order in which [`Publisher::enqueue`] takes messages is the order in the
//! partition. A message is acknowledged when all in-sync replicas have it. No message is given up locally: while the
//! cluster is away messages wait, in order, within the bound. A retry by the client neither duplicates nor reorders.
//! A fault of one topic is reported for the messages of that topic (`Misconfigured`), and other topics go on: a missing
//! permission at once, a missing topic after `topic.metadata.propagation.max.ms` (5 s). A message is `Invalid` only if
//! the broker refuses it in a batch of its own.
//!
//! **How.** Before the first message to a topic the publisher reads the topic's `max.message.bytes`; messages wait
//! meanwhile. A cluster that names the topic and does not answer for its settings within 0.5 s counts as one with
//! full batches. A topic that takes less than `batch.size` gets its messages through a second producer, one message in a
//! batch. Where the limit is lowered later, or cannot be read, the first refused batch has the same effect: the
//! publisher takes what is queued behind the batch back and sends everything again in order.
//!
//! **What breaks it.** A *final* refusal by the broker (`Invalid`, `Misconfigured`): later messages of that key may
//! already stand in the log. A `max.message.bytes` that is lowered below `batch.size` while messages are in flight, or
//! that this process may not read (no `DescribeConfigs` permission): a batch on the wire may overtake the refused
//! one. The death of the process with messages in flight: whether they arrived is not known, and sending them again
//! makes duplicates with the same `ce_id`. `Fatal`: the broker lost track of the producer's sequence; this producer
//! is finished.

mod acks;
mod limits;
mod line;
mod reports;
mod room;
mod topic;

use async_trait::async_trait;
use futures::FutureExt;
use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use self::{
    acks::Batch,
    line::{Line, Producers, fatal},
    room::{Bound, Room},
};
use crate::{KafkaConfig, record};
use comms_core::{Error, Message, Publisher, clock::Clock, transport::Acks, wire};

/// Settings that the pass-through may replace.
const DEFAULTS: &[(&str, &str)] = &[
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    // How long a new topic may take to be known to every broker; a topic that is missing is reported after this.
    ("topic.metadata.propagation.max.ms", "5000"),
    // The partition that Java's clients choose for the same key.
    ("partitioner", "murmur2_random"),
];
const PROMISES: &[(&str, &str)] =
    &[("enable.idempotence", "true"), ("acks", "all"), ("message.timeout.ms", "0")];

const RECORDS: u64 = 100_000;
const KILOBYTES: u64 = 64 * 1024;
const MESSAGE_BYTES: u64 = 1_000_000;
/// The client's `batch.size`.
const BATCH_BYTES: u64 = 1_000_000;
/// Room for the headers of a dead letter, so that a record of the greatest size can become one. Together
/// with [`MESSAGE_BYTES`] it stays below what brokers take by default (1,048,588).
const DEAD_LETTER_HEADERS: usize = 16 * 1024;
/// How long [`Publisher::flush`] waits by default.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

/// A [`Publisher`] to Kafka. Share it by `Arc`; one per process and cluster is the usual number.
///
/// Bounds, by the pass-through: `queue.buffering.max.messages` (default 100,000 messages on their way),
/// `queue.buffering.max.kbytes` (64 MiB), `message.max.bytes` (1,000,000 for one message with its headers).
/// Others of interest: `linger.ms` (5), `compression.type` (lz4), `topic.metadata.propagation.max.ms` (5,000: how
/// long a topic may be missing before its messages are refused).
///
/// Dropping the acknowledgements of a hand-over gives its messages up. Once no caller waits for an answer, the publisher
/// takes out of its queues what is not on the wire yet. While another caller waits, all messages go.
///
/// ```
/// use comms_core::{Publisher, clock::Clock};
/// use comms_kafka::{KafkaConfig, KafkaPublisher};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), comms_core::Error> {
/// let publisher = KafkaPublisher::new(&KafkaConfig::new("localhost:9092"), Clock::system())?;
/// publisher.ready().await?; // there is room: also while the broker is away
/// # Ok(()) }
/// ```
pub struct KafkaPublisher {
    producers: Arc<Producers>,
    message_limit: usize,
    flush_limit: Duration,
}

impl KafkaPublisher {
    /// A publisher to the cluster of `config`. It connects in the background; `clock` stamps the records.
    ///
    /// # Errors
    /// Returns `Invalid` for settings that are refused, unknown or impossible, `Misconfigured` for settings that do not
    /// work on this machine (a certificate that cannot be read), and `NotExecuted` if no thread can be started.
    pub fn new(config: &KafkaConfig, clock: Clock) -> Result<Self, Error> {
        let number = |key, default| config.number(key).map(|value| value.unwrap_or(default));
        let records = number("queue.buffering.max.messages", RECORDS)?.max(1);
        let kilobytes = number("queue.buffering.max.kbytes", KILOBYTES)?.max(1);
        let message_limit = usize_of(number("message.max.bytes", MESSAGE_BYTES)?);
        let batch_bytes = usize_of(number("batch.size", BATCH_BYTES)?);
        let bound = Bound { records: usize_of(records), bytes: usize_of(kilobytes * 1024) };

        // The bound is kept here. The client counts a message until after its report, hence the double.
        let mut settings = config.client(DEFAULTS, PROMISES)?;
        settings.set("queue.buffering.max.messages", (2 * records).to_string());
        settings.set("queue.buffering.max.kbytes", (2 * kilobytes + MESSAGE_BYTES / 512).to_string());
        settings.set("message.max.bytes", (message_limit + DEAD_LETTER_HEADERS).to_string());

        let line = Arc::new(Line::new(bound, batch_bytes));
        let producers = Producers::new(settings, line, clock)?;
        Ok(Self { producers, message_limit, flush_limit: FLUSH_LIMIT })
    }

    /// The same publisher with another limit for [`Publisher::flush`] (30 s by default).
    #[must_use]
    pub fn with_flush_limit(self, flush_limit: Duration) -> Self {
        Self { flush_limit, ..self }
    }

    fn check(&self, message: &Message) -> Result<(), Error> {
        let dead_letter = message.headers.get(wire::DLQ_TOPIC).is_some();
        record::check(message, self.message_limit + if dead_letter { DEAD_LETTER_HEADERS } else { 0 })
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    fn enqueue(&self, messages: &mut VecDeque<Message>) -> Acks {
        let (batch, complete) = Batch::new();
        let line = self.producers.line.clone();
        let mut hand_over = self.producers.hand_over();
        while let Some(message) = messages.pop_front() {
            let size = message.size();
            if let Err(error) = self.check(&message) {
                batch.slot(0).answer(Err(error));
            } else if line.room.take(size) {
                hand_over.push(message, batch.slot(size));
            } else {
                messages.push_front(message);
                break;
            }
        }
        hand_over.end();
        batch.seal();
        let wanted = Wanted { line, batch };
        async move {
            // Where the producers are gone, and the reports with them, there is still an end.
            tokio::select! {
                biased;
                _ = complete => {}
                () = wanted.line.closed.cancelled() => {}
            }
            wanted.batch.answers()
        }
        .boxed()
    }

    async fn ready(&self) -> Result<(), Error> {
        let look = |room: &Room| match self.producers.all().iter().find_map(|producer| fatal(producer)) {
            Some(error) => Some(Err(error)),
            None => room.has_room().then_some(Ok(())),
        };
        self.producers.line.room.until(look).await
    }

    /// Also waits for what others hand over meanwhile.
    async fn flush(&self) -> Result<(), Error> {
        let empty = self.producers.line.room.until(|room| room.is_empty().then_some(()));
        tokio::time::timeout(self.flush_limit, empty).await.map_err(|_| {
            Error::indeterminate(format!("messages are still on their way after {:?}", self.flush_limit))
        })
    }
}

/// The acknowledgements of a hand-over, for as long as the caller holds them.
struct Wanted {
    line: Arc<Line>,
    batch: Arc<Batch>,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.line.ended(self.batch.is_complete());
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
