//! Dead letters: records that cannot be handled, published with the reason to a topic for dead letters.

mod envelope;

use std::{collections::VecDeque, fmt, future::Future, sync::Arc};

use metrics::counter;

use crate::{
    Delivery, Error, ErrorKind, Message, Publisher, clock::Clock, resilience::Backoff, telemetry,
    transport::Holds,
};
pub use envelope::Form;

/// The writer of the dead letters of a consumer. Clones share the publisher.
///
/// The dead letter of a record of the topic `orders` goes to `orders.dlq`. It has the key, the payload and the headers of
/// the record, and the reason in further headers, see the names with `DLQ` in [`wire`](crate::wire).
///
/// ```
/// use comms_core::{Publisher, clock::Clock, resilience::Backoff, transport::{DeadLetters, Holds, WorkerConfig}};
/// use std::sync::Arc;
/// fn config(publisher: Arc<dyn Publisher>) -> WorkerConfig {
///     let clock = Clock::system();
///     let holds = Holds::new(clock.clone());
///     let dead_letters = DeadLetters::new(publisher, Backoff::default(), clock, holds);
///     WorkerConfig::default().dead_letters(dead_letters.to_topic(|topic| format!("{topic}.failed")))
/// }
/// ```
#[derive(Clone)]
pub struct DeadLetters {
    publisher: Arc<dyn Publisher>,
    topic: Arc<dyn Fn(&str) -> String + Send + Sync>,
    source: &'static str,
    backoff: Backoff,
    clock: Clock,
    holds: Holds,
}

impl DeadLetters {
    /// Creates a writer that publishes to `publisher`, with the waits of `backoff` between two attempts to publish. A
    /// delivery whose dead letter cannot be published is listed in `holds`.
    pub fn new(publisher: Arc<dyn Publisher>, backoff: Backoff, clock: Clock, holds: Holds) -> Self {
        Self {
            publisher,
            topic: Arc::new(|topic| format!("{topic}.dlq")),
            source: "dead-letter",
            backoff,
            clock,
            holds,
        }
    }

    /// Sets the function that returns the topic of the dead letters of a topic. Default: `<topic>.dlq`.
    #[must_use]
    pub fn to_topic(self, topic: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self { topic: Arc::new(topic), ..self }
    }

    /// Sets the source of a [`Form::Reference`] to a record whose own source and id are too long. Its id is the position
    /// of the record. Default: `dead-letter`.
    #[must_use]
    pub fn position_source(self, source: &'static str) -> Self {
        Self { source, ..self }
    }

    /// Writes the dead letter of `delivery`, which failed with `error`, and resolves when the publisher has
    /// acknowledged it.
    ///
    /// While the dead letter cannot be written, the delivery is held and the write is retried with backoff. Every error
    /// is retried, because an operator can repair a missing topic or permission. A dead letter that is too large is
    /// written in the next smaller [`Form`]. Returns `None` if `stopping` resolves while the delivery is held.
    pub async fn write(
        &self,
        delivery: &Delivery,
        error: &Error,
        attempts: u32,
        stopping: impl Future<Output = ()> + Send,
    ) -> Option<Form> {
        let mut stopping = std::pin::pin!(stopping);
        let topic = (self.topic)(delivery.message.topic());
        let whole = envelope::whole(delivery, &topic, error, attempts, &self.clock);
        let (mut held, mut failures) = (None, 0_u32);
        loop {
            let failed = match self.publish_largest_form(&whole, delivery).await {
                Ok(form) => {
                    count(delivery, error, form);
                    return Some(form);
                }
                Err(failed) => failed,
            };
            failures = failures.saturating_add(1);
            let reason = hold_reason(failed, &topic);
            held = Some(self.holds.register(delivery, &reason, held.take()));
            tokio::select! {
                biased;
                () = &mut stopping => return None,
                () = self.clock.sleep(self.backoff.delay(failures, &self.clock)) => {}
            }
        }
    }

    /// Publishes `whole` in the largest form that the publisher accepts, and returns that form.
    async fn publish_largest_form(&self, whole: &Message, delivery: &Delivery) -> Result<Form, Error> {
        let mut refused = Error::internal("no form of the dead letter was published");
        for form in Form::ALL {
            let Some(message) = form.of(whole, delivery.position, self.source, &self.clock) else { continue };
            match self.publish(message).await {
                Err(error) if error.kind == ErrorKind::Invalid => refused = error,
                Err(error) => return Err(error),
                Ok(()) if form == Form::Whole => return Ok(form),
                Ok(()) => {
                    let (topic, origin, form_name) = (whole.topic(), delivery.origin(), form.as_str());
                    tracing::error!(%topic, %origin, form = form_name, error = %refused.chain(),
                        "the dead letter was too large and is incomplete, read the original record at its position");
                    return Ok(form);
                }
            }
        }
        Err(refused)
    }

    async fn publish(&self, message: Message) -> Result<(), Error> {
        let mut batch = VecDeque::from([message]);
        loop {
            let acks = self.publisher.enqueue(&mut batch);
            if batch.is_empty() {
                let result = acks.await.pop();
                let missing = || Err(Error::indeterminate("the publisher returned no acknowledgement"));
                return result.unwrap_or_else(missing).map(|_| ());
            }
            self.publisher.ready().await?;
        }
    }
}

fn count(delivery: &Delivery, error: &Error, form: Form) {
    let labels = [
        ("topic", delivery.message.topic().to_owned()),
        ("group", delivery.group.to_string()),
        ("error", error.kind.as_str().to_owned()),
        ("form", form.as_str().to_owned()),
    ];
    counter!(telemetry::DEAD_LETTERS, &labels).increment(1);
}

/// Converts the error of a dead letter to the reason of a hold. A dead letter that is refused in every form is a fault
/// of the topic, and a failed publisher is a fault of the deployment, so both become `Misconfigured`.
fn hold_reason(error: Error, topic: &str) -> Error {
    let error = error.context(format_args!("write the dead letter to {topic}"));
    match error.kind {
        ErrorKind::NotExecuted
        | ErrorKind::Indeterminate
        | ErrorKind::Rejected
        | ErrorKind::Misconfigured => error,
        _ => Error::misconfigured(error),
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("backoff", &self.backoff).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
