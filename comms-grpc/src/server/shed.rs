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
