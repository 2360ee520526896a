//! The headers of responses that the server layers create or change.

use comms_core::{ErrorKind, wire::NOT_EXECUTED};
use http::{HeaderMap, HeaderValue, Response};
use tonic::{Status, body::Body};

use super::restate::restate;
use crate::{
    status::Refusal,
    status_headers::{is_bare, limit_status},
};

/// The extension of a response to a path that may be no method of the server. Such a path is not a label of metrics,
/// because a peer can send any path.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnknownMethod;

/// Returns the response that ends a call with `status`, with the proof if the status is a refusal.
pub(super) fn failure_response(status: Status) -> Response<Body> {
    let refusal = Refusal::of(&status);
    let mut response = status.into_http();
    set_proof(response.headers_mut(), refusal);
    response
}

/// Limits the status in `headers`, and sets the proof header if the call is refused with the kind `refusal`.
pub(super) fn set_proof(headers: &mut HeaderMap, refusal: Option<ErrorKind>) {
    remove_proof(headers);
    if let Some(kind) = refusal {
        headers.insert(NOT_EXECUTED, HeaderValue::from_static(kind.as_str()));
    }
}

/// Limits the status in `headers`, and removes a proof header, which stems from a peer whose status the handler
/// forwards.
pub(super) fn remove_proof(headers: &mut HeaderMap) {
    if is_bare(headers) {
        return;
    }
    headers.remove(NOT_EXECUTED);
    restate(headers);
    limit_status(headers);
}
