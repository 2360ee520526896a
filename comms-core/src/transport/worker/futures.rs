//! A set of futures that are polled when they are woken.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::wakeups::{Wakeup, Wakeups};

/// A set of futures that are polled when they are woken.
///
/// It differs from `FuturesUnordered` in two points. The place of a future that has ended is used again, with its waker,
/// so that a future needs no allocation. And a future can be polled before it is inserted, with
/// [`next_waker`](Self::next_waker), so that only a future that is pending is inserted, and no poll is repeated.
///
/// A late wake-up of a future that has ended polls the next one in its place, which is harmless. The set keeps the
/// memory of the most futures that were in it at the same time.
pub(super) struct FutureSet<F> {
    places: Vec<Place<F>>,
    free: Vec<u32>,
    /// The places that are polled next.
    due: VecDeque<u32>,
    wakeups: Arc<Wakeups>,
}

struct Place<F> {
    future: Option<F>,
    wakeup: Arc<Wakeup>,
    waker: Waker,
}

impl<F> FutureSet<F> {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), due: VecDeque::new(), wakeups: Arc::default() }
    }

    pub(super) const fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the waker of the next future that is inserted.
    #[inline]
    pub(super) fn next_waker(&mut self) -> &Waker {
        let number = self.free.last().copied().unwrap_or_else(|| self.grow());
        &self.places[number as usize].waker
    }

    /// Adds a future, which is polled when it is woken. It was polled with [`next_waker`](Self::next_waker).
    pub(super) fn insert(&mut self, future: F) -> u32 {
        let number = self.free.last().copied().unwrap_or_else(|| self.grow());
        self.free.pop();
        self.places[number as usize].future = Some(future);
        number
    }

    /// Adds a future that was not polled yet.
    pub(super) fn insert_new(&mut self, future: F) {
        let number = self.insert(future);
        self.due.push_back(number);
    }

    /// Adds a free place, and returns its number.
    #[cold]
    fn grow(&mut self) -> u32 {
        // The budget bounds the futures far below 2^32.
        let number = self.places.len() as u32;
        let wakeup = Arc::new(Wakeup::new(number, self.wakeups.clone()));
        self.places.push(Place { future: None, waker: wakeup.clone().into(), wakeup });
        self.free.push(number);
        number
    }

    /// Returns all futures, with their wakers.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&mut F, &Waker)> {
        self.places.iter_mut().filter_map(|place| Some((place.future.as_mut()?, &place.waker)))
    }

    /// Returns whether a future was woken since the last poll. If none was, `waker` is woken with the next one.
    pub(super) fn woken_or_wake(&self, waker: &Waker) -> bool {
        self.wakeups.woken_or_wake(waker)
    }
}

impl<F: Future + Unpin> FutureSet<F> {
    /// Polls the futures that were woken, each once, until one of them ends. If none does, call
    /// [`woken_or_wake`](Self::woken_or_wake) before the task waits.
    pub(super) fn poll(&mut self) -> Poll<F::Output> {
        if self.due.is_empty() {
            self.wakeups.take(&mut self.due);
        }
        while let Some(number) = self.due.pop_front() {
            let place = &mut self.places[number as usize];
            place.wakeup.reset();
            let Some(future) = &mut place.future else { continue };
            if let Poll::Ready(output) = Pin::new(future).poll(&mut Context::from_waker(&place.waker)) {
                place.future = None;
                self.free.push(number);
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::{PollFn, poll_fn},
        sync::{
            Mutex,
            atomic::{AtomicU32, Ordering::SeqCst},
        },
        task::Wake,
    };

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// A future that counts its polls, keeps the waker of the last one, and ends when its test sets a flag.
    #[derive(Default)]
    struct Script {
        polls: AtomicU32,
        waker: Mutex<Option<Waker>>,
        ends: AtomicU32,
    }

    impl Script {
        fn future(self: &Arc<Self>) -> PollFn<impl FnMut(&mut Context<'_>) -> Poll<u32> + use<>> {
            let script = self.clone();
            poll_fn(move |cx| {
                let polls = script.polls.fetch_add(1, SeqCst) + 1;
                *script.waker.lock().unwrap() = Some(cx.waker().clone());
                if script.ends.load(SeqCst) == 0 { Poll::Pending } else { Poll::Ready(polls) }
            })
        }

        fn wake(&self) {
            let waker = self.waker.lock().unwrap().clone();
            waker.unwrap().wake();
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::<Count>::default();
        (count.clone(), count.into())
    }

    #[test]
    fn a_future_is_polled_once_per_wake_up() {
        let (script, mut set) = (Arc::<Script>::default(), FutureSet::new());
        set.insert_new(script.future());
        assert!(set.poll().is_pending() && set.poll().is_pending());
        assert_eq!(script.polls.load(SeqCst), 1, "the poll without a wake-up polled nothing");
        (0..3).for_each(|_| script.wake());
        assert!(set.poll().is_pending() && set.poll().is_pending());
        assert_eq!(script.polls.load(SeqCst), 2);
        script.ends.store(1, SeqCst);
        script.wake();
        assert_eq!((set.poll(), set.is_empty()), (Poll::Ready(3), true));
    }

    #[test]
    fn a_future_that_was_polled_waits_for_its_wake_up() {
        let (script, mut set) = (Arc::<Script>::default(), FutureSet::new());
        let mut future = script.future();
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(set.next_waker())).is_pending());
        // Woken before it is in the set.
        script.wake();
        set.insert(future);
        script.ends.store(1, SeqCst);
        assert_eq!(set.poll(), Poll::Ready(2));
    }

    #[test]
    fn the_task_is_woken_once_and_not_if_a_future_was_woken_before() {
        let (script, mut set) = (Arc::<Script>::default(), FutureSet::new());
        let (count, waker) = task();
        set.insert_new(script.future());
        assert!(set.poll().is_pending() && !set.woken_or_wake(&waker));
        (0..3).for_each(|_| script.wake());
        assert_eq!(count.0.load(SeqCst), 1);
        assert!(set.woken_or_wake(&waker), "the futures were not polled since");
        assert!(set.poll().is_pending() && !set.woken_or_wake(&waker));
        assert_eq!(count.0.load(SeqCst), 1);
    }

    #[test]
    fn a_place_is_used_again_and_a_late_wake_up_is_harmless() {
        let (first, second, mut set) = (Arc::<Script>::default(), Arc::<Script>::default(), FutureSet::new());
        first.ends.store(1, SeqCst);
        set.insert_new(first.future());
        assert_eq!(set.poll(), Poll::Ready(1));
        first.wake();
        assert!(set.poll().is_pending(), "the place is empty");
        set.insert_new(second.future());
        assert!(set.poll().is_pending());
        first.wake();
        assert!(set.poll().is_pending());
        assert_eq!((second.polls.load(SeqCst), set.len(), set.places.len()), (2, 1, 1));
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_once_per_poll_of_the_set() {
        let mut set = FutureSet::new();
        let mut polls = 0;
        set.insert_new(poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls < 3 { Poll::Pending } else { Poll::Ready(polls) }
        }));
        let (_, waker) = task();
        for _ in 0..2 {
            assert!(set.poll().is_pending() && set.woken_or_wake(&waker));
        }
        assert_eq!(set.poll(), Poll::Ready(3));
    }
}
