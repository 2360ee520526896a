//! The failure of an attempt: its status, and what the policy needs to know about it.

use std::{error::Error as StdError, time::Duration};

use comms_core::{
    ErrorKind,
    resilience::{Class, Rejection},
};
use h2::Reason;
use tonic::{Code, Status};

use crate::{
    evidence::{Evidence, error_chain},
    status::kind_and_wait,
    status_headers::truncate,
};

/// The failure of an attempt.
#[derive(Debug)]
pub(super) struct Failure {
    status: Status,
    kind: ErrorKind,
    /// The wait that the peer requested, or until the next connection attempt.
    retry_after: Option<Duration>,
    /// The code by which a service config decides about another attempt. `None`: a guard of this process decided.
    listed_as: Option<Code>,
    /// Whether a guard or a limit of this process refused the attempt.
    refused_locally: bool,
}

impl Failure {
    /// Returns a failure without proof that the call was not executed, unless `status` carries one.
    pub(super) fn of(status: Status) -> Self {
        let (kind, retry_after) = kind_and_wait(&status, Evidence::of(&status).as_ref());
        Self { listed_as: Some(status.code()), status, kind, retry_after, refused_locally: false }
    }

    /// Returns the failure of a call that was provably not executed.
    pub(super) fn not_executed(code: Code, text: &str, retry_after: Option<Duration>) -> Self {
        let evidence = Evidence { kind: ErrorKind::NotExecuted, retry_after, rejection: None };
        Self::of(Evidence::attach(Status::new(code, truncate(text)), evidence))
    }

    /// Returns the failure of a call that a guard of the channel refused or ended.
    pub(super) fn rejected(peer: &str, rejection: Rejection) -> Self {
        let code = Code::from_i32(rejection.guard.grpc_code());
        let text = match rejection.to_string() {
            text if text.starts_with(peer) => text,
            text => format!("{peer}: {text}"),
        };
        let failure = Self::of(Evidence::attach(Status::new(code, truncate(&text)), rejection));
        let refused_locally = failure.kind == ErrorKind::Rejected;
        // The wait of a guard is not a pushback of the peer.
        Self { retry_after: None, listed_as: None, refused_locally, ..failure }
    }

    /// Returns the failure of a call that a limit of this process, or the guard of each endpoint, refused.
    pub(super) fn refused(code: Code, text: &str, kind: ErrorKind) -> Self {
        let failure = Self::of(Evidence::attach(Status::new(code, truncate(text)), kind));
        Self { refused_locally: true, ..failure }
    }

    /// Returns the failure of a connection before the response headers. The code is UNAVAILABLE only for a call that
    /// was provably not executed. `late`: the deadline has passed.
    pub(super) fn of_connection(
        error: &(dyn StdError + 'static),
        peer: &str,
        unexecuted: bool,
        late: bool,
    ) -> Self {
        // The last source has the cause. The outer errors only report that the connection failed.
        let cause = error_chain(error).last().map(ToString::to_string).unwrap_or_default();
        let text = format!("{peer}: {cause}");
        match unexecuted {
            true => Self::not_executed(Code::Unavailable, &text, None),
            false => {
                let code = code_of(error, late);
                let failure = Self::of(Status::new(code, truncate(&text)));
                // Other implementations report a lost connection as UNAVAILABLE, and operators list that code.
                let listed_as = if code == Code::Unknown { Code::Unavailable } else { code };
                Self { listed_as: Some(listed_as), ..failure }
            }
        }
    }

    /// Forbids a retry, because the request cannot be sent again.
    pub(super) fn without_retry(self) -> Self {
        // The policy does not retry if the wait is longer than the longest one that it grants.
        Self { retry_after: Some(Duration::MAX), ..self }
    }

    /// Ascribes the failure to the request of the caller: neutral for the guards of the peer, and without a retry. The
    /// status stays, because a part of the request was sent.
    pub(super) fn of_caller(self) -> Self {
        Self { kind: ErrorKind::Invalid, ..self.without_retry() }
    }

    pub(super) const fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(super) const fn listed_as(&self) -> Option<Code> {
        self.listed_as
    }

    /// Returns whether a guard or a limit of this process refused the attempt.
    pub(super) const fn is_local_refusal(&self) -> bool {
        self.refused_locally
    }

    pub(super) const fn class(&self) -> Class {
        Class::Failure { kind: self.kind, retry_after: self.retry_after }
    }

    pub(super) fn into_status(self) -> Status {
        self.status
    }
}

/// Returns the status of a connection that failed in the middle of a response. `late`: the deadline has passed.
pub(super) fn of_body(error: &h2::Error, late: bool) -> Status {
    let cause = error_chain(error).last().map(ToString::to_string).unwrap_or_default();
    Status::new(code_of(error, late), truncate(&cause))
}

/// Returns the code of the gRPC mapping of HTTP/2 errors. UNKNOWN replaces UNAVAILABLE, which servers send for calls
/// that they refuse. A server that ends the stream at the deadline of the call may be faster than the timer of this process.
fn code_of(error: &(dyn StdError + 'static), late: bool) -> Code {
    let reason = error_chain(error).find_map(|e| e.downcast_ref::<h2::Error>()).and_then(h2::Error::reason);
    match reason {
        Some(Reason::CANCEL | Reason::NO_ERROR) if late => Code::DeadlineExceeded,
        Some(
            Reason::NO_ERROR
            | Reason::PROTOCOL_ERROR
            | Reason::INTERNAL_ERROR
            | Reason::FLOW_CONTROL_ERROR
            | Reason::SETTINGS_TIMEOUT
            | Reason::FRAME_SIZE_ERROR
            | Reason::COMPRESSION_ERROR
            | Reason::CONNECT_ERROR,
        ) => Code::Internal,
        Some(Reason::CANCEL) => Code::Cancelled,
        Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        _ => Code::Unknown,
    }
}
