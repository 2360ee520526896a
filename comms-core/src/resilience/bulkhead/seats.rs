//! A fair counting semaphore whose free path is one atomic word.
//!
//! The word holds how many wait above how many are seated. Who waits stands in a queue under a lock, and the
//! number of those who wait changes only under that lock; so who leaves either sees that nobody waits and
//! takes itself out, in one step, or gives its seat to the first in the queue.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};

const WAITING: u64 = 1 << 32;

const fn seated(word: u64) -> u32 {
    word as u32
}

const fn waiting(word: u64) -> u32 {
    (word >> 32) as u32
}

#[derive(Debug)]
pub(crate) struct Seats {
    word: AtomicU64,
    limit: AtomicU32,
    max_queued: AtomicU32,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Tickets rise, so the queue is sorted. A ticket that is not in it has been given a seat.
    waiting: VecDeque<(u64, Waker)>,
    next_ticket: u64,
}

/// A place in the queue. Give it to [`Seats::poll`] until that is ready, or to [`Seats::give_up`].
#[derive(Debug)]
pub(crate) struct Ticket(u64);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Seats {
    pub(crate) fn new(limit: u32, max_queued: u32) -> Self {
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(limit),
            max_queued: AtomicU32::new(max_queued),
            queue: Mutex::default(),
        }
    }

    /// A seat, if one is free and nobody waits for it.
    #[inline]
    pub(crate) fn try_take(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let mut word = self.word.load(Ordering::Relaxed);
        while waiting(word) == 0 && seated(word) < limit {
            match self.word.compare_exchange_weak(word, word + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(newer) => word = newer,
            }
        }
        false
    }

    /// A seat (`None`), or a ticket to wait with.
    pub(crate) fn queue_up(&self, cx: &Context<'_>) -> Result<Option<Ticket>, Full> {
        let mut queue = self.lock();
        loop {
            // Again under the lock: from here on nobody else changes who waits.
            if self.try_take() {
                return Ok(None);
            }
            let word = self.word.load(Ordering::Relaxed);
            if waiting(word) >= self.max_queued.load(Ordering::Relaxed) {
                return Err(Full);
            }
            let free = waiting(word) == 0 && seated(word) < self.limit.load(Ordering::Relaxed);
            let joined = word + WAITING;
            if !free && self.word.compare_exchange(word, joined, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                let ticket = queue.next_ticket;
                queue.next_ticket += 1;
                queue.waiting.push_back((ticket, cx.waker().clone()));
                return Ok(Some(Ticket(ticket)));
            }
        }
    }

    /// Ready when the ticket has a seat; the ticket is used up then.
    pub(crate) fn poll(&self, ticket: &Ticket, cx: &Context<'_>) -> Poll<()> {
        let mut queue = self.lock();
        match queue.find(ticket) {
            Some(place) => {
                queue.waiting[place].1.clone_from(cx.waker());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }

    /// Leaves the queue; a seat that came meanwhile goes on to the next.
    pub(crate) fn give_up(&self, ticket: &Ticket) {
        let mut queue = self.lock();
        match queue.find(ticket) {
            Some(place) => {
                queue.waiting.remove(place);
                self.word.fetch_sub(WAITING, Ordering::Relaxed);
            }
            None => {
                drop(queue);
                self.leave();
            }
        }
    }

    /// Gives a seat back.
    #[inline]
    pub(crate) fn leave(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        while waiting(word) == 0 {
            match self.word.compare_exchange_weak(word, word - 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => word = newer,
            }
        }
        let mut queue = self.lock();
        self.word.fetch_sub(1, Ordering::Release);
        let next = self.seat_first(&mut queue);
        drop(queue);
        next.into_iter().for_each(Waker::wake);
    }

    /// Seats the first in the queue, if a seat is free. Under the lock.
    fn seat_first(&self, queue: &mut Queue) -> Option<Waker> {
        let limit = self.limit.load(Ordering::Relaxed);
        let mut word = self.word.load(Ordering::Relaxed);
        while waiting(word) > 0 && seated(word) < limit {
            let next = word - WAITING + 1;
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return queue.waiting.pop_front().map(|(_, waker)| waker),
                Err(newer) => word = newer,
            }
        }
        None
    }

    /// Another size. Those seated stay; those who wait get what has come free.
    pub(crate) fn resize(&self, limit: u32, max_queued: u32) {
        let mut queue = self.lock();
        self.limit.store(limit, Ordering::Relaxed);
        self.max_queued.store(max_queued, Ordering::Relaxed);
        let seated: Vec<Waker> = std::iter::from_fn(|| self.seat_first(&mut queue)).collect();
        drop(queue);
        seated.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn counts(&self) -> (u32, u32, u32) {
        let word = self.word.load(Ordering::Relaxed);
        (seated(word), waiting(word), self.limit.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn find(&self, ticket: &Ticket) -> Option<usize> {
        self.waiting.binary_search_by_key(&ticket.0, |(ticket, _)| *ticket).ok()
    }
}
