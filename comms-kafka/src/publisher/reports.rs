//! The client's callbacks for a producer, and the thread that serves them.

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{BorrowedMessage, DeliveryResult},
    producer::{BaseProducer, Producer as _, ProducerContext},
};
use std::{sync::Arc, thread, time::Duration};

use super::topic::SentMessage;
use crate::client;
use comms_core::{Error, transport::Receipt};

/// The longest wait of one poll. As often the thread checks whether the publisher still holds the producer.
const POLL: Duration = Duration::from_millis(100);

pub(super) type Producer = BaseProducer<Reports>;

/// The receiver of the events of the producers.
pub(super) trait ReportHandler: Send + Sync {
    /// The broker acknowledged `sent`.
    fn delivered(&self, sent: SentMessage, receipt: Receipt);
    /// The client or the broker refused `sent`, whose record is `record`.
    fn failed(&self, error: &KafkaError, record: &BorrowedMessage<'_>, sent: SentMessage);
    /// The client reported an error that belongs to no message.
    fn client_error(&self);
    /// A producer has been dropped, and sends no more reports.
    fn closed(&self);
}

/// The context of a producer. It passes delivery reports and errors to a [`ReportHandler`].
pub(super) struct Reports(Arc<dyn ReportHandler>);

impl Reports {
    pub(super) const fn new(handler: Arc<dyn ReportHandler>) -> Self {
        Self(handler)
    }
}

/// Starts a thread that serves the reports of `producer` until the publisher drops the producer. The thread then drops
/// the producer itself, because that may block.
pub(super) fn serve(producer: Arc<Producer>, name: &str) -> Result<(), Error> {
    let body = move || {
        let handler = producer.context().0.clone();
        while Arc::strong_count(&producer) > 1 {
            producer.poll(POLL);
        }
        drop(producer);
        handler.closed();
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(body);
    let failed = |e| Error::not_executed(e).context(format_args!("start the thread {name} of the publisher"));
    thread.map(drop).map_err(failed)
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::error(&error, reason);
        self.0.client_error();
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<SentMessage>;

    fn delivery(&self, report: &DeliveryResult<'_>, sent: Box<SentMessage>) {
        use rdkafka::Message as _;
        match report {
            Ok(record) => self.0.delivered(*sent, Receipt::at(record.partition(), record.offset())),
            Err((error, record)) => self.0.failed(error, record, *sent),
        }
    }
}
