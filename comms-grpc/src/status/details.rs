//! The details of a status: messages of `google.rpc` in `grpc-status-details-bin`.

use std::{collections::HashMap, time::Duration};

use comms_core::{Error, command::FieldErrors};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::status_headers::MAX_STATUS;

/// The domain of the reasons in `ErrorInfo`.
const DOMAIN: &str = "comms";
/// The maximum number of bytes of the texts in `BadRequest`. More do not fit into the header.
const MAX_FIELDS: usize = 2 * 1024;

/// Returns a status with the details of `error`, as far as they fit into the headers.
pub(super) fn status(code: Code, message: &str, error: &Error) -> Status {
    let reason = error.kind.as_str().to_ascii_uppercase();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    if let Some(wait) = error.retry_after.filter(|wait| *wait != Duration::MAX) {
        details.set_retry_info(Some(wait));
    }
    let mut full = details.clone();
    let mut length = 0;
    for field in FieldErrors::of(error).into_iter().flat_map(FieldErrors::iter) {
        length += field.pointer.len() + field.detail.len();
        if length > MAX_FIELDS {
            break;
        }
        full.add_bad_request_violation(&field.pointer, &field.detail);
    }
    // The details repeat the message, so both may not fit.
    [full, details]
        .into_iter()
        .map(|details| Status::with_error_details(code, message, details))
        .find(fits)
        .unwrap_or_else(|| Status::new(code, message))
}

/// Returns whether the details, encoded as Base64, and the message fit into the headers. The message counts with its
/// length before percent-encoding, so a status that passes may still lose its details when it is sent.
fn fits(status: &Status) -> bool {
    status.message().len() + status.details().len().div_ceil(3) * 4 <= MAX_STATUS
}

/// Returns the delay of `RetryInfo`.
pub(super) fn retry_delay(status: &Status) -> Option<Duration> {
    if status.details().is_empty() {
        return None;
    }
    status.get_details_retry_info()?.retry_delay
}

/// Returns the errors of the fields that a peer reports in `BadRequest`, or `None` if `status` has none.
///
/// The fields are JSON pointers if the peer is a comms-grpc server, and paths such as `lines[0].cents` for other peers.
/// They refer to the request of this process, not to the request of its client.
///
/// ```
/// use comms_core::{Error, command::FieldErrors};
/// use comms_grpc::{field_errors, to_status};
///
/// let mut errors = FieldErrors::default();
/// errors.add("/cents", "must be above 0");
/// let status = to_status(&Error::invalid(errors));
/// // The client has the status, or the error of `from_status(&status)`, whose cause is the status.
/// assert_eq!(field_errors(&status).unwrap().iter().next().unwrap().pointer, "/cents");
/// ```
#[must_use]
pub fn field_errors(status: &Status) -> Option<FieldErrors> {
    if status.details().is_empty() {
        return None;
    }
    let violations = status.get_details_bad_request()?.field_violations;
    let mut errors = FieldErrors::default();
    violations.into_iter().for_each(|violation| errors.add(violation.field, violation.description));
    (errors != FieldErrors::default()).then_some(errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{from_status, to_status};

    fn fields(count: usize, length: usize) -> Error {
        let mut errors = FieldErrors::default();
        (0..count).for_each(|n| errors.add(format!("/lines/{n}"), "x".repeat(length)));
        Error::invalid(errors)
    }

    #[test]
    fn kind_wait_and_fields_are_sent_and_read_back() {
        let error = fields(3, 10).with_retry_after(Duration::from_millis(1_500));
        let mut status = to_status(&error);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((&*info.reason, &*info.domain), ("INVALID", "comms"));
        assert_eq!(field_errors(&status).as_ref(), FieldErrors::of(&error));
        // The peer may be no comms-grpc server, which sends the metadata as well.
        status.metadata_mut().remove(comms_core::wire::GRPC_RETRY_PUSHBACK_MS);
        assert_eq!(from_status(&status).retry_after, Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn a_wait_without_end_has_no_retry_info() {
        let status = to_status(&Error::rejected("full", Some(Duration::MAX)));
        assert!(status.get_details_retry_info().is_none());
        assert_eq!(from_status(&status).retry_after, Some(Duration::MAX));
    }

    #[test]
    fn details_that_do_not_fit_are_left_out_fields_first() {
        for (count, length, has_fields, has_info) in
            [(3, 10, true, true), (30, 60, false, true), (400, 60, false, false)]
        {
            let status = to_status(&fields(count, length));
            assert!(fits(&status), "{count}");
            assert_eq!(field_errors(&status).is_some(), has_fields, "{count}");
            assert_eq!(status.get_details_error_info().is_some(), has_info, "{count}");
        }
    }

    #[test]
    fn details_that_cannot_be_decoded_are_ignored() {
        let status = Status::with_details(Code::InvalidArgument, "no", vec![0xff; 20].into());
        assert!(field_errors(&status).is_none() && retry_delay(&status).is_none());
        assert!(field_errors(&Status::invalid_argument("no")).is_none());
    }
}
