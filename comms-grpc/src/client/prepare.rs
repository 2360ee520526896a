//! The deadline of a call, and the headers that are the same in each of its attempts.

use std::time::{Duration, Instant};

use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context, Deadline, Protocol},
};
use http::HeaderMap;
use tonic::Status;

use super::request::write_context;
use crate::{evidence::Evidence, status::to_status};

/// The deadline of a call.
pub(super) struct Prepared {
    /// When the call ends, including its response body.
    pub(super) deadline: Instant,
    /// The deadline of the caller, if there is one.
    pub(super) caller: Option<Instant>,
    /// The deadline that the policy must observe and does not know: that of the caller, and that of the channel if the
    /// policy has no time limit.
    pub(super) scope: Option<Deadline>,
}

/// The limits of a channel.
pub(super) struct Limits<'a> {
    pub(super) timeout: Duration,
    /// Whether the time limit of the policy is that of the channel.
    pub(super) policy_has_timeout: bool,
    pub(super) started: Instant,
    pub(super) peer: &'a str,
    pub(super) clock: &'a Clock,
}

/// Writes the context of the running work into `headers`, and returns the deadline of the call.
///
/// # Errors
/// Returns the status of the call if the deadline has passed or a header is malformed.
pub(super) fn prepare(headers: &mut HeaderMap, limits: &Limits<'_>) -> Result<Prepared, Status> {
    let Limits { timeout, policy_has_timeout, started, peer, clock } = *limits;
    let asked = Deadline::of_request(headers, Protocol::Grpc, clock).map_err(|e| to_status(&e))?;
    let context = Context::current();
    let caller = context.deadline.into_iter().chain(asked).min();
    let own = Deadline::at(started + timeout);
    let deadline = caller.map_or(own, |caller| caller.earlier(own));
    if deadline.instant() <= started {
        let text = format!("{peer}: the deadline passed before the call was sent");
        return Err(Evidence::attach(Status::deadline_exceeded(text), ErrorKind::Rejected));
    }
    write_context(context.child(clock), headers, clock).map_err(|e| to_status(&e))?;
    let scope = if policy_has_timeout { caller } else { Some(deadline) };
    let caller = caller.map(|caller| caller.instant());
    Ok(Prepared { deadline: deadline.instant(), caller, scope })
}
