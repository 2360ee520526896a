//! Dead letters: records that will not be handled, written to a topic of their own with the reason.

mod envelope;

use std::{collections::VecDeque, fmt, future::Future, sync::Arc};

use comms_core::{
    Delivery, Error, ErrorKind, Message, Publisher, clock::Clock, resilience::Backoff, transport::Holds,
};

pub(super) use envelope::Form;

/// The topic for the dead letters of `topic`: `<topic>.dlq`, one for all groups, so that it can be
/// provisioned ahead; the header `dlq_group` names the group that gave up.
#[must_use]
pub fn dlq_topic(topic: &str) -> String {
    format!("{topic}.dlq")
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Milliseconds since 1970, if the record has one.
    pub(super) timestamp: Option<i64>,
}

/// Writes dead letters.
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

    /// Writes the dead letter of `delivery`, which failed with `error`, and resolves when it is acknowledged. While that
    /// cannot be had the delivery is held, and the dead letter is tried again with growing waits, whatever the error is:
    /// a missing topic or permission is repaired by an operator.
    ///
    /// A dead letter that is too large is written in the next smaller [`Form`]. Returns `None` if `stopping` resolves
    /// while the delivery is held.
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
            let error = match self.publish_any(&whole, place).await {
                Ok(form) => return Some(form),
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            held = Some(self.holds.register(delivery, &repairable(error, &whole.topic), held.take()));
            tokio::select! {
                biased;
                () = &mut stopping => return None,
                () = self.clock.sleep(self.backoff.delay(failures, &self.clock)) => {}
            }
        }
    }

    async fn publish_any(&self, whole: &Message, place: Place) -> Result<Form, Error> {
        let mut refused = Error::internal("a dead letter has no form");
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
                        "a dead letter was not written whole; the original record is whole");
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
                let answer = acks.await.pop();
                return answer.unwrap_or_else(|| Err(Error::indeterminate("no answer"))).map(|_| ());
            }
            self.publisher.ready().await?;
        }
    }
}

/// The error of a dead letter as the reason of a hold. A dead letter that is refused in every form is a fault of the
/// topic, and so is a publisher that can take no more a fault of this deployment, not of the record.
fn repairable(error: Error, topic: &str) -> Error {
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
