//! The memory transport passes the suite, and transports with a fault do not.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use futures_core::future::BoxFuture;

use super::*;
use crate::{
    Error, Message, Publisher, async_trait,
    testing::{ConsumerSetup, MemoryPublisher, MemoryTransport},
    transport::{BudgetConfig, FailurePolicy, Ordering, Receipt},
};

#[tokio::test]
async fn the_memory_transport_passes() {
    all(&MemoryTransport::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_transport_passes_on_several_threads() {
    all(&MemoryTransport::new()).await.unwrap();
}

#[derive(Clone, Copy)]
enum Fault {
    LosesMessages,
    KeepsNoOrder,
    OrdersAllKeys,
    CountsOneAttempt,
    LosesDeadLetters,
    HoldsFailed,
    HasNoLimit,
    AcknowledgesNothing,
    GoesOnAfterTheEnd,
}

#[derive(Clone)]
struct Faulty(MemoryTransport, Fault, Arc<AtomicUsize>);

#[async_trait]
impl Transport for Faulty {
    fn settle_limit(&self) -> std::time::Duration {
        std::time::Duration::from_millis(300)
    }

    async fn publish(&self, mut messages: Vec<Message>) -> Result<Vec<Receipt>, Error> {
        if let Fault::LosesMessages = self.1 {
            messages.retain(|_| self.2.fetch_add(1, SeqCst) % 7 != 6);
        }
        self.0.publish(messages).await
    }

    fn dead_letters(&self) -> Arc<dyn Publisher> {
        self.0.dead_letters()
    }

    async fn run(&self, mut consumer: ConsumerSetup, stop: BoxFuture<'static, ()>) -> Result<(), Error> {
        let topics: Vec<_> = consumer.handlers.iter().map(|(topic, _)| topic.clone()).collect();
        match self.1 {
            Fault::KeepsNoOrder => consumer.ordering = Ordering::None,
            Fault::OrdersAllKeys => consumer.ordering = Ordering::Partition,
            Fault::CountsOneAttempt => consumer.attempts.max_attempts = 1,
            Fault::LosesDeadLetters => consumer.dead_letter = Arc::new(MemoryPublisher::new()),
            Fault::HoldsFailed => consumer.failure_policy = FailurePolicy::Hold.into(),
            Fault::HasNoLimit => consumer.budget = BudgetConfig::default(),
            Fault::AcknowledgesNothing => self.0.rewind(&consumer.group, &topics).await?,
            Fault::GoesOnAfterTheEnd => {
                let (transport, consumer) = (self.0.clone(), consumer.clone());
                tokio::spawn(async move { transport.run(consumer, Box::pin(std::future::pending())).await });
                stop.await;
                return Ok(());
            }
            Fault::LosesMessages => {}
        }
        self.0.run(consumer, stop).await
    }

    async fn rewind(&self, group: &str, topics: &[Arc<str>]) -> Result<(), Error> {
        self.0.rewind(group, topics).await
    }
}

#[tokio::test]
async fn a_transport_with_a_fault_does_not_pass() {
    let cases = [
        (Fault::LosesMessages, "each message is handled"),
        (Fault::KeepsNoOrder, "a key keeps its order"),
        (Fault::OrdersAllKeys, "a failed key holds up no other key"),
        (Fault::CountsOneAttempt, "a panic is one failed attempt"),
        (Fault::LosesDeadLetters, "a refused dead letter is written later"),
        (Fault::HoldsFailed, "a dead letter has the reason"),
        (Fault::HasNoLimit, "the running handlers are bounded"),
        (Fault::AcknowledgesNothing, "a restart loses nothing"),
        (Fault::GoesOnAfterTheEnd, "a restart loses nothing"),
        (Fault::GoesOnAfterTheEnd, "a fatal error stops the consumer"),
    ];
    let check = async |(fault, guarantee): (Fault, &str)| {
        let report =
            all(&Faulty(MemoryTransport::new(), fault, Arc::default())).await.unwrap_err().to_string();
        assert!(report.contains(&format!("- {guarantee}: ")), "{guarantee} is not in the report: {report}");
    };
    futures_util::future::join_all(cases.map(check)).await;
}
