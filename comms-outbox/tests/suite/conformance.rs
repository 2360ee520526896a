//! The conformance suites of comms-core for database backends.

use std::{sync::Arc, time::Duration};

use comms_core::{
    Error, Message,
    testing::{self, MemoryPublisher, UnitFixture, outbox::OutboxFixture},
};

use super::{Backend, Tx, message_to, run, send, unique};

struct Fixture<B>(B);

impl<B: Backend> UnitFixture for Fixture<B> {
    type Unit = B::Unit;

    fn unit(&self) -> B::Unit {
        self.0.unit()
    }

    async fn write(&self, tx: &mut Tx<B>, text: &str) -> Result<(), Error> {
        self.0.add_effect(tx, text).await;
        Ok(())
    }

    async fn count(&self, text: &str) -> Result<usize, Error> {
        Ok(self.0.effects().await.iter().filter(|effect| *effect == text).count())
    }
}

impl<B: Backend> OutboxFixture for Fixture<B> {
    /// Returns the messages to `topic` that a relay publishes, up to the last committed one.
    async fn sent(&self, topic: &str) -> Result<Vec<Message>, Error> {
        let last = message_to("last", "k", "");
        send(&self.0, std::slice::from_ref(&last)).await;
        let publisher = MemoryPublisher::new();
        let relay = run(self.0.relay(Arc::new(publisher.clone())).name(format!("relay-{}", unique())));
        // If the relay publishes nothing, the time limit of the suite ends this loop.
        while !publisher.messages().iter().any(|message| message.id() == last.id()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        relay.stop().await;
        Ok(publisher.messages().into_iter().filter(|message| message.topic() == topic).collect())
    }
}

pub async fn inbox<B: Backend>() {
    testing::inbox::all(&Fixture(B::start().await)).await.unwrap();
}

pub async fn outbox<B: Backend>() {
    testing::outbox::all(&Fixture(B::start().await)).await.unwrap();
}

pub async fn replies<B: Backend>() {
    testing::replies::all(&Fixture(B::start().await)).await.unwrap();
}

#[cfg(feature = "event-store")]
pub async fn event_store<B: Backend<Unit: comms_core::event_sourcing::EventStore>>() {
    testing::event_store::all(&Fixture(B::start().await)).await.unwrap();
}
