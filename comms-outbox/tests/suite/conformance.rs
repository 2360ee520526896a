//! The promises of the seams, as comms-core has them for every backend.

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
    /// By a relay, until it has carried what was committed last.
    async fn sent(&self, destination: &str) -> Result<Vec<Message>, Error> {
        let last = message_to("last", "k", "");
        send(&self.0, std::slice::from_ref(&last)).await;
        let publisher = MemoryPublisher::new();
        let relay = run(self.0.relay(Arc::new(publisher.clone())).name(format!("relay-{}", unique())));
        // A relay that carries nothing is found by the suite's own time limit.
        while !publisher.messages().iter().any(|message| message.id == last.id) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        relay.stop().await;
        Ok(publisher.messages().into_iter().filter(|message| &*message.topic == destination).collect())
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
