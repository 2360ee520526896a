//! A bidirectional stream with a response for each request.

use std::collections::VecDeque;

use bytes::Bytes;
use comms_core::clock::Clock;
use futures::{StreamExt, stream};
use http::HeaderMap;
use prost_types::Any;
use tonic::{Response, Status, Streaming};

use super::responses::{Payloads, delay, header_map, to_any, with_info, with_metadata};
use crate::{
    proto::{self, BidiStreamRequest, ConformancePayload, conformance_payload::RequestInfo},
    statuses,
};

/// The state of the stream between two responses.
struct Duplex {
    /// The request that was read before the stream began.
    first: Option<BidiStreamRequest>,
    /// The further requests. `None` after their end, and when no response is left for a request.
    incoming: Option<Streaming<BidiStreamRequest>>,
    responses: VecDeque<Bytes>,
    error: Option<proto::Error>,
    delay_ms: u32,
    /// The headers and the timeout of the call, until the first response.
    info: Option<RequestInfo>,
    /// The requests since the last response.
    requests: Vec<Any>,
}

/// Returns the response to a stream that begins with `first`.
pub(super) fn respond(
    first: BidiStreamRequest,
    incoming: Streaming<BidiStreamRequest>,
    info: RequestInfo,
) -> Result<Response<Payloads>, Status> {
    let definition = first.response_definition.clone().unwrap_or_default();
    let headers = header_map(&definition.response_headers)?;
    let trailers = header_map(&definition.response_trailers)?;
    let duplex = Duplex {
        first: Some(first),
        incoming: Some(incoming),
        responses: definition.response_data.into(),
        error: definition.error,
        delay_ms: definition.response_delay_ms,
        info: Some(info),
        requests: Vec::new(),
    };
    let payloads = stream::unfold(Some(duplex), |duplex| async move { next(duplex?).await });
    Ok(with_metadata(payloads.boxed(), headers, trailers))
}

/// Returns the next response and the state after it. The state is `None` after a failure.
async fn next(mut duplex: Duplex) -> Option<(Result<ConformancePayload, Status>, Option<Duplex>)> {
    match duplex.receive().await {
        Ok(()) => {}
        Err(status) => return Some((Err(status), None)),
    }
    let Some(data) = duplex.responses.pop_front() else {
        return duplex.failure().map(|status| (Err(status), None));
    };
    Clock::system().sleep(delay(duplex.delay_ms)).await;
    let request_info = duplex.take_info();
    Some((Ok(ConformancePayload { data, request_info }), Some(duplex)))
}

impl Duplex {
    /// Reads one request. Stops reading at the end of the requests, and when no response is left for a request.
    async fn receive(&mut self) -> Result<(), Status> {
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        let request = match self.first.take() {
            Some(first) => Some(first),
            None => incoming.message().await?,
        };
        if let Some(request) = &request {
            self.requests.push(to_any(request)?);
        }
        if request.is_none() || self.responses.is_empty() {
            self.incoming = None;
        }
        Ok(())
    }

    /// Takes what the next response reports: all about the call at first, and then the request that it answers.
    fn take_info(&mut self) -> Option<RequestInfo> {
        let requests = std::mem::take(&mut self.requests);
        match self.info.take() {
            Some(info) => Some(RequestInfo { requests, ..info }),
            None if requests.is_empty() => None,
            None => Some(RequestInfo { requests, ..RequestInfo::default() }),
        }
    }

    /// Takes the error that ends the stream.
    fn failure(&mut self) -> Option<Status> {
        let error = self.error.take()?;
        // Only an error that no response precedes reports the call.
        let info = if self.info.is_some() { self.take_info() } else { None };
        let error = info.map_or(Ok(error.clone()), |info| with_info(error, &info));
        Some(error.map_or_else(|status| status, |error| statuses::from_proto(error, HeaderMap::new())))
    }
}
