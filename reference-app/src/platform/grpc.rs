//! Calls to services of this system over gRPC.

use comms_core::{Error, ErrorKind};
use tonic::Code;

/// The codes by which a service of this system refuses the input of a client; their messages are written for that client.
/// No other refusal is part of its contract.
const CONTRACT: [Code; 3] = [Code::InvalidArgument, Code::NotFound, Code::Aborted];

/// The failure of a call to a service of this system, for the client on whose behalf the call was made.
///
/// The message of INVALID_ARGUMENT, NOT_FOUND and ABORTED becomes the error's public text. The message of every other code
/// is for the log. A refusal of the input by another code is a fault between the two services: `Misconfigured`.
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
    fn a_peers_message_is_public_only_for_the_codes_of_the_contract() {
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
        let silent = for_client(from_status(&Status::not_found("")));
        assert_eq!((silent.kind, silent.public_text()), (ErrorKind::NotFound, None));
    }
}
