//! The path of a message through the publisher: from an `enqueue` call to a topic, and from a delivery report to the
//! result, or back to the topic to be sent again.

use rdkafka::{
    ClientConfig,
    error::KafkaError,
    message::BorrowedMessage,
    producer::{Producer as _, PurgeConfig},
    types::RDKafkaErrorCode,
};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio_util::sync::CancellationToken;

use super::{
    acks::AckSlot,
    capacity::{Capacity, InFlight},
    lookup,
    producers::Producers,
    registry::TopicRegistry,
    reports::ReportHandler,
    topic::{ResendReason, SentMessage, Topic, is_missing},
};
use crate::{error::classify, record::Reader};
use comms_core::{Error, Message, clock::Clock, transport::Receipt};

/// The state that the publisher shares with its delivery reports. It holds no producer, because each producer holds it.
pub(super) struct Pipeline {
    pub(super) capacity: Arc<Capacity>,
    /// Cancelled when the publisher has been dropped and no delivery report follows.
    pub(super) closed: CancellationToken,
    /// The size of a full batch, bytes.
    batch_bytes: usize,
    topics: Arc<TopicRegistry>,
    callers: Mutex<Callers>,
    producers: OnceLock<Weak<Producers>>,
}

/// The callers of `enqueue`. Locked during each `enqueue` call, so that no call runs while abandoned messages are
/// purged.
#[derive(Default)]
struct Callers {
    /// The number of `enqueue` calls whose acknowledgements a caller still holds.
    waiting: usize,
    /// A caller has dropped incomplete acknowledgements since the last purge.
    abandoned: bool,
}

impl Pipeline {
    pub(super) fn new(
        settings: ClientConfig,
        bound: InFlight,
        batch_bytes: usize,
        clock: Clock,
    ) -> Result<(Arc<Self>, Arc<Producers>), Error> {
        let pipeline = Arc::new(Self {
            capacity: Arc::new(Capacity::new(bound)),
            closed: CancellationToken::new(),
            batch_bytes,
            topics: Arc::default(),
            callers: Mutex::default(),
            producers: OnceLock::new(),
        });
        let producers = Producers::new(settings, pipeline.capacity.clone(), pipeline.clone(), clock)?;
        let producers = Arc::new(producers);
        let _ = pipeline.producers.set(Arc::downgrade(&producers));
        Ok((pipeline, producers))
    }

    pub(super) fn begin_enqueue<'a>(&'a self, producers: &'a Arc<Producers>) -> EnqueueCall<'a> {
        EnqueueCall { pipeline: self, producers, callers: self.callers(), last: None, needs_limit: false }
    }

    /// Records that a caller has its results (`complete`), or has dropped its acknowledgements before. When no caller
    /// waits any more, the messages of callers that have gone are purged from the queues. Messages on the wire stay.
    pub(super) fn end_caller(&self, complete: bool) {
        let mut callers = self.callers();
        callers.waiting -= 1;
        callers.abandoned |= !complete;
        if callers.waiting > 0 || !callers.abandoned {
            return;
        }
        callers.abandoned = false;
        let Some(producers) = self.producers() else { return };
        self.topics.all().iter().for_each(|topic| topic.abandon(&*producers));
        producers.all().iter().for_each(|producer| producer.purge(PurgeConfig::default().queue()));
    }

    /// Stores the final result of a message.
    fn finish(&self, sent: SentMessage, result: Result<Receipt, Error>, missing: bool) {
        let SentMessage { slot, topic, .. } = sent;
        let producers = self.producers();
        let needs_limit = topic.finished(producers.as_deref(), result.is_ok(), missing);
        if let Some(producers) = producers.filter(|_| needs_limit) {
            self.look_up_limits(&producers);
        }
        let size = slot.size;
        slot.complete(result);
        self.capacity.release(size);
    }

    /// Returns why the message may be sent again, or `None` if its result is final.
    fn resend_reason(&self, code: Option<RDKafkaErrorCode>, sent: &SentMessage) -> Option<ResendReason> {
        use RDKafkaErrorCode as Code;
        match code? {
            _ if sent.unbatched => None,
            // A message that is larger than a batch had a batch of its own.
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
                (sent.slot.size < self.batch_bytes).then_some(ResendReason::BatchTooLarge)
            }
            Code::InvalidRecord | Code::InvalidDifferentRecord | Code::InvalidTimestamp => {
                Some(ResendReason::InvalidNeighbor)
            }
            Code::PurgeQueue => Some(ResendReason::Purged),
            _ => None,
        }
    }

    /// Purges the queue of the batching producer, so that no message overtakes one that must be sent again. The topics
    /// send all purged messages again, in order. Does not wait for `enqueue` calls: the client sends the rest of the
    /// queue soon.
    fn recall_queued(&self, producers: &Arc<Producers>) {
        let topics = self.topics.all();
        topics.iter().for_each(|topic| topic.begin_recall());
        producers.batched.purge(PurgeConfig::default().queue());
        topics.iter().for_each(|topic| topic.end_recall(&**producers));
        if topics.iter().any(|topic| topic.needs_limit()) {
            self.look_up_limits(producers);
        }
    }

    /// Starts the look-up of the topics' limits, unless it is running.
    fn look_up_limits(&self, producers: &Arc<Producers>) {
        if self.topics.begin_lookup() {
            lookup::start(&self.topics, producers, self.batch_bytes);
        }
    }

    fn producers(&self) -> Option<Arc<Producers>> {
        self.producers.get()?.upgrade()
    }

    fn callers(&self) -> MutexGuard<'_, Callers> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReportHandler for Pipeline {
    fn delivered(&self, sent: SentMessage, receipt: Receipt) {
        self.finish(sent, Ok(receipt), false);
    }

    fn failed(&self, error: &KafkaError, record: &BorrowedMessage<'_>, mut sent: SentMessage) {
        let code = error.rdkafka_error_code();
        if let (Some(reason), Some(producers)) = (self.resend_reason(code, &sent), self.producers()) {
            let topic = sent.topic.clone();
            let message = || Reader::default().read(record, &topic.name).message;
            match topic.resend(&*producers, reason, message, sent.slot) {
                Ok(true) => {
                    let topic = &topic.name;
                    tracing::warn!(%topic, %error, ?reason, "a batch was refused, its messages are sent one per batch");
                    return self.recall_queued(&producers);
                }
                Ok(false) if topic.needs_limit() => return self.look_up_limits(&producers),
                Ok(false) => return,
                Err(slot) => sent.slot = slot,
            }
        }
        self.finish(sent, Err(classify(error.clone())), is_missing(code));
    }

    fn client_error(&self) {
        // The error may be fatal, and `ready` must then return it.
        self.capacity.wake_waiters();
    }

    fn closed(&self) {
        self.closed.cancel();
    }
}

/// One `enqueue` call in progress.
pub(super) struct EnqueueCall<'a> {
    pipeline: &'a Pipeline,
    producers: &'a Arc<Producers>,
    callers: MutexGuard<'a, Callers>,
    /// The topic of the message before. Most calls have messages of one topic.
    last: Option<Arc<Topic>>,
    needs_limit: bool,
}

impl EnqueueCall<'_> {
    /// Takes `message`. Its capacity must be acquired.
    pub(super) fn push(&mut self, message: Message, slot: AckSlot) {
        let last = self.last.take().filter(|topic| &*topic.name == message.topic());
        let topic = last.unwrap_or_else(|| self.pipeline.topics.topic(message.topic()));
        self.needs_limit |= topic.push(&**self.producers, message, slot);
        self.last = Some(topic);
    }

    /// Ends the call. [`Pipeline::end_caller`] must be called once for it.
    pub(super) fn end(mut self) {
        self.callers.waiting += 1;
        if self.needs_limit {
            self.pipeline.look_up_limits(self.producers);
        }
    }
}
