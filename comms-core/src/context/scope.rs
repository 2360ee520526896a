//! The current context of a task: a thread-local slot that is filled while the task is polled.
//!
//! A consumer scopes every attempt, but few handlers read the context. So a consumer puts the message into the slot, and
//! the context is made from the message when it is read for the first time.

use pin_project_lite::pin_project;
use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::OnceLock,
    task::{Context as Cx, Poll},
};

use super::{Context, Deadline};
use crate::{Message, clock::Clock};

thread_local! {
    static CURRENT: RefCell<Source> = const { RefCell::new(Source::None) };
}

/// The source of the current context.
#[derive(Debug, Default)]
pub(crate) enum Source {
    /// No context, or a source that is in the slot at the moment.
    #[default]
    None,
    /// A context that was made before.
    Made(Context),
    /// The message that is being handled.
    Message(MessageSource),
}

/// A message whose context is made at its first use.
#[derive(Debug)]
pub(crate) struct MessageSource {
    message: Message,
    clock: Clock,
    context: OnceLock<Box<Context>>,
}

impl MessageSource {
    pub(super) fn context(&self) -> &Context {
        self.context.get_or_init(|| Box::new(Context::of_message(&self.message, &self.clock)))
    }
}

impl Source {
    /// Returns the source of the context in which `message` is handled.
    pub(crate) const fn of_message(message: Message, clock: Clock) -> Self {
        Self::Message(MessageSource { message, clock, context: OnceLock::new() })
    }

    /// Returns the context, which is made if this is its first use.
    pub(crate) fn context(&self) -> Option<&Context> {
        match self {
            Self::None => None,
            Self::Made(context) => Some(context),
            Self::Message(source) => Some(source.context()),
        }
    }

    /// Runs `work` with this source in the slot.
    pub(crate) fn enter<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _restore = Restore::swap(self);
        work()
    }
}

/// Swaps the source back when dropped, also if the work panics.
struct Restore<'a>(&'a mut Source);

impl<'a> Restore<'a> {
    fn swap(source: &'a mut Source) -> Self {
        swap(source);
        Self(source)
    }
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        swap(self.0);
    }
}

/// Swaps `source` with the slot. Without effect while the thread ends, when the slot is gone.
fn swap(source: &mut Source) {
    let _ = CURRENT.try_with(|slot| std::mem::swap(&mut *slot.borrow_mut(), source));
}

/// Returns the context in the slot.
pub(super) fn current() -> Option<Context> {
    CURRENT.try_with(|slot| slot.borrow().context().cloned()).ok().flatten()
}

/// Returns the deadline of the context in the slot. The context of a message has none, so it is not made for this.
pub(super) fn current_deadline() -> Option<Deadline> {
    let deadline = |source: &Source| match source {
        Source::Made(context) => context.deadline,
        Source::None | Source::Message(_) => None,
    };
    CURRENT.try_with(|slot| deadline(&slot.borrow())).ok().flatten()
}

pin_project! {
    /// A future that is polled, and dropped, with its source in the slot.
    pub(super) struct Scoped<F> {
        source: Source,
        #[pin]
        work: Option<F>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.work.is_some() {
                this.source.enter(|| this.work.set(None));
            }
        }
    }
}

impl<F: Future> Scoped<F> {
    pub(super) const fn new(context: Context, work: F) -> Self {
        Self { source: Source::Made(context), work: Some(work) }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.source.enter(|| {
            let Some(work) = this.work.as_mut().as_pin_mut() else { return Poll::Pending };
            let poll = work.poll(cx);
            if poll.is_ready() {
                // Dropped here, so that the drop of this future need not enter the scope again.
                this.work.set(None);
            }
            poll
        })
    }
}
