//! Decides what a client may read of a failed gRPC call to another service of this system.

use comms_core::{Error, ErrorKind};
use tonic::Code;

/// The status codes with which a service of this system rejects a client's input. Their messages are written for the
/// client. No other rejection belongs to the contract between services.
const CONTRACT: [Code; 3] = [Code::InvalidArgument, Code::NotFound, Code::Aborted];

/// Converts the error of a call to a service of this system for the client on whose behalf the call was made.
///
/// The message of INVALID_ARGUMENT, NOT_FOUND and ABORTED becomes the error's public text. The message of any other
/// code appears only in the log. A rejection of the input with another code is a fault between the two services and
/// becomes `Misconfigured`.
#[must_use]
pub fn for_client(error: Error) -> Error {
    let Some(status) = error.cause().downcast_ref::<tonic::Status>() else { return error };
    if !matches!(error.kind, ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict) {
        return error;
    }
    if !CONTRACT.contains(&status.code()) {
        return Error::misconfigured(error);
    }
    if status.message().is_empty() {
        return error;
    }
    let public = Error::new(error.kind, status.message());
    match error.retry_after {
        Some(wait) => public.with_retry_after(wait),
        None => public,
    }
}

#[cfg(test)]
mod tests {
    use comms_grpc::from_status;
    use tonic::Status;

    use super::*;

    #[test]
    fn a_peer_message_is_public_only_for_codes_of_the_contract() {
        for code in (1..=16).map(Code::from_i32) {
            let kind = match code {
                Code::InvalidArgument => ErrorKind::Invalid,
                Code::NotFound => ErrorKind::NotFound,
                Code::Aborted => ErrorKind::Conflict,
                Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unauthenticated
                | Code::PermissionDenied
                | Code::Unimplemented => ErrorKind::Misconfigured,
                _ => ErrorKind::Indeterminate,
            };
            let error = for_client(from_status(&Status::new(code, "secret")));
            let public = CONTRACT.contains(&code).then(|| "secret".to_owned());
            assert_eq!((error.kind, error.public_text()), (kind, public), "{code:?}");
        }
        let without_message = for_client(from_status(&Status::not_found("")));
        assert_eq!((without_message.kind, without_message.public_text()), (ErrorKind::NotFound, None));
    }
}
