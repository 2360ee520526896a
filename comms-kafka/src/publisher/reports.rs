//! The delivery reports, and the thread that serves them.

use rdkafka::{
    ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{BorrowedMessage, DeliveryResult},
    producer::{Producer as _, ProducerContext},
    types::RDKafkaErrorCode,
};
use std::{sync::Arc, time::Duration};

use super::{
    line::{Line, Producer},
    topic::{Parcel, Return, is_missing},
};
use crate::{client, error::classify, record};
use comms_core::{Error, transport::Receipt};

/// How long the thread sleeps where nothing happens; as often it looks whether the producer is still used.
const POLL: Duration = Duration::from_millis(100);

/// Serves the reports of `producer` for as long as the publisher holds it; then drops it there, where a drop may
/// block.
pub(super) fn serve(producer: Arc<Producer>, name: &str) -> Result<(), Error> {
    let body = move || {
        let line = producer.context().line.clone();
        while Arc::strong_count(&producer) > 1 {
            producer.poll(POLL);
        }
        drop(producer);
        line.closed.cancel();
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    thread.map(drop).map_err(|e| Error::not_executed(e).context("start the publisher's thread"))
}

/// Where the delivery reports arrive.
pub(super) struct Reports {
    line: Arc<Line>,
}

impl Reports {
    pub(super) const fn new(line: Arc<Line>) -> Self {
        Self { line }
    }

    fn answer(&self, parcel: Parcel, answer: Result<Receipt, Error>, missing: bool) {
        let Parcel { slot, topic, .. } = parcel;
        let producers = self.line.producers();
        let wants_limit = topic.answered(producers.as_deref(), answer.is_ok(), missing);
        if let Some(producers) = producers.filter(|_| wants_limit) {
            self.line.look_up(&producers);
        }
        let size = slot.size;
        slot.answer(answer);
        self.line.room.give(size);
    }

    fn failed(&self, error: &KafkaError, record: &BorrowedMessage<'_>, mut parcel: Parcel) {
        let code = error.rdkafka_error_code();
        if let (Some(reason), Some(producers)) = (self.reason(code, &parcel), self.line.producers()) {
            let topic = parcel.topic.clone();
            let message = || record::message(record, &topic.name);
            match topic.returned(&*producers, reason, message, parcel.slot) {
                Ok(true) => {
                    let topic = &topic.name;
                    tracing::warn!(%topic, %error, ?reason, "a batch was refused; its messages are sent one by one");
                    return self.line.gather(&producers);
                }
                Ok(false) if topic.wants_limit() => return self.line.look_up(&producers),
                Ok(false) => return,
                Err(slot) => parcel.slot = slot,
            }
        }
        self.answer(parcel, Err(classify(error.clone())), is_missing(code));
    }

    /// Why the message may be sent again, if it may.
    fn reason(&self, code: Option<RDKafkaErrorCode>, parcel: &Parcel) -> Option<Return> {
        use RDKafkaErrorCode as Code;
        match code? {
            _ if parcel.alone => None,
            // A message larger than a batch had one for itself.
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
                (parcel.slot.size < self.line.batch_bytes).then_some(Return::BatchTooLarge)
            }
            Code::InvalidRecord | Code::InvalidDifferentRecord | Code::InvalidTimestamp => {
                Some(Return::BadNeighbour)
            }
            Code::PurgeQueue => Some(Return::Purged),
            _ => None,
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::error(&error, reason);
        // It may be the fatal one that `ready` has to report.
        self.line.room.wake();
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Parcel>;

    fn delivery(&self, report: &DeliveryResult<'_>, parcel: Box<Parcel>) {
        match report {
            Ok(record) => self.answer(*parcel, Ok(Receipt::at(record.partition(), record.offset())), false),
            Err((error, record)) => self.failed(error, record, *parcel),
        }
    }
}
