//! Replay of stored responses for calls with an idempotency key.
//!
//! `body.rs` reads requests and responses within the limits, `key.rs` makes the key of a call, and `reply.rs` has the stored
//! form of a response.

mod body;
mod key;
mod reply;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use comms_core::{
    BoxError, Error, ErrorKind,
    clock::Clock,
    idempotency::{IdempotencyStore, LeaseOptions, StoredReply, run_once},
    telemetry::LogLimit,
    wire::IDEMPOTENCY_KEY,
};
use http::{HeaderMap, Request, Response};
use tonic::{Code, Status, body::Body};
use tower_service::Service;

use super::{context_body::status_of_error, restate::restate};
use crate::status::{Refusal, refused, to_status};
use body::{Collected, Stored, collect};
use key::call_key;

/// Executes unary calls with an idempotency key once, and answers a repetition with the stored response.
///
/// For the methods of [`method`](Self::method), and calls that carry an `idempotency-key`. Other calls pass through.
///
/// | call | response |
/// |---|---|
/// | the first with its key | that of the handler. A success is stored: headers, message and trailers |
/// | same key, same request, after a success | the stored response, with the metadata `idempotent-replayed: true` |
/// | same key, same request, while the first one runs | ABORTED with the wait |
/// | same key, other request bytes | INVALID_ARGUMENT |
/// | same key, after a failure that excludes an effect | that of the handler, which runs again |
/// | same key, after any other failure, or a handler that was cancelled | ABORTED until the lease ends, then that of the handler |
///
/// Failures that exclude an effect are INVALID_ARGUMENT, OUT_OF_RANGE, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION,
/// ABORTED, PERMISSION_DENIED, UNAUTHENTICATED, UNIMPLEMENTED, and a status from [`refused`](crate::refused). A handler
/// must not return them after its effect.
///
/// A response that exceeds [`max_response`](Self::max_response) or 4 KiB of metadata, or has more than
/// [`REPLY_HEADERS`](comms_core::idempotency::REPLY_HEADERS) headers, is sent to the first caller and not stored. A
/// repetition then gets ALREADY_EXISTS.
///
/// Keys are scoped by the method and by the caller: the [`PeerIdentity`](crate::PeerIdentity), and the issuer and
/// subject of a token that [`Access`](crate::Access) verified. Callers without an identity share one scope.
///
/// The guarantee is that of [`run_once`]: the handler can run again after a crash of the process, or after its lease.
/// The lease must be at least as long as [`ServerConfig::max_timeout`](crate::ServerConfig::max_timeout), which ends the
/// handler. For effects in one database use [`reply_once`](comms_core::idempotency::reply_once) instead.
///
/// ```
/// use comms_core::{clock::Clock, idempotency::MemoryStore};
/// use comms_grpc::Replay;
/// use std::sync::Arc;
///
/// let store = Arc::new(MemoryStore::new(Clock::system()));
/// let replay = Replay::new(store).method("/comms.payments.v1.Payments/RequestPayment");
/// ```
#[derive(Clone)]
#[must_use]
pub struct Replay {
    store: Arc<dyn IdempotencyStore>,
    methods: Arc<HashSet<String>>,
    lease: LeaseOptions,
    max_request: usize,
    max_response: usize,
    /// Clients choose how often they ask for a response that is too large.
    unstored_log: Arc<LogLimit>,
}

impl Replay {
    /// Returns a replay for no method, with the default [`LeaseOptions`]: a lease of 30 s and a retention of one day.
    pub fn new(store: Arc<dyn IdempotencyStore>) -> Self {
        Self {
            store,
            methods: Arc::default(),
            lease: LeaseOptions::default(),
            max_request: DEFAULT_LIMIT,
            max_response: DEFAULT_LIMIT - METADATA,
            unstored_log: Arc::default(),
        }
    }

    /// Adds the unary method at `path`, which is `/package.Service/Method`.
    pub fn method(mut self, path: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.methods).insert(path.into());
        self
    }

    /// Sets how long a call may run, and how long its response is stored.
    pub fn lease(mut self, options: LeaseOptions) -> Self {
        self.lease = options;
        self
    }

    /// Sets the maximum size of a request in bytes. A larger request is RESOURCE_EXHAUSTED. Default 16 KiB.
    pub fn max_request(mut self, bytes: usize) -> Self {
        self.max_request = bytes;
        self
    }

    /// Sets the maximum size of a stored message in bytes. Default 12 KiB, beside 4 KiB for metadata. Together they must
    /// be within the limit of the store, which is 16 KiB by default for a
    /// [`MemoryStore`](comms_core::idempotency::MemoryStore). A reply that the store refuses is not stored.
    pub fn max_response(mut self, bytes: usize) -> Self {
        self.max_response = bytes;
        self
    }

    /// Returns the services of the methods. A path that is malformed is returned whole.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().map(|path| {
            path.strip_prefix('/')
                .and_then(|path| path.split_once('/'))
                .map_or(path.as_str(), |(service, _)| service)
        })
    }

    /// Checks that a handler that runs for `max_timeout` ends within its lease.
    pub(super) fn check(&self, max_timeout: Duration) -> Result<(), Error> {
        if self.lease.lease() < max_timeout {
            return Err(Error::invalid(
                "gRPC server: the lease of the replay must be at least max_timeout, or a call could run twice at once",
            ));
        }
        Ok(())
    }

    /// Returns whether the call with `headers` to the method at `path` is executed once.
    pub(super) fn applies(&self, path: &str, headers: &HeaderMap) -> bool {
        self.methods.contains(path) && headers.contains_key(IDEMPOTENCY_KEY)
    }

    /// Executes the call once, by `inner`, or returns the stored response. `clock` is that of the server.
    pub(super) async fn run<S, B>(
        &self,
        mut inner: S,
        request: Request<Body>,
        clock: &Clock,
    ) -> Result<Response<Body>, Status>
    where
        S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>>,
        B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (mut parts, body) = request.into_parts();
        // A stored response must be readable for a later caller with other encodings.
        parts.headers.remove("grpc-accept-encoding");
        let Collected::Whole(message, _) = collect(body, self.max_request).await.map_err(status_of_error)?
        else {
            let limit = self.max_request;
            let text = format!("a request with an idempotency key must have at most {limit} bytes");
            return Err(Status::resource_exhausted(text));
        };
        let key = call_key(&parts, &message).map_err(|error| to_status(&error))?;
        // The response that is sent to this caller, if the handler ran, and whether its reply is to be stored.
        let mut own = None;
        let slot = &mut own;
        let work = move || async move {
            let request = Request::from_parts(parts, Body::new(Stored::new(message, None)));
            let response = match inner.call(request).await {
                Ok(response) => response.map(Body::new),
                Err(error) => status_of_error(error.into()).into_http(),
            };
            let (response, outcome) = self.settle(response, clock).await;
            *slot = Some((response, outcome.is_ok()));
            outcome
        };
        let result = run_once(&self.store, &key, self.lease, work).await;
        match (result, own) {
            (Ok(replied), None) => Ok(reply::restore(replied.reply)),
            (Ok(_), Some((response, _))) => Ok(response),
            // The response is right for this caller, although a repetition does not get it.
            (Err(error), Some((response, succeeded))) => {
                if succeeded {
                    tracing::warn!(error = %error.chain(), "a response was not stored; a repetition of the call may execute it again");
                }
                Ok(response)
            }
            // Nothing was executed under this call.
            (Err(error), None) => Err(refused(&error)),
        }
    }

    /// Returns the response to send, and the reply to store or the error that decides about the lease.
    async fn settle(
        &self,
        mut response: Response<Body>,
        clock: &Clock,
    ) -> (Response<Body>, Result<StoredReply, Error>) {
        restate(response.headers_mut());
        if let Some(kind) = failure(&response) {
            return (response, Err(Error::new(kind, "the handler failed")));
        }
        let (head, body) = response.into_parts();
        match collect(body, self.max_response).await {
            Ok(Collected::Whole(data, mut trailers)) => {
                trailers.as_mut().map(restate);
                let kind = trailers.as_ref().and_then(kind_of);
                let reply = reply::store(&head.headers, data.clone(), trailers.as_ref());
                let response = Response::from_parts(head, Body::new(Stored::new(data, trailers)));
                match kind {
                    Some(kind) => (response, Err(Error::new(kind, "the handler failed"))),
                    None if reply.check().is_ok() && reply.size() <= self.max_response + METADATA => {
                        (response, Ok(reply))
                    }
                    None => (response, Ok(self.unstored(clock))),
                }
            }
            Ok(Collected::TooLong(body)) => {
                (Response::from_parts(head, Body::new(body)), Ok(self.unstored(clock)))
            }
            Err(error) => {
                let error = Error::indeterminate(error);
                (to_status(&error).into_http(), Err(error))
            }
        }
    }

    /// Returns the reply of a response that exceeds the limits.
    fn unstored(&self, clock: &Clock) -> StoredReply {
        if let Some(suppressed) = self.unstored_log.admit(clock) {
            tracing::warn!(
                suppressed,
                "a response exceeds the limits of its replay, and is not stored; a repetition gets ALREADY_EXISTS"
            );
        }
        reply::store_without_body()
    }
}

/// The default limits of a request, and of a reply with its metadata.
const DEFAULT_LIMIT: usize = 16 * 1024;
/// The part of the limit of a reply that is left to metadata.
const METADATA: usize = 4 * 1024;

/// Returns the kind of the failure that the headers of `response` report.
fn failure(response: &Response<Body>) -> Option<ErrorKind> {
    let refusal = response.extensions().get().and_then(Refusal::of);
    refusal.or_else(|| kind_of(response.headers()))
}

/// Returns the kind of the failure that `headers` or trailers of this process report.
fn kind_of(headers: &HeaderMap) -> Option<ErrorKind> {
    let code = Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes());
    Some(match code {
        Code::Ok => return None,
        // A peer that sends them refuses this process. Here this process sends them.
        Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => ErrorKind::PermissionDenied,
        code => ErrorKind::from_grpc_code(code.into()),
    })
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("methods", &self.methods)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
