//! Wakes that wait until the work on a connection is done.
//!
//! h2 wakes a call at the first frame of its response, and the task of the connection at the headers of a request, both
//! while it holds the lock of the connection. A task on another thread would wait for the lock, and would find a part of
//! the frames. Here such a wake waits until the connection has processed what it received, and until the message of the
//! request is queued behind its headers.

use std::{
    cell::RefCell,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use futures::task::AtomicWaker;

thread_local! {
    static DELAYED: RefCell<Delayed> = const { RefCell::new(Delayed { is_active: false, tasks: Vec::new() }) };
}

/// The tasks that wait to be woken. They are at most the calls of one connection, and its task.
struct Delayed {
    is_active: bool,
    tasks: Vec<Waker>,
}

/// Delays the wakes on this thread until it is dropped. It cannot leave the thread.
pub(super) struct DelayedWakes(PhantomData<*const ()>);

impl DelayedWakes {
    /// Returns `None` if the wakes on this thread are already delayed.
    pub(super) fn begin() -> Option<Self> {
        let was_active = DELAYED.with_borrow_mut(|delayed| std::mem::replace(&mut delayed.is_active, true));
        // The drop of a value ends the delay, so none is made without need.
        (!was_active).then(|| Self(PhantomData))
    }
}

impl Drop for DelayedWakes {
    fn drop(&mut self) {
        let mut tasks = DELAYED.with_borrow_mut(|delayed| {
            delayed.is_active = false;
            std::mem::take(&mut delayed.tasks)
        });
        tasks.drain(..).for_each(Waker::wake);
        // Keeps the memory for the next wakes.
        DELAYED.with_borrow_mut(|delayed| delayed.tasks = tasks);
    }
}

/// The waker of one task for the futures of h2. Its wakes can be delayed.
#[derive(Debug)]
pub(super) struct DelayableWaker {
    task: Arc<TaskWaker>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct TaskWaker(AtomicWaker);

impl DelayableWaker {
    pub(super) fn new() -> Self {
        let task = Arc::<TaskWaker>::default();
        Self { waker: task.clone().into(), task }
    }

    /// Calls `poll` with a context that wakes the task of `cx`.
    pub(super) fn poll<T>(
        &self,
        cx: &Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.task.0.register(cx.waker());
        poll(&mut Context::from_waker(&self.waker))
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut task = self.0.take();
        // Fails only at the end of the thread.
        let _ = DELAYED.try_with(|delayed| {
            let mut delayed = delayed.borrow_mut();
            if delayed.is_active {
                delayed.tasks.extend(task.take());
            }
        });
        task.into_iter().for_each(Waker::wake);
    }
}

/// A connection that wakes its calls at the end of each poll.
#[pin_project::pin_project]
pub(super) struct WakesAfterPoll<F> {
    #[pin]
    connection: F,
    waker: DelayableWaker,
}

impl<F> WakesAfterPoll<F> {
    pub(super) fn new(connection: F) -> Self {
        Self { connection, waker: DelayableWaker::new() }
    }
}

impl<F: Future> Future for WakesAfterPoll<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _wakes = DelayedWakes::begin();
        this.waker.poll(cx, |cx| this.connection.poll(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use futures::task::noop_waker;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Polls a future that h2 wakes with the returned waker.
    fn pending(waker: &DelayableWaker, cx: &Context<'_>) -> Waker {
        let mut kept = noop_waker();
        let poll = waker.poll(cx, |cx| {
            kept = cx.waker().clone();
            Poll::<()>::Pending
        });
        assert!(poll.is_pending());
        kept
    }

    #[test]
    fn a_wake_is_delayed_until_the_work_is_done_and_comes_once() {
        let count = Arc::<Count>::default();
        let (task, waker) = (count.clone().into(), DelayableWaker::new());
        let cx = Context::from_waker(&task);
        let woken = || count.0.load(Relaxed);
        for round in 0..2 {
            let kept = pending(&waker, &cx);
            let wakes = DelayedWakes::begin();
            assert!(wakes.is_some() && DelayedWakes::begin().is_none(), "the outer one ends the delay");
            kept.wake_by_ref();
            kept.wake_by_ref();
            assert_eq!(woken(), round * 2);
            drop(wakes);
            assert_eq!(woken(), round * 2 + 1);
            // Without other work, the task is woken at once.
            pending(&waker, &cx).wake();
            assert_eq!(woken(), round * 2 + 2);
        }
    }

    #[test]
    fn a_panic_of_the_work_loses_no_wake() {
        let count = Arc::<Count>::default();
        let (task, waker) = (count.clone().into(), DelayableWaker::new());
        let kept = pending(&waker, &Context::from_waker(&task));
        let panics = std::panic::catch_unwind(|| {
            let _wakes = DelayedWakes::begin();
            kept.wake();
            panic!("the work fails");
        });
        assert!(panics.is_err());
        assert_eq!(count.0.load(Relaxed), 1);
        assert!(DelayedWakes::begin().is_some());
    }
}
