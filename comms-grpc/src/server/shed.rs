//! The permit of a call under load shedding, from its admission to the end of its response.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use comms_core::{
    Error,
    clock::Clock,
    context::{Context, Deadline, Priority},
    resilience::{Rejection, ShedPermit, Shedder},
};
use http::{Extensions, HeaderMap};
use tonic::{Code, Status};

use crate::status::{Refusal, refused};

/// The permit of one call, which is released when the response has ended or the call is dropped.
///
/// A method of one message acquires its permit when its request has arrived: otherwise the headers of requests that never
/// arrive would hold every permit. Any other call acquires it at once, because its handler runs from then on.
///
/// Only the time of this server is a sample of an adaptive limit: from the end of a request of one message to the
/// headers of a response of at most one. The time in which the peer sends its request or reads its response is none, and
/// a stream is none, or a slow peer would shrink the limit of all others. A call that ends at its deadline is a sample of
/// a call that takes at least that long.
#[derive(Debug)]
pub(super) struct CallPermit {
    held: Arc<Held>,
    /// The time that the handler took, after the headers of its response. `None` in it is a call that is no sample.
    handled: Option<Option<Duration>>,
    deadline: Option<Deadline>,
    clock: Clock,
}

/// What the call shares with the body of its request.
#[derive(Debug, Default)]
struct Held(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// `None` before the permit is acquired, and after the end of the response.
    permit: Option<ShedPermit>,
    /// When a request of one message had arrived as a whole.
    arrived: Option<Instant>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a request of one message.
#[derive(Debug)]
pub(super) struct RequestEnd {
    held: Arc<Held>,
    /// Present if the permit is acquired at the end of the request.
    shedder: Option<(Shedder, Priority)>,
    clock: Clock,
}

impl RequestEnd {
    /// Records that the request has arrived, and acquires the permit of a method of one message.
    ///
    /// # Errors
    /// Returns the status of the rejection, with the wait and the proof that the call was not executed.
    pub(super) fn record(&self) -> Result<(), Status> {
        let permit = self.shedder.as_ref().map(|(shedder, priority)| shedder.try_acquire(*priority));
        let permit = permit.transpose().map_err(status_of)?;
        let mut state = self.held.lock();
        state.permit = permit.or_else(|| state.permit.take());
        state.arrived = Some(self.clock.now());
        Ok(())
    }
}

fn status_of(rejection: Rejection) -> Status {
    refused(&Error::from(rejection))
}

impl CallPermit {
    /// Acquires the permit of the running call, or only checks that one is free if the method takes a `single` message.
    /// The second part records the end of its request.
    ///
    /// # Errors
    /// Returns the status of the rejection, with the wait and the proof that the call was not executed.
    pub(super) fn admit(
        shedder: &Shedder,
        single: bool,
        clock: &Clock,
    ) -> Result<(Self, RequestEnd), Status> {
        let Context { priority, deadline, .. } = Context::current();
        let permit = match single {
            true => shedder.check(priority).map(|()| None),
            false => shedder.try_acquire(priority).map(Some),
        };
        let state = State { permit: permit.map_err(status_of)?, arrived: None };
        let held = Arc::new(Held(Mutex::new(state)));
        let shedder = single.then(|| (shedder.clone(), priority));
        let end = RequestEnd { held: held.clone(), shedder, clock: clock.clone() };
        Ok((Self { held, handled: None, deadline, clock: clock.clone() }, end))
    }

    /// Returns the time since a request of one message has arrived.
    fn elapsed(&self) -> Option<Duration> {
        self.held.lock().arrived.map(|at| self.clock.now().saturating_duration_since(at))
    }

    fn take(&self) -> Option<ShedPermit> {
        self.held.lock().permit.take()
    }

    /// Records that the handler has responded. Releases the permit if the response has no body: its headers have the
    /// status, and its extensions what is known about a refusal.
    pub(super) fn respond(&mut self, headers: &HeaderMap, extensions: &Extensions) {
        self.handled = Some(self.elapsed());
        if extensions.get().is_some_and(Refusal::is_overload) {
            if let Some(permit) = self.take() {
                permit.overloaded();
            }
        } else if headers.contains_key(Status::GRPC_STATUS) {
            self.end(headers, 0);
        }
    }

    /// Releases the permit of a response of `messages` that ends with the status in `headers` or trailers.
    pub(super) fn end(&mut self, headers: &HeaderMap, messages: u64) {
        let Some(permit) = self.take() else { return };
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
        let Some(permit) = self.take() else { return };
        let is_late = self.deadline.is_some_and(|deadline| deadline.has_passed(&self.clock));
        match self.elapsed() {
            Some(elapsed) if is_late && self.handled.is_none() => permit.timed_out_in(elapsed),
            // The client cancelled the call, did not send its request, or did not read its response.
            _ => drop(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::resilience::{AdaptiveLimitConfig, Breaker, BreakerConfig, ShedConfig, ShedLimit};
    use futures::FutureExt;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the limit after windows in which calls ended as `end` does, from the maximum of 20 and an average of a second.
    fn limit_after(end: impl Fn(CallPermit, RequestEnd, &Clock)) -> u32 {
        let clock = Clock::manual(SECOND);
        let adaptive = AdaptiveLimitConfig::default().min_samples(1).max(20);
        let config = ShedConfig::default().limit(ShedLimit::Adaptive(adaptive));
        let shedder = Shedder::new("unit-test", config, clock.clone()).unwrap();
        let acquire = || {
            let context = Context::root(&clock).with_deadline(Deadline::after(SECOND * 60, &clock));
            let admit = context.scope(async { CallPermit::admit(&shedder, false, &clock) });
            admit.now_or_never().unwrap().unwrap()
        };
        let call = |end: &dyn Fn(CallPermit, RequestEnd)| {
            let held: Vec<_> = (0..9).map(|_| acquire()).collect();
            let (permit, request) = acquire();
            end(permit, request);
            drop(held);
        };
        // The first windows make the average.
        for _ in 0..20 {
            call(&|mut permit, request| {
                request.record().unwrap();
                clock.advance(SECOND);
                permit.respond(&HeaderMap::new(), &Extensions::new());
                permit.end(&status(Code::Ok), 1);
            });
        }
        assert_eq!(shedder.limit(), 20);
        for _ in 0..5 {
            call(&|permit, request| end(permit, request, &clock));
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
        limit_after(|mut permit, request, clock| {
            clock.advance(sending);
            request.record().unwrap();
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
            let at_once = limit_after(|mut permit, _, _| permit.respond(&status(code), &Extensions::new()));
            assert_eq!(at_once, 20, "{code:?}");
        }
    }

    #[test]
    fn a_handler_that_is_overloaded_shrinks_the_limit() {
        let refuse = |rejection: Rejection| {
            limit_after(move |mut permit, _, clock| {
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
            limit_after(move |mut permit, request, clock| {
                if is_sent {
                    request.record().unwrap();
                }
                permit.deadline = Some(Deadline::after(limit, clock));
                clock.advance(limit);
                drop(permit);
            })
        };
        assert!(dropped_after(true, SECOND * 30) < 20, "a handler that hangs");
        assert_eq!(dropped_after(true, SECOND / 2), 20, "a caller in haste");
        assert_eq!(dropped_after(false, SECOND * 30), 20, "a client that does not send its request");
        assert_eq!(limit_after(|permit, _, _| drop(permit)), 20, "a cancelled call");
    }

    #[test]
    fn a_method_of_one_message_acquires_its_permit_with_the_end_of_its_request() {
        let clock = Clock::manual(SECOND);
        let shedder = Shedder::new("unit-test", ShedConfig::fixed(1), clock.clone()).unwrap();
        let admit = || CallPermit::admit(&shedder, true, &clock);
        let in_flight = || shedder.in_flight().total();
        let ((one, one_end), (_two, two_end)) = (admit().unwrap(), admit().unwrap());
        assert_eq!(in_flight(), 0, "both requests are on their way");
        one_end.record().unwrap();
        assert_eq!(in_flight(), 1);
        for status in [two_end.record().unwrap_err(), admit().unwrap_err()] {
            assert_eq!(Refusal::of(&status), Some(comms_core::ErrorKind::Rejected), "{status:?}");
        }
        drop((one, one_end));
        two_end.record().unwrap();
        assert_eq!(in_flight(), 1);
        drop((_two, two_end));
        assert_eq!(in_flight(), 0);
    }
}
