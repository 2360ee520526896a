//! Errors as the suite describes them, and statuses of tonic.

use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::pb::Status as RpcStatus;

use crate::proto;

/// Returns the status that a handler fails with, with `trailers`.
pub(crate) fn from_proto(error: proto::Error, trailers: HeaderMap) -> Status {
    let proto::Error { code, message, details } = error;
    let message = message.unwrap_or_default();
    let metadata = MetadataMap::from_headers(trailers);
    if details.is_empty() {
        return Status::with_metadata(Code::from_i32(code), message, metadata);
    }
    let details = RpcStatus { code, message: message.clone(), details }.encode_to_vec();
    Status::with_details_and_metadata(Code::from_i32(code), message, Bytes::from(details), metadata)
}

/// Returns the error of a failed call.
pub(crate) fn to_proto(status: &Status) -> proto::Error {
    let details = RpcStatus::decode(status.details()).map(|status| status.details).unwrap_or_default();
    proto::Error { code: status.code().into(), message: Some(status.message().to_owned()), details }
}
