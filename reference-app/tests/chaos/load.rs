//! Places orders in the background, and checks the databases at the end.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::support::{Marketplace, eventually};

/// The largest number of requests in flight.
const CONCURRENCY: usize = 16;
const USERS: usize = 20;

/// A task that places orders.
pub(crate) struct Load {
    acknowledged: Arc<AtomicUsize>,
    paused: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<String>>,
    orders: usize,
}

impl Load {
    /// Places `orders` orders, one every `pace`, each with retries under a key of its own.
    pub(crate) fn start(marketplace: &Marketplace, orders: usize, pace: Duration) -> Self {
        let buyers: Vec<_> = (0..USERS).map(|n| marketplace.buyer(&format!("user-{n}"))).collect();
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let count = acknowledged.clone();
        let paused = Arc::new(AtomicBool::new(false));
        let idle = paused.clone();
        let task = tokio::spawn(async move {
            let (gate, mut tasks) = (Arc::new(Semaphore::new(CONCURRENCY)), JoinSet::new());
            for n in 0..orders {
                while idle.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let permit = gate.clone().acquire_owned().await.unwrap();
                let (buyer, count) = (buyers[n % USERS].clone(), count.clone());
                tasks.spawn(async move {
                    let placed = buyer.place_with_retries(&format!("order-{n}"), 100 + n as i64).await;
                    count.fetch_add(1, Ordering::SeqCst);
                    drop(permit);
                    placed.order_id
                });
                tokio::time::sleep(pace).await;
            }
            tasks.join_all().await
        });
        Self { acknowledged, paused, task, orders }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Places no further orders until [`Load::resume`].
    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    pub(crate) fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Resolves when `orders` more orders are acknowledged, or all are.
    pub(crate) async fn progress(&self, orders: usize) {
        let wanted = self.acknowledged() + orders;
        eventually("orders are acknowledged again", Duration::from_secs(90), async || {
            (self.acknowledged() >= wanted || self.is_finished()).then_some(())
        })
        .await;
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until all orders are acknowledged and settled, then checks and prints the counts of the databases.
    /// `faults` is the number of injected faults.
    pub(crate) async fn check(self, marketplace: &Marketplace, what: &str, faults: usize) {
        let placed =
            tokio::time::timeout(Duration::from_secs(300), self.task).await.expect("acknowledged in time");
        let placed: HashSet<String> = placed.unwrap().into_iter().collect();
        let orders = self.orders;
        assert_eq!(placed.len(), orders, "one order per key");
        marketplace.settled(orders, Duration::from_secs(180)).await;
        // Time for redeliveries, which must have no second effect.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let counts = marketplace.databases.counts().await.unwrap();
        println!("{what}: {faults} times, {orders} orders acknowledged: {counts:?}");
        assert_eq!(counts.orders, orders, "stored orders");
        assert_eq!(counts.paid, orders, "acknowledged orders that reached PAID");
        assert_eq!(counts.payments, orders, "payments");
        assert_eq!(counts.charges, orders, "charges");
        assert_eq!(counts.notifications, 2 * orders, "notifications");
        assert_eq!(counts.broken_sequences, 0, "orders with a broken sequence of statuses");
        assert_eq!(
            counts.broken_notifications, 0,
            "orders with missing, repeated or unordered notifications"
        );
        assert_eq!(counts.broken_charges, 0, "orders with more than one charge");
        assert_eq!(counts.broken_stocks, 0, "ads whose stock is not conserved");
        assert_eq!(counts.parked, 0, "parked messages");
    }
}
