//! The writers of dead letters, which write nothing after the revocation of their partition.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    consumer::assignment::{Assignment, Phase},
    record::POSITION_SOURCE,
    topic_name::dlq_topic,
};
use comms_core::{
    Error, Message, Publisher, async_trait,
    clock::Clock,
    resilience::Backoff,
    transport::{Acks, DeadLetters, Holds},
};

/// Makes the writers of the dead letters of one consumer.
pub(in crate::consumer) struct DeadLetterSource {
    pub(in crate::consumer) publisher: Arc<dyn Publisher>,
    pub(in crate::consumer) backoff: Backoff,
    pub(in crate::consumer) clock: Clock,
    pub(in crate::consumer) holds: Holds,
}

impl DeadLetterSource {
    /// Returns the writer of the dead letters of `assignment`.
    pub(in crate::consumer) fn of(&self, assignment: Arc<Assignment>) -> DeadLetters {
        let gate = Arc::new(Gate { publisher: self.publisher.clone(), assignment });
        DeadLetters::new(gate, self.backoff, self.clock.clone(), self.holds.clone())
            .to_topic(dlq_topic)
            .position_source(POSITION_SOURCE)
    }
}

/// A publisher that refuses messages after the partition is revoked.
///
/// Then the runner drops its attempts, but a handler that blocks its thread delays that. The failure of such a handler
/// must not become a dead letter, because another member handles the record.
struct Gate {
    publisher: Arc<dyn Publisher>,
    assignment: Arc<Assignment>,
}

#[async_trait]
impl Publisher for Gate {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        if self.assignment.phase() < Phase::Cut {
            return self.publisher.enqueue(batch);
        }
        let refused = |_| Err(Error::not_executed("the partition was revoked"));
        let results = batch.drain(..).map(refused).collect();
        Box::pin(std::future::ready(results))
    }

    async fn ready(&self) -> Result<(), Error> {
        self.publisher.ready().await
    }

    async fn flush(&self) -> Result<(), Error> {
        self.publisher.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::topic::Topic;
    use comms_core::{Delivery, MessageParts, Position, testing::MemoryPublisher};

    #[tokio::test]
    async fn no_dead_letter_is_written_after_the_revocation() {
        let (publisher, clock) = (MemoryPublisher::default(), Clock::system());
        let assignment = Arc::new(Assignment::new(Arc::new(Topic::of_test("orders")), 0));
        let holds = Holds::new(clock.clone());
        let publisher = Arc::new(publisher);
        let source = DeadLetterSource {
            publisher: publisher.clone(),
            backoff: Backoff::default(),
            clock,
            holds: holds.clone(),
        };
        let writer = source.of(assignment.clone());
        let message = Message::new(MessageParts { topic: "orders", ..MessageParts::default() });
        let delivery = Delivery::new(message, "billing").at(Position::at(0, 7));
        let error = Error::invalid("no");
        assert!(writer.write(&delivery, &error, 1, std::future::pending()).await.is_some());
        assignment.advance(Phase::Cut);
        let stopped = std::future::ready(());
        assert!(writer.write(&delivery, &error, 1, stopped).await.is_none());
        let topics: Vec<_> = publisher.messages().iter().map(|m| m.topic().to_owned()).collect();
        assert_eq!(topics, ["orders.dlq"]);
    }
}
