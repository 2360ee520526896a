//! Batch handlers of a consumer without a broker.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use comms_core::{
    Delivery, Error, Message, Outcome, Scoped, batch_fn,
    clock::Clock,
    event::{Event, EventSource},
    transactional_batch,
    transport::BatchConfig,
};
use comms_outbox::ParkedState;
use serde::{Deserialize, Serialize};
use tokio::sync::Barrier;

use super::{Backend, Tx, consume, local::attempts, send, until};

#[derive(Serialize, Deserialize)]
struct Viewed {
    page: String,
    number: usize,
}

impl Event for Viewed {
    const TYPE: &'static str = "viewed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.page.clone()
    }
}

fn viewed(page: &str, number: usize) -> Message {
    let event = Viewed { page: page.into(), number };
    EventSource::new("site", Clock::system()).message(&event).unwrap()
}

/// A full batch begins while another one runs. Each of the two calls waits until both have begun.
pub async fn two_full_batches_run_at_the_same_time<B: Backend>() {
    let (backend, both) = (B::start().await, Arc::new(Barrier::new(2)));
    let rows: Vec<_> = (0..20).map(|n| viewed(&format!("page {n}"), n)).collect();
    send(&backend, &rows).await;
    let handled = Arc::new(AtomicUsize::new(0));
    let handler = batch_fn({
        let handled = handled.clone();
        move |batch: Vec<Delivery>| {
            let (both, handled) = (both.clone(), handled.clone());
            async move {
                both.wait().await;
                handled.fetch_add(batch.len(), SeqCst);
                Ok(batch.iter().map(|_| Ok(Outcome::Done)).collect())
            }
        }
    });
    let consumer = backend.local("test").on_batch(Viewed::TYPE, handler);
    let consumer = consume(consumer.batch(BatchConfig::default().max_records(10)));
    until("both are handled", async || handled.load(SeqCst) == 20).await;
    consumer.stop().await;
}

/// A poison message of a batch is parked with its key behind it, and the others are applied once, in order. The release
/// delivers the key in order.
pub async fn a_poison_message_of_a_batch_is_parked_and_the_others_are_applied_once<B: Backend>() {
    const POISON: usize = 50;
    let (backend, healed, sizes) =
        (B::start().await, Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<usize>>>::default());
    let rows: Vec<_> = (0..100).map(|n| viewed(["a", "b"][n % 2], n)).collect();
    send(&backend, &rows).await;
    let handler = transactional_batch(backend.unit(), {
        let (backend, healed, sizes) = (backend.clone(), healed.clone(), sizes.clone());
        move |views: Vec<Viewed>, mut tx: Scoped<Tx<B>>| {
            let (backend, healed, sizes) = (backend.clone(), healed.clone(), sizes.clone());
            async move {
                sizes.lock().unwrap().push(views.len());
                for view in views {
                    backend.add_effect(&mut tx, &format!("{} {}", view.page, view.number)).await;
                    if view.number == POISON && !healed.load(SeqCst) {
                        return Err(Error::invalid("poison"));
                    }
                }
                Ok(())
            }
        }
    });
    let consumer = backend.local("test").on_batch(Viewed::TYPE, handler).attempts(attempts());
    let consumer = consume(consumer.batch(BatchConfig::default().max_records(20)));
    until("the key is parked", async || backend.parked().await.len() == 25).await;
    until("the others are applied", async || backend.effects().await.len() == 75).await;
    let parked = backend.parked().await;
    assert!(parked[0].error.contains("poison") && parked[1].error.contains("behind"), "{parked:?}");
    assert!(parked.iter().all(|parked| parked.state == ParkedState::Parked), "{parked:?}");
    let of = |effects: Vec<String>, page: &str| -> Vec<usize> {
        effects.iter().filter_map(|e| e.strip_prefix(page)).map(|n| n.trim().parse().unwrap()).collect()
    };
    let evens = |to: usize| (0..to).step_by(2).collect::<Vec<_>>();
    let effects = backend.effects().await;
    assert_eq!(of(effects.clone(), "a "), evens(POISON));
    assert_eq!(of(effects, "b "), (1..100).step_by(2).collect::<Vec<_>>());
    healed.store(true, SeqCst);
    backend.release(Some("a")).await;
    until("the key is released", async || backend.parked().await.is_empty()).await;
    assert_eq!(of(backend.effects().await, "a "), evens(100));
    consumer.stop().await;
    let sizes = sizes.lock().unwrap();
    assert!(sizes.iter().any(|size| *size > 1) && sizes.iter().all(|size| *size <= 20), "{sizes:?}");
}
