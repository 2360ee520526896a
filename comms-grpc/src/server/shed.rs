//! The permit of a call under load shedding, from its admission to the end of its response.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use comms_core::{
    Error,
    clock::Clock,
    context::{Context, Deadline},
    resilience::{ShedPermit, Shedder},
};
use http::{Extensions, HeaderMap};
use tonic::{Code, Status};

use crate::status::{Refusal, refused};

/// The permit of one call, which is released when the response has ended or the call is dropped.
///
/// Only the time of this server is a sample of an adaptive limit: from the end of a request of one message to the
/// headers of a response of at most one. The time in which the peer sends its request or reads its response is none, and
/// a stream is none, or a slow peer would shrink the limit of all others. A call that ends at its deadline is a sample of
/// a call that takes at least that long.
#[derive(Debug)]
pub(super) struct CallPermit {
    /// `None` after the end of the response.
    permit: Option<ShedPermit>,
    request: RequestEnd,
    /// The time that the handler took, after the headers of its response. `None` in it is a call that is no sample.
    handled: Option<Option<Duration>>,
    deadline: Option<Deadline>,
    clock: Clock,
}

/// The time at which a request of one message had arrived as a whole. Clones share the time.
#[derive(Debug, Clone)]
pub(super) struct RequestEnd {
    at: Arc<OnceLock<Instant>>,
    clock: Clock,
}

impl RequestEnd {
    /// Records that the request has arrived.
    pub(super) fn record(&self) {
        self.at.get_or_init(|| self.clock.now());
    }

    /// Returns the time since the request has arrived.
    fn elapsed(&self) -> Option<Duration> {
        self.at.get().map(|at| self.clock.now().saturating_duration_since(*at))
    }
}

impl CallPermit {
    /// Acquires a permit for the running call.
    ///
    /// # Errors
    /// Returns the status of the rejection, with the wait and the proof that the call was not executed.
    pub(super) fn acquire(shedder: &Shedder, clock: &Clock) -> Result<Self, Status> {
        let context = Context::current();
        let permit =
            shedder.try_acquire(context.priority).map_err(|rejection| refused(&Error::from(rejection)))?;
        let request = RequestEnd { at: Arc::default(), clock: clock.clone() };
        let (deadline, clock) = (context.deadline, clock.clone());
        Ok(Self { permit: Some(permit), request, handled: None, deadline, clock })
    }

    /// Returns the record of the end of the request, for the body of the request.
    pub(super) fn request_end(&self) -> RequestEnd {
        self.request.clone()
    }

    /// Records that the handler has responded. Releases the permit if the response has no body: its headers have the
    /// status, and its extensions what is known about a refusal.
    pub(super) fn respond(&mut self, headers: &HeaderMap, extensions: &Extensions) {
        self.handled = Some(self.request.elapsed());
        if extensions.get().is_some_and(Refusal::is_overload) {
            if let Some(permit) = self.permit.take() {
                permit.overloaded();
            }
        } else if headers.contains_key(Status::GRPC_STATUS) {
            self.end(headers, 0);
        }
    }

    /// Releases the permit of a response of `messages` that ends with the status in `headers` or trailers.
    pub(super) fn end(&mut self, headers: &HeaderMap, messages: u64) {
        let Some(permit) = self.permit.take() else { return };
        let code = headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()));
        match (code, self.handled.flatten()) {
            (Some(Code::Ok), Some(handled)) if messages <= 1 => permit.success_in(handled),
            (Some(Code::DeadlineExceeded), Some(handled)) if messages == 0 => permit.timed_out_in(handled),
            _ => drop(permit),
        }
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let is_late = self.deadline.is_some_and(|deadline| deadline.has_passed(&self.clock));
        match self.request.elapsed() {
            Some(elapsed) if is_late && self.handled.is_none() => permit.timed_out_in(elapsed),
            // The client cancelled the call, did not send its request, or did not read its response.
            _ => drop(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::{
        context::Priority,
        resilience::{AdaptiveLimitConfig, Breaker, BreakerConfig, Rejection, ShedConfig, ShedLimit},
    };
    use futures::FutureExt;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the limit after windows in which calls ended as `end` does, from the maximum of 20 and an average of a second.
    fn limit_after(end: impl Fn(CallPermit, &Clock)) -> u32 {
        let clock = Clock::manual(SECOND);
        let adaptive = AdaptiveLimitConfig::default().min_samples(1).max(20);
        let config = ShedConfig::default().limit(ShedLimit::Adaptive(adaptive));
        let shedder = Shedder::new("unit-test", config, clock.clone()).unwrap();
        let acquire = || {
            let context = Context::root(&clock).with_deadline(Deadline::after(SECOND * 60, &clock));
            let acquire = context.scope(async { CallPermit::acquire(&shedder, &clock) });
            acquire.now_or_never().unwrap().unwrap()
        };
        let call = |end: &dyn Fn(CallPermit)| {
            let held: Vec<_> = (0..9).map(|_| acquire()).collect();
            end(acquire());
            drop(held);
        };
        // The first windows make the average.
        for _ in 0..20 {
            call(&|mut permit| {
                permit.request_end().record();
                clock.advance(SECOND);
                permit.respond(&HeaderMap::new(), &Extensions::new());
                permit.end(&status(Code::Ok), 1);
            });
        }
        assert_eq!(shedder.limit(), 20);
        for _ in 0..5 {
            call(&|permit| end(permit, &clock));
        }
        assert_eq!(shedder.in_flight().total(), 0, "the permits are released");
        shedder.limit()
    }

    fn status(code: Code) -> HeaderMap {
        let mut headers = HeaderMap::new();
        Status::new(code, "").add_header(&mut headers).unwrap();
        headers
    }

    /// Ends a call of `handling` whose client needed `sending` for its request and `reading` for its response.
    fn call(code: Code, sending: Duration, handling: Duration, reading: Duration) -> u32 {
        limit_after(|mut permit, clock| {
            clock.advance(sending);
            permit.request_end().record();
            clock.advance(handling);
            permit.respond(&HeaderMap::new(), &Extensions::new());
            clock.advance(reading);
            permit.end(&status(code), 1);
        })
    }

    #[test]
    fn only_the_time_of_this_server_shrinks_the_limit() {
        assert!(call(Code::Ok, SECOND, SECOND * 30, SECOND) < 20, "a slow handler");
        assert_eq!(call(Code::Ok, SECOND * 30, SECOND, SECOND), 20, "a slow upload");
        assert_eq!(call(Code::Ok, SECOND, SECOND, SECOND * 30), 20, "a slow reader");
        for code in [Code::ResourceExhausted, Code::Unavailable, Code::Internal, Code::Cancelled] {
            assert_eq!(call(code, SECOND, SECOND * 30, SECOND), 20, "{code:?}");
            let at_once = limit_after(|mut permit, _| permit.respond(&status(code), &Extensions::new()));
            assert_eq!(at_once, 20, "{code:?}");
        }
    }

    #[test]
    fn a_handler_that_is_overloaded_shrinks_the_limit() {
        let refuse = |rejection: Rejection| {
            limit_after(move |mut permit, clock| {
                clock.advance(SECOND);
                let response = refused(&Error::from(rejection)).into_http::<()>();
                permit.respond(response.headers(), response.extensions());
            })
        };
        let queue = Shedder::new("queue", ShedConfig::fixed(1), Clock::system()).unwrap();
        let _full = queue.try_acquire(Priority::Critical).unwrap();
        assert!(refuse(queue.try_acquire(Priority::Critical).unwrap_err()) < 20);
        let breaker = Breaker::new("peer", BreakerConfig::default(), Clock::system()).unwrap();
        breaker.force_open();
        assert_eq!(refuse(breaker.acquire().unwrap_err()), 20);
    }

    #[test]
    fn a_deadline_counts_only_after_the_whole_request_and_the_usual_duration() {
        let dropped_after = |is_sent: bool, limit: Duration| {
            limit_after(move |mut permit, clock| {
                if is_sent {
                    permit.request_end().record();
                }
                permit.deadline = Some(Deadline::after(limit, clock));
                clock.advance(limit);
                drop(permit);
            })
        };
        assert!(dropped_after(true, SECOND * 30) < 20, "a handler that hangs");
        assert_eq!(dropped_after(true, SECOND / 2), 20, "a caller in haste");
        assert_eq!(dropped_after(false, SECOND * 30), 20, "a client that does not send its request");
        assert_eq!(limit_after(|permit, _| drop(permit)), 20, "a cancelled call");
    }
}
