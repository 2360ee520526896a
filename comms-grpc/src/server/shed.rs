//! The permit of a call under load shedding, from its admission to the end of its response.

use comms_core::{
    Error,
    clock::Clock,
    context::{Context, Deadline},
    resilience::{ShedPermit, Shedder},
};
use http::HeaderMap;
use tonic::{Code, Status};

use crate::status::refused;

/// The permit of one call, which is released when the response has ended or the call is dropped.
///
/// An adaptive limit takes the duration of a response with at most one message as a sample. The duration of a stream is
/// no sample, because it depends on the client. A call that ends at its deadline is an overload.
#[derive(Debug)]
pub(super) struct CallPermit {
    /// `None` after the end of the response.
    permit: Option<ShedPermit>,
    deadline: Option<Deadline>,
    clock: Clock,
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
        Ok(Self { permit: Some(permit), deadline: context.deadline, clock: clock.clone() })
    }

    /// Releases the permit of a response of `messages` that ends with the status in `headers` or trailers.
    pub(super) fn end(&mut self, headers: &HeaderMap, messages: u64) {
        let Some(permit) = self.permit.take() else { return };
        let code = headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()));
        match code {
            Some(Code::Ok) if messages <= 1 => permit.success(),
            Some(Code::ResourceExhausted | Code::DeadlineExceeded) => permit.overloaded(),
            _ => drop(permit),
        }
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        match self.deadline.is_some_and(|deadline| deadline.remaining(&self.clock).is_none()) {
            true => permit.overloaded(),
            // The client cancelled the call.
            false => drop(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::resilience::{AdaptiveLimitConfig, ShedConfig, ShedLimit};
    use futures::FutureExt;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the limit after a window in which one call ended as `end` does, from a limit of 20.
    fn limit_after(end: impl FnOnce(CallPermit, &Clock)) -> u32 {
        let clock = Clock::manual(SECOND);
        let mut adaptive = AdaptiveLimitConfig::default();
        adaptive.min_samples = 1;
        let config = ShedConfig::default().limit(ShedLimit::Adaptive(adaptive));
        let shedder = Shedder::new("unit-test", config, clock.clone()).unwrap();
        let context = Context::root(&clock).with_deadline(Deadline::after(SECOND * 5, &clock));
        let acquire = || {
            let acquire = context.clone().scope(async { CallPermit::acquire(&shedder, &clock) });
            acquire.now_or_never().unwrap().unwrap()
        };
        end(acquire(), &clock);
        assert_eq!(shedder.in_flight().total(), 0, "the permit is released");
        clock.advance(SECOND);
        acquire().end(&status(Code::Ok), 1);
        shedder.limit()
    }

    fn status(code: Code) -> HeaderMap {
        let mut headers = HeaderMap::new();
        Status::new(code, "").add_header(&mut headers).unwrap();
        headers
    }

    #[test]
    fn only_a_deadline_or_an_exhausted_resource_is_an_overload() {
        for (code, shrinks) in [
            (Code::Ok, false),
            (Code::Internal, false),
            (Code::Cancelled, false),
            (Code::ResourceExhausted, true),
            (Code::DeadlineExceeded, true),
        ] {
            let limit = limit_after(|mut permit, _| permit.end(&status(code), 1));
            assert_eq!(limit < 20, shrinks, "{code:?}: {limit}");
        }
    }

    #[test]
    fn a_call_that_is_dropped_at_its_deadline_is_an_overload_and_before_it_no_sample() {
        let late = |permit: CallPermit, clock: &Clock| {
            clock.advance(SECOND * 5);
            drop(permit);
        };
        assert!(limit_after(late) < 20);
        assert_eq!(limit_after(|permit, _| drop(permit)), 20);
    }
}
