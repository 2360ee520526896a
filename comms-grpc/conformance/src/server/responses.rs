//! The responses that the definitions in requests ask for.

use std::{pin::Pin, time::Duration};

use comms_core::clock::Clock;
use futures::{Stream, StreamExt, stream};
use http::HeaderMap;
use prost::Name;
use prost_types::Any;
use tonic::{Response, Status, metadata::MetadataMap};

use super::trailers::Trailers;
use crate::{
    headers,
    proto::{
        self, ConformancePayload, StreamResponseDefinition, UnaryResponseDefinition,
        conformance_payload::RequestInfo, unary_response_definition::Response as Outcome,
    },
    statuses,
};

/// The messages of a response stream.
pub(super) type Payloads = Pin<Box<dyn Stream<Item = Result<ConformancePayload, Status>> + Send>>;

/// Returns the response of a method with one response message.
pub(super) async fn unary(
    definition: Option<UnaryResponseDefinition>,
    info: RequestInfo,
) -> Result<Response<ConformancePayload>, Status> {
    let definition = definition.unwrap_or_default();
    Clock::system().sleep(delay(definition.response_delay_ms)).await;
    let mut metadata = header_map(&definition.response_headers)?;
    let trailers = header_map(&definition.response_trailers)?;
    let data = match definition.response {
        Some(Outcome::Error(error)) => {
            // A handler of tonic returns a status or a response, so the headers go with the trailers.
            extend(&mut metadata, trailers);
            return Err(statuses::from_proto(with_info(error, &info)?, metadata));
        }
        Some(Outcome::ResponseData(data)) => data,
        None => Default::default(),
    };
    Ok(with_metadata(ConformancePayload { data, request_info: Some(info) }, metadata, trailers))
}

/// Returns the response of a method that has read all its requests and responds with a stream.
pub(super) fn streaming(
    definition: Option<StreamResponseDefinition>,
    info: RequestInfo,
) -> Result<Response<Payloads>, Status> {
    let definition = definition.unwrap_or_default();
    let headers = header_map(&definition.response_headers)?;
    let trailers = header_map(&definition.response_trailers)?;
    let pause = delay(definition.response_delay_ms);
    let failure = match definition.error {
        Some(error) if definition.response_data.is_empty() => Some(with_info(error, &info)?),
        error => error,
    };
    // The first message has the information about the request.
    let infos = stream::iter([Some(info)]).chain(stream::repeat(None));
    let messages =
        stream::iter(definition.response_data).zip(infos).then(move |(data, request_info)| async move {
            Clock::system().sleep(pause).await;
            Ok(ConformancePayload { data, request_info })
        });
    let failure = failure.map(|error| Err(statuses::from_proto(error, HeaderMap::new())));
    let payloads: Payloads = messages.chain(stream::iter(failure)).boxed();
    Ok(with_metadata(payloads, headers, trailers))
}

/// Returns a response with headers, and with trailers for [`super::trailers::WithTrailers`].
pub(super) fn with_metadata<T>(message: T, headers: HeaderMap, trailers: HeaderMap) -> Response<T> {
    let mut response = Response::new(message);
    *response.metadata_mut() = MetadataMap::from_headers(headers);
    response.extensions_mut().insert(Trailers(trailers));
    response
}

/// Adds the information about the request to the details of an error that no message precedes.
pub(super) fn with_info(mut error: proto::Error, info: &RequestInfo) -> Result<proto::Error, Status> {
    error.details.push(to_any(info)?);
    Ok(error)
}

pub(super) fn to_any(message: &impl Name) -> Result<Any, Status> {
    Any::from_msg(message).map_err(|e| Status::internal(e.to_string()))
}

pub(super) fn header_map(headers: &[proto::Header]) -> Result<HeaderMap, Status> {
    headers::from_proto(headers).map_err(|e| Status::invalid_argument(e.to_string()))
}

pub(super) fn delay(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}

/// Appends the values of `more`. `HeaderMap::extend` would replace values of the same name.
fn extend(map: &mut HeaderMap, more: HeaderMap) {
    let mut last = None;
    for (name, value) in more {
        last = name.or(last);
        if let Some(name) = &last {
            map.append(name, value);
        }
    }
}
