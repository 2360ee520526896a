//! Key lanes: items of one key run one after the other, items of different keys run concurrently.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

type Work<T> = dyn Fn(T) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// Queues that run the items of one key in order, and the items of different keys concurrently.
///
/// Each key with unfinished items has a lane: a FIFO queue and a task. A lane without items is removed. The queues have
/// no bound, so the caller must bound the number of items that are pushed and not completed.
///
/// ```
/// use comms_core::transport::Lanes;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let lanes = Lanes::new(|(order, step): (&'static str, u32)| async move {
///     println!("{order}: step {step}"); // `a` in the order 1, 2; `b` concurrently
/// });
/// for (order, step) in [("a", 1), ("a", 2), ("b", 1)] {
///     lanes.push(Some(order), (order, step));
/// }
/// lanes.drained().await;
/// assert_eq!(lanes.active(), 0);
/// # });
/// ```
pub struct Lanes<K, T> {
    shared: Arc<Shared<K, T>>,
    tasks: Tasks,
}

/// The number of running tasks. A counter suffices, and unlike a `JoinSet` it needs no `&mut self` to spawn a task.
#[derive(Clone)]
struct Tasks(watch::Sender<usize>);

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.send_modify(|running| *running += 1);
        let counted = Counted(self.clone());
        tokio::spawn(async move {
            let _counted = counted;
            task.await;
        });
    }
}

/// Counts one running task. Dropping it, also by a panic of the task, ends the count.
struct Counted(Tasks);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.send_modify(|running| *running -= 1);
    }
}

struct Shared<K, T> {
    waiting: Mutex<HashMap<K, VecDeque<T>>>,
    work: Box<Work<T>>,
}

impl<K: Hash + Eq + Clone + Send + 'static, T: Send + 'static> Lanes<K, T> {
    /// Creates lanes that call `work` with each item.
    ///
    /// `work` must not panic. After a panic neither the queued nor any later items of the key run.
    pub fn new<F, Fut>(work: F) -> Self
    where
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let work: Box<Work<T>> = Box::new(move |item| Box::pin(work(item)));
        Self {
            shared: Arc::new(Shared { waiting: Mutex::default(), work }),
            tasks: Tasks(watch::Sender::new(0)),
        }
    }

    /// Queues `item` behind the earlier items of `key`. An item without a key starts at once.
    ///
    /// # Panics
    /// Panics if it is called outside a tokio runtime.
    pub fn push(&self, key: Option<K>, item: T) {
        let shared = self.shared.clone();
        let Some(key) = key else {
            self.tasks.spawn(async move { (shared.work)(item).await });
            return;
        };
        match self.shared.lock().entry(key.clone()) {
            Entry::Occupied(mut lane) => lane.get_mut().push_back(item),
            Entry::Vacant(lane) => {
                lane.insert(VecDeque::new());
                self.tasks.spawn(async move { shared.run(key, item).await });
            }
        }
    }

    /// Returns the number of running tasks: one for each key with unfinished items, and one for each unfinished item
    /// without a key.
    #[must_use]
    pub fn active(&self) -> usize {
        *self.tasks.0.borrow()
    }

    /// Resolves when all items have run. The caller must not push items while it waits.
    pub async fn drained(&self) {
        // The sender is in `self`: it cannot close.
        let _ = self.tasks.0.subscribe().wait_for(|running| *running == 0).await;
    }
}

impl<K: Hash + Eq, T> Shared<K, T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, VecDeque<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, key: K, mut item: T) {
        loop {
            (self.work)(item).await;
            let mut waiting = self.lock();
            // The lane is removed under the lock that `push` takes to find it, so no item is pushed to a removed lane.
            match waiting.get_mut(&key).and_then(VecDeque::pop_front) {
                Some(next) => item = next,
                None => {
                    waiting.remove(&key);
                    return;
                }
            }
        }
    }
}

impl<K, T> fmt::Debug for Lanes<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("active", &*self.tasks.0.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test waits for tokio's time")]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_key_keeps_its_order_and_holds_up_no_other() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let lanes = Lanes::new(move |(key, n, millis): (&'static str, u32, u64)| {
            let log = log.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                log.lock().unwrap().push((key, n));
            }
        });
        for item in [("slow", 1, 100), ("fast", 1, 1), ("slow", 2, 1), ("fast", 2, 1)] {
            lanes.push(Some(item.0), item);
        }
        lanes.drained().await;
        assert_eq!(*seen.lock().unwrap(), [("fast", 1), ("fast", 2), ("slow", 1), ("slow", 2)]);
        assert!(lanes.shared.lock().is_empty(), "idle lanes are reclaimed");
    }
}
