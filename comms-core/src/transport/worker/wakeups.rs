//! Which futures of a set were woken.

use std::{collections::VecDeque, task::Waker};

use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};

/// The futures of one set that were woken, and the task that polls the set.
#[derive(Debug, Default)]
pub(crate) struct Wakeups(Mutex<Woken>);

#[derive(Debug, Default)]
struct Woken {
    /// The numbers of the futures, each once, in the order of their wake-ups.
    futures: VecDeque<u32>,
    /// The task, if it is to be woken at the next wake-up.
    task: Option<Waker>,
}

impl Wakeups {
    /// Swaps the futures that were woken with `taken`, which is empty.
    pub(crate) fn take(&self, taken: &mut VecDeque<u32>) {
        std::mem::swap(&mut self.lock().futures, taken);
    }

    /// Returns whether a future was woken. If none was, `waker` is woken with the next one.
    pub(crate) fn woken_or_wake(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut woken = self.lock();
        if !woken.futures.is_empty() {
            return true;
        }
        let replaced = woken.task.replace(waker);
        // The drop of a waker is foreign code, which must not run under the lock.
        drop(woken);
        drop(replaced);
        false
    }

    fn push(&self, number: u32) {
        let task = {
            let mut woken = self.lock();
            woken.futures.push_back(number);
            woken.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Woken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of one number in a set.
#[derive(Debug)]
pub(crate) struct Wakeup {
    number: u32,
    /// The number is in the queue already.
    is_queued: AtomicBool,
    wakeups: Arc<Wakeups>,
}

impl Wakeup {
    pub(crate) fn new(number: u32, wakeups: Arc<Wakeups>) -> Self {
        Self { number, is_queued: AtomicBool::new(false), wakeups }
    }

    /// Lets the next wake-up count. Call it before each poll of the future: a wake-up during the poll is not lost then.
    pub(crate) fn reset(&self) {
        // A swap, so that the poll sees what happened before a wake-up that found the number in the queue.
        self.is_queued.swap(false, Ordering::AcqRel);
    }
}

impl std::task::Wake for Wakeup {
    fn wake(self: std::sync::Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.wakeups.push(self.number);
        }
    }
}
