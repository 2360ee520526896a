//! Dead letters: records that cannot be handled, written to the dead-letter topic with the reason.

mod envelope;

use std::{collections::VecDeque, fmt, future::Future, sync::Arc};

use comms_core::{
    Delivery, Error, ErrorKind, Message, Publisher, clock::Clock, resilience::Backoff, transport::Holds,
};

pub(super) use envelope::{Form, Place};

/// The writer of the dead letters of one consumer.
pub(super) struct DeadLetters {
    publisher: Arc<dyn Publisher>,
    backoff: Backoff,
    clock: Clock,
    holds: Holds,
}

impl DeadLetters {
    pub(super) fn new(publisher: Arc<dyn Publisher>, backoff: Backoff, clock: Clock, holds: Holds) -> Self {
        Self { publisher, backoff, clock, holds }
    }

    /// Writes the dead letter of `delivery`, which failed with `error`, and resolves when the publisher has
    /// acknowledged it.
    ///
    /// While the dead letter cannot be written, the delivery is held and the write is retried with backoff. Every error
    /// is retried, because an operator can repair a missing topic or permission. A dead letter that is too large is
    /// written in the next smaller [`Form`]. Returns `None` if `stopping` resolves while the delivery is held.
    pub(super) async fn write(
        &self,
        delivery: &Delivery,
        place: Place,
        error: &Error,
        attempts: u32,
        stopping: impl Future<Output = ()>,
    ) -> Option<Form> {
        let mut stopping = std::pin::pin!(stopping);
        let whole = envelope::whole(delivery, place, error, attempts, &self.clock);
        let (mut held, mut failures) = (None, 0_u32);
        loop {
            let error = match self.publish_largest_form(&whole, place).await {
                Ok(form) => return Some(form),
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            let reason = hold_reason(error, &whole.topic);
            held = Some(self.holds.register(delivery, &reason, held.take()));
            tokio::select! {
                biased;
                () = &mut stopping => return None,
                () = self.clock.sleep(self.backoff.delay(failures, &self.clock)) => {}
            }
        }
    }

    /// Publishes `whole` in the largest form that the publisher accepts, and returns that form.
    async fn publish_largest_form(&self, whole: &Message, place: Place) -> Result<Form, Error> {
        let mut refused = Error::internal("no form of the dead letter was published");
        for form in Form::ALL {
            let Some(message) = form.of(whole, place) else { continue };
            match self.publish(message).await {
                Err(error) if error.kind == ErrorKind::Invalid => refused = error,
                Err(error) => return Err(error),
                Ok(()) if form == Form::Whole => return Ok(form),
                Ok(()) => {
                    let (topic, id, form_name) = (&whole.topic, &whole.id, form.as_str());
                    let (partition, offset) = (place.partition, place.offset);
                    tracing::error!(%topic, %id, partition, offset, form = form_name, error = %refused.chain(),
                        "the dead letter was too large and is incomplete, read the original record at its offset");
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
