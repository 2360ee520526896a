//! A request body of several messages, recorded while it is sent.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Body as HttpBody;
use tonic::{Status, body::Body};

/// The messages of a call, shared by the bodies of its attempts.
pub(super) struct Source {
    /// The messages that were read, in their order. Empty once they are longer than the limit.
    read: Vec<Bytes>,
    size: usize,
    limit: usize,
    /// Whether the beginning of the body is gone.
    overflowed: bool,
    rest: Body,
    /// The number of the newest attempt. An older one reads no further.
    newest: u32,
}

impl Source {
    pub(super) fn new(read: Vec<Bytes>, rest: Body, limit: usize) -> Self {
        let size = read.iter().map(Bytes::len).sum();
        Self { read, size, limit, overflowed: false, rest, newest: 0 }
    }
}

/// The body of one attempt: first the messages that were read before, then the rest.
pub(super) struct StreamBody {
    source: Arc<Mutex<Source>>,
    next: usize,
    /// The number of the attempt, from its first poll on.
    attempt: Option<u32>,
}

impl StreamBody {
    pub(super) fn new(source: Source) -> Self {
        Self { source: Arc::new(Mutex::new(source)), next: 0, attempt: None }
    }

    /// Returns the body of the next attempt, or `None` if the beginning is gone.
    pub(super) fn replay(&self) -> Option<Self> {
        let overflowed = lock(&self.source).overflowed;
        (!overflowed).then(|| Self { source: self.source.clone(), next: 0, attempt: None })
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let mut source = lock(&self.source);
        if self.attempt.is_none() {
            if source.overflowed {
                return Poll::Ready(Some(Err(Status::internal("the request body cannot be sent again"))));
            }
            source.newest += 1;
            self.attempt = Some(source.newest);
        }
        if self.attempt != Some(source.newest) {
            return Poll::Ready(Some(Err(Status::cancelled("a later attempt replaced this one"))));
        }
        let recorded = source.read.get(self.next).cloned();
        let data = match recorded {
            Some(data) => data,
            None => match std::task::ready!(Pin::new(&mut source.rest).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { return Poll::Ready(None) };
                    source.size += data.len();
                    if !source.overflowed {
                        source.read.push(data.clone());
                    }
                    data
                }
                Some(Err(status)) => {
                    // What follows would be a request with a hole.
                    (source.overflowed, source.read) = (true, Vec::new());
                    return Poll::Ready(Some(Err(status)));
                }
                None => return Poll::Ready(None),
            },
        };
        self.next += 1;
        // A message that was sent and is over the limit ends the recording. A message that waits to be sent stays.
        if source.size > source.limit && self.next >= source.read.len() {
            source.overflowed = true;
            source.read = Vec::new();
            self.next = 0;
        }
        Poll::Ready(Some(Ok(data)))
    }
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}
