//! The delivery reports, and the thread that serves them.

use metrics::Counter;
use rdkafka::{
    ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseProducer, Producer, ProducerContext},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

use super::{
    acks::Slot,
    room::{Bound, Room},
};
use crate::{client, error::classify};
use comms_core::{Error, Receipt, telemetry};

/// How long the thread sleeps where nothing happens: it looks this often whether it is still needed.
const POLL: Duration = Duration::from_millis(100);

/// Serves the reports of `producer` for as long as somebody else holds it; then drops it there, where it
/// may block.
pub(super) fn serve(producer: Arc<BaseProducer<Reports>>) -> Result<(), Error> {
    let body = move || {
        let reports = producer.context().clone();
        while Arc::strong_count(&producer) > 1 {
            producer.poll(POLL);
        }
        drop(producer);
        reports.closed.cancel();
    };
    let thread = std::thread::Builder::new().name("kafka-publisher".to_owned()).spawn(body);
    thread.map(drop).map_err(|e| Error::fatal(e).context("start the publisher's thread"))
}

/// Where the delivery reports arrive.
pub(super) struct Reports {
    pub(super) room: Room,
    sent: Mutex<HashMap<String, Counter>>,
    /// The producer is gone; there will be no more reports.
    pub(super) closed: CancellationToken,
}

impl Reports {
    pub(super) fn new(bound: Bound) -> Self {
        Self { room: Room::new(bound), sent: Mutex::default(), closed: CancellationToken::new() }
    }

    fn count(&self, topic: &str) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if !sent.contains_key(topic) {
            let labels =
                [("messaging.system", "kafka".to_owned()), ("messaging.destination.name", topic.to_owned())];
            sent.insert(topic.to_owned(), metrics::counter!(telemetry::SENT_MESSAGES, &labels));
        }
        if let Some(counter) = sent.get(topic) {
            counter.increment(1);
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
        self.room.wake();
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Slot>;

    fn delivery(&self, report: &DeliveryResult<'_>, slot: Box<Slot>) {
        let size = slot.size;
        match report {
            Ok(record) => {
                self.count(record.topic());
                slot.answer(Ok(Receipt::at(record.partition(), record.offset())));
            }
            Err((error, _)) => slot.answer(Err(classify(error.clone()))),
        }
        self.room.give(size);
    }
}
