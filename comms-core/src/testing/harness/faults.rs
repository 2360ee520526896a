//! The faults that a broker and a process may cause, one method for each.

use super::{consumer::TestConsumer, state::DeliveryState};
use crate::{Error, Message, testing::CommitFaults};

/// Faults. Each method returns when all deliveries are settled.
impl TestConsumer {
    /// Delivers `message` twice, as a broker or a relay does after a lost acknowledgement. Returns both states.
    ///
    /// # Errors
    /// Returns the errors of [`deliver`](Self::deliver).
    pub async fn deliver_twice(&self, message: Message) -> Result<[DeliveryState; 2], Error> {
        let first = self.publish_one(message.clone()).await?;
        let second = self.publish_one(message).await?;
        self.settle().await?;
        Ok([first, second].map(|entry| self.broker.ledger.state_of(entry)))
    }

    /// Delivers `messages` in the reverse of their order. Returns the states in the order of `messages`.
    ///
    /// Messages of one key arrive out of order if their writers did not exclude each other, or if a released dead letter
    /// comes late.
    ///
    /// # Errors
    /// Returns the errors of [`deliver`](Self::deliver).
    pub async fn deliver_reversed(&self, messages: &[Message]) -> Result<Vec<DeliveryState>, Error> {
        let mut entries = Vec::new();
        for message in messages.iter().rev() {
            entries.push(self.publish_one(message.clone()).await?);
        }
        self.settle().await?;
        Ok(entries.into_iter().rev().map(|entry| self.broker.ledger.state_of(entry)).collect())
    }

    /// Delivers `message`, and lets the process crash after the handler has returned and before the message is
    /// acknowledged: the transaction is committed, and the message comes again. Returns the state of the redelivery.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the handler was not called, so that no crash happened. Returns
    /// the errors of [`deliver`](Self::deliver).
    pub async fn crash_before_ack(&self, message: Message) -> Result<DeliveryState, Error> {
        let ledger = &self.broker.ledger;
        ledger.crash_at(&self.group, message.clone());
        let published = self.publish_one(message.clone()).await;
        let ended = match published {
            Ok(_) => ledger.crashed(&self.group, self.broker.limit).await,
            Err(error) => Err(error),
        };
        let crashed = ledger.has_crashed(&self.group);
        ended?;
        if !crashed {
            let text =
                format!("the handler of {} did not end an attempt, so there was no crash", message.topic());
            return Err(Error::invalid(text));
        }
        self.restart().await?;
        Ok(ledger.last_state(&self.group, &message))
    }

    /// Delivers `message`, and lets the process crash at the commit of `unit`: the transaction is rolled back, effects
    /// outside of it stay, and the message comes again. Returns the state of the redelivery.
    ///
    /// `unit` is a [`MemoryUnit`](crate::testing::MemoryUnit), or a [`FaultyUnit`](crate::testing::FaultyUnit) around a
    /// real database.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the handler did not commit a transaction of `unit`. Returns the
    /// errors of [`crash_before_ack`](Self::crash_before_ack).
    pub async fn crash_before_commit(
        &self,
        message: Message,
        unit: &impl CommitFaults,
    ) -> Result<DeliveryState, Error> {
        let topic = message.topic().to_owned();
        unit.fail_next_commit(Error::indeterminate("the process crashed before the commit"));
        let state = self.crash_before_ack(message).await;
        match unit.forget_commit_faults() {
            0 => state,
            _ => Err(Error::invalid(format!(
                "the handler of {topic} did not commit a transaction of the unit"
            ))),
        }
    }

    /// Stops the consumer and starts it again. Deliveries that were not settled come again with attempt 1: those that
    /// ran are dropped, and those that waited for an attempt wait no longer.
    ///
    /// # Errors
    /// Returns [`Indeterminate`](crate::ErrorKind::Indeterminate) if the consumer did not stop, or the deliveries did
    /// not settle, within the [`TestBroker::settle_limit`](super::TestBroker::settle_limit).
    pub async fn restart(&self) -> Result<(), Error> {
        self.stop().await?;
        self.broker.ledger.restarting(&self.group, false);
        self.start().await;
        self.settle().await
    }

    /// Stops the consumer, moves its group back to the first message, and starts it again: all messages come again in
    /// their order, as after the loss of the committed positions.
    ///
    /// # Errors
    /// Returns the errors of [`restart`](Self::restart), and the error of the transport if it cannot move the group.
    pub async fn restart_from_the_beginning(&self) -> Result<(), Error> {
        self.stop().await?;
        self.rewind().await?;
        self.broker.ledger.restarting(&self.group, true);
        self.start().await;
        self.settle().await
    }
}
