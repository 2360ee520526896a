//! Tests of the suites: the memory backends pass them, and backends with a fault do not.

mod faulty_event_store;
mod memory;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{idempotency::StoreFixture, outbox::OutboxFixture, publisher::PublisherFixture, *};
use crate::{
    Claim, Claimed, Inbox, Message, MessageParts, Outbox, Publisher, async_trait,
    clock::Clock,
    idempotency::{Admission, CallKey, IdempotencyStore, LeaseOptions, LeaseToken, MemoryStore, StoredReply},
    transport::Acks,
};

impl UnitFixture for MemoryUnit {
    type Unit = Self;

    fn unit(&self) -> Self {
        self.clone()
    }

    async fn write(&self, tx: &mut MemoryTx, text: &str) -> Result<(), Error> {
        let count = tx.read(text).await?.map_or(0, |bytes| bytes.len());
        tx.write(text, vec![0; count + 1]).await
    }

    async fn count(&self, text: &str) -> Result<usize, Error> {
        Ok(self.row(text).map_or(0, |bytes| bytes.len()))
    }
}

impl OutboxFixture for MemoryUnit {
    async fn sent(&self, topic: &str) -> Result<Vec<Message>, Error> {
        Ok(self.messages().into_iter().filter(|message| message.topic() == topic).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_unit_passes_every_suite() {
    inbox::all(&MemoryUnit::new()).await.unwrap();
    outbox::all(&MemoryUnit::new()).await.unwrap();
    replies::all(&MemoryUnit::new()).await.unwrap();
    event_store::all(&MemoryUnit::new()).await.unwrap();
}

/// A unit with its database, on which the suites look at the effects.
#[derive(Clone)]
struct Wrapped(FaultyUnit<MemoryUnit>, MemoryUnit);

impl UnitFixture for Wrapped {
    type Unit = FaultyUnit<MemoryUnit>;

    fn unit(&self) -> Self::Unit {
        self.0.clone()
    }

    async fn write(&self, tx: &mut MemoryTx, text: &str) -> Result<(), Error> {
        self.1.write(tx, text).await
    }

    async fn count(&self, text: &str) -> Result<usize, Error> {
        self.1.count(text).await
    }
}

impl OutboxFixture for Wrapped {
    async fn sent(&self, topic: &str) -> Result<Vec<Message>, Error> {
        self.1.sent(topic).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_faulty_unit_without_faults_passes_every_suite() {
    let database = MemoryUnit::new();
    let unit = Wrapped(FaultyUnit::new(database.clone()), database);
    inbox::all(&unit).await.unwrap();
    outbox::all(&unit).await.unwrap();
    replies::all(&unit).await.unwrap();
    event_store::all(&unit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_unit_passes_the_suites_on_several_threads() {
    let unit = MemoryUnit::new();
    inbox::all(&unit).await.unwrap();
    replies::all(&unit).await.unwrap();
}

/// A store and its manual clock.
struct Store(Arc<dyn IdempotencyStore>, Clock);

impl StoreFixture for Store {
    fn store(&self) -> Arc<dyn IdempotencyStore> {
        self.0.clone()
    }

    async fn advance(&self, time: Duration) {
        self.1.advance(time);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_store_passes_its_suite() {
    let clock = Clock::manual(Duration::ZERO);
    idempotency::all(&Store(Arc::new(MemoryStore::new(clock.clone())), clock)).await.unwrap();
}

/// A memory publisher with its bound. It refuses messages with the payload `refuse me`.
struct Fixture(MemoryPublisher, u16);

impl Fixture {
    fn new(bound: u16) -> Self {
        let publisher = MemoryPublisher::bounded(bound);
        publisher.judge(|message| match message.payload() {
            Some(b"refuse me") => Err(Error::invalid("refused")),
            _ => Ok(()),
        });
        Self(publisher, bound)
    }
}

impl PublisherFixture for Fixture {
    type Publisher = MemoryPublisher;

    async fn publisher(&self) -> Result<MemoryPublisher, Error> {
        Ok(self.0.clone())
    }

    async fn topic(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn arrived(&self, topic: &str) -> Result<Vec<Message>, Error> {
        Ok(self.0.messages().into_iter().filter(|message| message.topic() == topic).collect())
    }

    fn bound(&self) -> Option<usize> {
        Some(usize::from(self.1))
    }

    fn refusable(&self, message: Message) -> Option<Message> {
        Some(Message::new(MessageParts { payload: Some(b"refuse me"), ..message.parts() }))
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_publisher_passes_its_suite_with_and_without_a_delay() {
    let fixture = Fixture::new(7);
    publisher::all(&fixture).await.unwrap();
    fixture.0.delay(Duration::from_millis(50), Clock::system());
    publisher::all(&fixture).await.unwrap();
}

// The suites report violated guarantees.

/// A publisher that takes the messages of a batch in reverse.
struct ReversingPublisher(MemoryPublisher);

#[async_trait]
impl Publisher for ReversingPublisher {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        batch.make_contiguous().reverse();
        self.0.enqueue(batch)
    }
    async fn ready(&self) -> Result<(), Error> {
        self.0.ready().await
    }
    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

struct ReversingFixture(Fixture);

impl PublisherFixture for ReversingFixture {
    type Publisher = ReversingPublisher;

    async fn publisher(&self) -> Result<ReversingPublisher, Error> {
        Ok(ReversingPublisher(self.0.0.clone()))
    }
    async fn topic(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
    async fn arrived(&self, topic: &str) -> Result<Vec<Message>, Error> {
        self.0.arrived(topic).await
    }
    fn bound(&self) -> Option<usize> {
        Some(usize::from(self.0.1))
    }
}

#[tokio::test(start_paused = true)]
async fn the_suite_reports_a_publisher_that_changes_the_order() {
    let broken = publisher::all(&ReversingFixture(Fixture::new(7))).await.unwrap_err().to_string();
    assert!(broken.starts_with("Publisher violates 2 of 6 guarantees:\n- "), "{broken}");
    let order = "a key keeps its order if batches are taken in part: the messages of key k0 arrive in the order in \
                 which they were enqueued\n    expected: [";
    assert!(broken.contains(order), "{broken}");
    assert!(
        broken.contains("the messages that are not taken stay in the batch, in order\n    observed: "),
        "{broken}"
    );
}

/// An inbox that records claims outside the transaction. If it is `forgetful`, each claim is new.
#[derive(Clone)]
struct InboxOutsideTx {
    unit: MemoryUnit,
    seen: Arc<std::sync::Mutex<Vec<Claim>>>,
    forgetful: bool,
}

impl UnitOfWork for InboxOutsideTx {
    type Tx = MemoryTx;
    async fn begin(&self) -> Result<MemoryTx, Error> {
        self.unit.begin().await
    }
    async fn commit(&self, tx: MemoryTx) -> Result<(), Error> {
        self.unit.commit(tx).await
    }
}

impl Inbox for InboxOutsideTx {
    async fn claim(&self, _: &mut MemoryTx, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        let mut seen = self.seen.lock().unwrap();
        let result = |claim: &Claim| {
            let new = self.forgetful || !seen.contains(claim);
            seen.push(claim.clone());
            if new { Claimed::New } else { Claimed::Seen }
        };
        Ok(claims.iter().map(result).collect())
    }
}

impl UnitFixture for InboxOutsideTx {
    type Unit = Self;
    fn unit(&self) -> Self {
        self.clone()
    }
    async fn write(&self, tx: &mut MemoryTx, text: &str) -> Result<(), Error> {
        self.unit.write(tx, text).await
    }
    async fn count(&self, text: &str) -> Result<usize, Error> {
        self.unit.count(text).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_suite_reports_an_inbox_outside_the_transaction_and_a_forgetful_one() {
    let inbox = |forgetful| InboxOutsideTx { unit: MemoryUnit::new(), seen: Arc::default(), forgetful };
    let broken = inbox::all(&inbox(false)).await.unwrap_err().to_string();
    for guarantee in ["New until it commits", "claim and effect commit together", "a concurrent claim waits"]
    {
        assert!(broken.contains(guarantee), "{broken}");
    }
    assert!(!broken.contains("one of many concurrent claims is New"), "{broken}");
    let broken = inbox::all(&inbox(true)).await.unwrap_err().to_string();
    let count = "one of many concurrent claims is New: the number of concurrent equal claims that are New is 1\n    \
                 expected: 1\n    observed: 16";
    assert!(broken.contains(count), "{broken}");
}

/// A store that accepts any fencing token.
struct UnfencedStore(MemoryStore);

#[async_trait]
impl IdempotencyStore for UnfencedStore {
    async fn admit(&self, call: &CallKey, options: LeaseOptions) -> Result<Admission<LeaseToken>, Error> {
        self.0.admit(call, options).await
    }
    async fn complete(&self, token: &LeaseToken, reply: &StoredReply) -> Result<(), Error> {
        for fence in token.fence..token.fence + 5 {
            if self.0.complete(&LeaseToken { fence, ..token.clone() }, reply).await.is_ok() {
                return Ok(());
            }
        }
        Err(Error::conflict("late"))
    }
    async fn abandon(&self, token: &LeaseToken) -> Result<(), Error> {
        self.0.abandon(token).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_suite_reports_a_store_that_accepts_a_late_reply() {
    let clock = Clock::manual(Duration::ZERO);
    let store = Store(Arc::new(UnfencedStore(MemoryStore::new(clock.clone()))), clock);
    let broken = idempotency::all(&store).await.unwrap_err().to_string();
    assert!(broken.starts_with("IdempotencyStore violates 1 of 10 guarantees:"), "{broken}");
    assert!(broken.contains("- a late complete is refused and overwrites nothing"), "{broken}");
}
