use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{idempotency::StoreFixture, outbox::OutboxFixture, publisher::PublisherFixture, *};
use crate::{
    Claim, Claimed, ErrorKind, Inbox, Message, Outbox, Publisher, async_trait,
    clock::Clock,
    idempotency::{Admission, CallKey, IdempotencyStore, LeaseOptions, LeaseToken, MemoryStore, StoredReply},
    in_transaction,
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
        Ok(self.messages().into_iter().filter(|message| &*message.topic == topic).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_unit_keeps_every_promise() {
    inbox::all(&MemoryUnit::new()).await.unwrap();
    outbox::all(&MemoryUnit::new()).await.unwrap();
    replies::all(&MemoryUnit::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_unit_keeps_them_on_many_threads() {
    let unit = MemoryUnit::new();
    inbox::all(&unit).await.unwrap();
    replies::all(&unit).await.unwrap();
}

struct Store(Arc<dyn IdempotencyStore>, Clock);

impl StoreFixture for Store {
    fn store(&self) -> Arc<dyn IdempotencyStore> {
        self.0.clone()
    }

    async fn pass(&self, time: Duration) {
        self.1.advance(time);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_store_keeps_every_promise() {
    let clock = Clock::manual(Duration::ZERO);
    idempotency::all(&Store(Arc::new(MemoryStore::new(clock.clone())), clock)).await.unwrap();
}

/// Refuses what is marked.
struct Carrier(MemoryPublisher, u16);

impl Carrier {
    fn new(bound: u16) -> Self {
        let publisher = MemoryPublisher::bounded(bound);
        publisher.judge(|message| match message.payload.as_deref() {
            Some(b"refuse me") => Err(Error::invalid("refused")),
            _ => Ok(()),
        });
        Self(publisher, bound)
    }
}

impl PublisherFixture for Carrier {
    type Publisher = MemoryPublisher;

    async fn publisher(&self) -> Result<MemoryPublisher, Error> {
        Ok(self.0.clone())
    }

    async fn topic(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn arrived(&self, topic: &str) -> Result<Vec<Message>, Error> {
        Ok(self.0.messages().into_iter().filter(|message| &*message.topic == topic).collect())
    }

    fn bound(&self) -> Option<usize> {
        Some(usize::from(self.1))
    }

    fn refusable(&self, message: Message) -> Option<Message> {
        Some(Message { payload: Some("refuse me".into()), ..message })
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_publisher_keeps_every_promise_also_when_it_is_slow() {
    let carrier = Carrier::new(7);
    publisher::all(&carrier).await.unwrap();
    carrier.0.delay(Duration::from_millis(50), Clock::system());
    publisher::all(&carrier).await.unwrap();
}

// The suites find what is broken, and name it.

/// Takes the last first.
struct Backwards(MemoryPublisher);

#[async_trait]
impl Publisher for Backwards {
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

struct Bad(Carrier);

impl PublisherFixture for Bad {
    type Publisher = Backwards;

    async fn publisher(&self) -> Result<Backwards, Error> {
        Ok(Backwards(self.0.0.clone()))
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
async fn a_publisher_that_changes_the_order_is_found() {
    let broken = publisher::all(&Bad(Carrier::new(7))).await.unwrap_err().to_string();
    assert!(broken.starts_with("Publisher breaks 2 promises:"), "{broken}");
    assert!(broken.contains("- a key keeps its order through partial takes: the order of a key"), "{broken}");
    assert!(broken.contains("the rest stays with the caller, in order"), "{broken}");
}

/// Remembers a claim at once, whether or not its transaction commits; or, `forgetful`, never.
#[derive(Clone)]
struct Careless {
    unit: MemoryUnit,
    seen: Arc<std::sync::Mutex<Vec<Claim>>>,
    forgetful: bool,
}

impl UnitOfWork for Careless {
    type Tx = MemoryTx;
    async fn begin(&self) -> Result<MemoryTx, Error> {
        self.unit.begin().await
    }
    async fn commit(&self, tx: MemoryTx) -> Result<(), Error> {
        self.unit.commit(tx).await
    }
}

impl Inbox for Careless {
    async fn claim(&self, _: &mut MemoryTx, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        let mut seen = self.seen.lock().unwrap();
        let answer = |claim: &Claim| {
            let new = self.forgetful || !seen.contains(claim);
            seen.push(claim.clone());
            if new { Claimed::New } else { Claimed::Seen }
        };
        Ok(claims.iter().map(answer).collect())
    }
}

impl UnitFixture for Careless {
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
async fn an_inbox_outside_the_transaction_and_one_that_forgets_are_found() {
    let careless = |forgetful| Careless { unit: MemoryUnit::new(), seen: Arc::default(), forgetful };
    let broken = inbox::all(&careless(false)).await.unwrap_err().to_string();
    for promise in ["New until it commits", "claim and effect commit together", "a concurrent claim waits"] {
        assert!(broken.contains(promise), "{broken}");
    }
    assert!(!broken.contains("exactly one is New"), "{broken}");
    let broken = inbox::all(&careless(true)).await.unwrap_err().to_string();
    assert!(
        broken.contains("of many at once exactly one is New: how many were New\n    found    16"),
        "{broken}"
    );
}

/// Does not look at the fence.
struct Unfenced(MemoryStore);

#[async_trait]
impl IdempotencyStore for Unfenced {
    async fn admit(&self, call: &CallKey, terms: LeaseOptions) -> Result<Admission<LeaseToken>, Error> {
        self.0.admit(call, terms).await
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
async fn a_store_that_takes_a_late_reply_is_found() {
    let clock = Clock::manual(Duration::ZERO);
    let store = Store(Arc::new(Unfenced(MemoryStore::new(clock.clone()))), clock);
    let broken = idempotency::all(&store).await.unwrap_err().to_string();
    assert!(broken.starts_with("IdempotencyStore breaks 1 promises:"), "{broken}");
    assert!(broken.contains("- a late complete is refused and overwrites nothing"), "{broken}");
}

// What only the memory backends have.

#[tokio::test(start_paused = true)]
async fn two_transactions_that_wait_for_each_other_are_told() {
    let unit = MemoryUnit::new();
    let (mut one, mut two) = (unit.begin().await.unwrap(), unit.begin().await.unwrap());
    one.write("a", "1").await.unwrap();
    two.write("b", "2").await.unwrap();
    let (first, second) = tokio::join!(one.write("b", "1"), two.write("a", "2"));
    let error = first.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.to_string().contains("deadlock"), "{error}");
    assert!(second.is_err());
}

#[tokio::test(start_paused = true)]
async fn rows_are_counted_up_without_a_lost_update() {
    let unit = MemoryUnit::new();
    let add = |_| {
        let unit = unit.clone();
        let one = async |mut tx: crate::Scoped<MemoryTx>| {
            let count = tx.read("n").await?.map_or(0, |bytes| bytes.len());
            tokio::task::yield_now().await;
            tx.write("n", vec![0; count + 1]).await
        };
        tokio::spawn(async move { in_transaction(&unit, one).await })
    };
    for add in (0..50).map(add).collect::<Vec<_>>() {
        add.await.unwrap().unwrap();
    }
    assert_eq!(unit.row("n").unwrap().len(), 50);
    in_transaction(&unit, async |mut tx| tx.delete("n").await).await.unwrap();
    assert!(unit.rows().is_empty());
}

#[tokio::test]
async fn a_commit_fails_when_it_is_told_to_and_a_foreign_transaction_is_refused() {
    let unit = MemoryUnit::new();
    unit.fail_next_commit(Error::indeterminate("connection reset"));
    let write = async || in_transaction(&unit, async |mut tx| tx.write("a", "1").await).await;
    assert_eq!(write().await.unwrap_err().kind, ErrorKind::Indeterminate);
    assert!(unit.row("a").is_none());
    write().await.unwrap();
    let mut foreign = MemoryUnit::new().begin().await.unwrap();
    assert_eq!(unit.enqueue(&mut foreign, &[]).await.unwrap_err().kind, ErrorKind::Fatal);
}

#[tokio::test(start_paused = true)]
async fn a_publisher_parks_and_breaks_down_when_it_is_told_to() {
    let publisher = MemoryPublisher::new();
    let message = |id: &str| Message {
        source: "s".into(),
        id: id.into(),
        topic: "t".into(),
        key: None,
        headers: crate::Headers::new(),
        payload: None,
    };
    publisher.park();
    let answered = Arc::new(AtomicBool::new(false));
    let (acks, flag) = (publisher.enqueue(&mut [message("1")].into()), answered.clone());
    let waiting = tokio::spawn(async move {
        let results = acks.await;
        flag.store(true, Ordering::SeqCst);
        results
    });
    assert_eq!(publisher.flush().await.unwrap_err().kind, ErrorKind::Indeterminate);
    assert!(!answered.load(Ordering::SeqCst) && publisher.in_flight() == 1);
    publisher.release();
    assert!(waiting.await.unwrap()[0].is_ok());
    publisher.flush().await.unwrap();
    publisher.break_down("fenced");
    assert_eq!(publisher.ready().await.unwrap_err().kind, ErrorKind::Fatal);
    let results = publisher.enqueue(&mut [message("2")].into()).await;
    assert_eq!(results[0].as_ref().unwrap_err().kind, ErrorKind::Fatal);
    assert_eq!(publisher.messages().len(), 1);
}
