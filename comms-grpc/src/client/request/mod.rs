//! The request of a call, from which each attempt is made.

mod body;
mod headers;
mod hedged;
mod stream;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};

use bytes::Bytes;
use comms_core::{
    clock::Clock,
    context::{Deadline, Protocol},
};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, uri};

pub(super) use body::RequestBody;
pub(super) use headers::{IDEMPOTENCY_KEY, write_context};
pub(super) use hedged::Hedged;

use headers::{GRPC_TIMEOUT, TRACEPARENT};

/// The request of a call. Its attempts share the head.
pub(super) struct CallRequest {
    pub(super) head: Arc<Head>,
    pub(super) body: RequestBody,
    /// The number of attempts before this one. Transparent retries are not counted (gRFC A6).
    pub(super) earlier_attempts: AtomicU32,
}

/// The parts of a request that are the same in each attempt.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: Option<uri::PathAndQuery>,
    pub(super) headers: HeaderMap,
    /// When the call ends.
    pub(super) deadline: Instant,
    /// When the caller no longer waits, if the caller has a deadline.
    pub(super) caller_deadline: Option<Instant>,
    /// Whether executing this call twice is harmless.
    pub(super) idempotent: bool,
    /// Whether this call waits while no connection can be made.
    pub(super) wait_for_ready: bool,
    /// Present if the call is hedged.
    pub(super) hedged: Option<Hedged>,
}

impl CallRequest {
    pub(super) fn new(head: Head, body: RequestBody) -> Self {
        Self { head: Arc::new(head), body, earlier_attempts: AtomicU32::new(0) }
    }

    /// Marks the call as hedged, and returns whether it can be: executing it twice is harmless, and several concurrent
    /// attempts can send its body. `policy_deadline` is the deadline that the policy must observe and does not know.
    pub(super) fn hedge(&mut self, policy_deadline: Option<Deadline>) -> bool {
        let head = Arc::get_mut(&mut self.head).filter(|head| head.idempotent && self.body.is_whole());
        head.map(|head| head.hedged = Some(Hedged::new(policy_deadline))).is_some()
    }

    /// Returns the request of the next attempt, or `None` if its body cannot be sent again.
    pub(super) fn next_attempt(&self) -> Option<Self> {
        let body = self.body.replay()?;
        let earlier_attempts = self.earlier_attempts.fetch_add(1, Relaxed).into();
        Some(Self { head: self.head.clone(), body, earlier_attempts })
    }

    /// Returns the number of the attempt, from 0.
    pub(super) fn number(&self) -> u32 {
        self.earlier_attempts.load(Relaxed)
    }

    /// Returns whether the request can be sent once more.
    pub(super) fn can_repeat(&self) -> bool {
        self.body.replay().is_some()
    }

    /// Returns the HTTP request to `origin`, with the time that remains until `deadline`, or `None` if the deadline has
    /// passed.
    ///
    /// Values that differ in each call get no entry in the header compression table of the connection, where they would
    /// replace useful entries. Only the first calls of a connection make an entry, so that later calls refer to the entry
    /// for the name. `is_first` is whether no call on the connection was answered.
    pub(super) fn http(
        &mut self,
        origin: &Origin,
        is_first: bool,
        deadline: Instant,
        clock: &Clock,
    ) -> Option<Request<RequestBody>> {
        let timeout = Deadline::at(deadline).timeout(Protocol::Grpc, clock)?;
        let mut timeout = HeaderValue::from_maybe_shared(Bytes::from(timeout)).ok()?;
        // There are few values in whole seconds.
        timeout.set_sensitive(!is_first && !timeout.as_bytes().ends_with(b"S"));
        let mut headers = self.head.headers.clone();
        if is_first && let Some(trace) = headers.get_mut(TRACEPARENT) {
            trace.set_sensitive(false);
        }
        headers.insert(GRPC_TIMEOUT, timeout);
        let earlier = *self.earlier_attempts.get_mut();
        if earlier > 0 {
            headers.insert(headers::PREVIOUS_ATTEMPTS, earlier.into());
        }
        let mut request = Request::new(self.body.next());
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = origin.uri(self.head.path.clone());
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        Some(request)
    }
}

/// The scheme and authority of the requests to an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) scheme: uri::Scheme,
    pub(super) authority: uri::Authority,
}

impl Origin {
    pub(super) fn uri(&self, path: Option<uri::PathAndQuery>) -> Uri {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.unwrap_or_else(|| uri::PathAndQuery::from_static("/")));
        // Never fails, because all three parts are present.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
