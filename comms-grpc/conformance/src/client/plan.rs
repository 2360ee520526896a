//! What a call of the suite asks for: its messages, its metadata, and the point at which the client cancels it.

use std::time::Duration;

use prost::Name;
use tonic::{Request, metadata::MetadataMap};

use crate::{
    headers,
    proto::{ClientCompatRequest, client_compat_request::cancel::CancelTiming},
};

/// The point at which the client cancels the call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum CancelAt {
    Never,
    /// Instead of ending the request stream.
    BeforeCloseSend,
    /// This time after the end of the request stream.
    AfterCloseSend(Duration),
    /// After this number of response messages.
    AfterResponses(usize),
}

/// Returns when the client cancels the call.
pub(super) fn cancel_at(request: &ClientCompatRequest) -> CancelAt {
    let Some(cancel) = &request.cancel else { return CancelAt::Never };
    match cancel.cancel_timing {
        Some(CancelTiming::BeforeCloseSend(())) => CancelAt::BeforeCloseSend,
        Some(CancelTiming::AfterCloseSendMs(ms)) => {
            CancelAt::AfterCloseSend(Duration::from_millis(ms.into()))
        }
        Some(CancelTiming::AfterNumResponses(count)) => CancelAt::AfterResponses(count as usize),
        None => CancelAt::AfterCloseSend(Duration::ZERO),
    }
}

/// Returns the messages that the client sends.
pub(super) fn messages<M: Name + Default>(request: &ClientCompatRequest) -> Result<Vec<M>, String> {
    let message = |any: &prost_types::Any| any.to_msg::<M>().map_err(|e| e.to_string());
    request.request_messages.iter().map(message).collect()
}

/// Returns the one message of a call that is not a request stream.
pub(super) fn message<M: Name + Default>(request: &ClientCompatRequest) -> Result<M, String> {
    let mut messages = messages(request)?;
    let count = messages.len();
    messages.pop().filter(|_| count == 1).ok_or_else(|| format!("a call with one request has {count}"))
}

/// Adds the metadata and the timeout of the call to `message`.
pub(super) fn with_metadata<T>(request: &ClientCompatRequest, message: T) -> Result<Request<T>, String> {
    let mut call = Request::new(message);
    let headers = headers::from_proto(&request.request_headers).map_err(|e| e.to_string())?;
    *call.metadata_mut() = MetadataMap::from_headers(headers);
    if let Some(timeout_ms) = request.timeout_ms {
        call.set_timeout(Duration::from_millis(timeout_ms.into()));
    }
    Ok(call)
}
