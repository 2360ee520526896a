//! The server under test: the service of the suite on [`comms_grpc::serve`].

mod full_duplex;
mod responses;
mod trailers;

use comms_core::{clock::Clock, context::Context};
use comms_grpc::{
    Server, ServerConfig,
    tls::{Identity, ServerTls, Trust},
};
use futures::StreamExt;
use prost::Name;
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status, Streaming, codec::CompressionEncoding, metadata::MetadataMap, service::Routes,
};

use self::{
    responses::{Payloads, streaming, to_any, unary},
    trailers::WithTrailers,
};
use crate::{
    headers,
    proto::{
        BidiStreamRequest, BidiStreamResponse, ClientStreamRequest, ClientStreamResponse, ConformancePayload,
        IdempotentUnaryRequest, IdempotentUnaryResponse, ServerCompatRequest, ServerStreamRequest,
        ServerStreamResponse, TlsCreds, UnaryRequest, UnaryResponse, UnimplementedRequest,
        UnimplementedResponse,
        conformance_payload::RequestInfo,
        conformance_service_server::{ConformanceService, ConformanceServiceServer},
    },
};

/// The descriptor set of the suite, from which the server takes the number of request messages of each method.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Returns TLS as `request` describes it: with the certificate of the runner, and mutual if the runner names a client.
///
/// # Errors
/// Returns an error if the runner sends no certificate.
pub fn tls(request: &ServerCompatRequest) -> Result<Option<ServerTls>, String> {
    if !request.use_tls {
        return Ok(None);
    }
    let TlsCreds { cert, key } =
        request.server_creds.clone().ok_or("a request for TLS has no server_creds")?;
    let tls = ServerTls::new(Identity::from_pem(cert, key));
    Ok(Some(match request.client_tls_cert.is_empty() {
        true => tls,
        false => tls.client_trust(Trust::from_pem(request.client_tls_cert.clone())),
    }))
}

/// Serves until `shutdown` resolves. A request message of more than `receive_limit` bytes is refused.
///
/// # Errors
/// As [`Server::serve`].
pub async fn run(
    listener: TcpListener,
    receive_limit: Option<usize>,
    tls: Option<ServerTls>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), comms_core::Error> {
    let mut service = ConformanceServiceServer::new(Service)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let mut config = ServerConfig::default().tls(tls);
    if let Some(limit) = receive_limit {
        // The limit of the library is for the message as it is sent, that of tonic for the decompressed one.
        config = config.max_request_message(limit);
        service = service.max_decoding_message_size(limit);
    }
    let routes = Routes::new(WithTrailers(service));
    Server::new(routes).config(config).descriptors(DESCRIPTORS).serve(listener, shutdown).await
}

struct Service;

#[tonic::async_trait]
impl ConformanceService for Service {
    type ServerStreamStream = futures::stream::BoxStream<'static, Result<ServerStreamResponse, Status>>;
    type BidiStreamStream = futures::stream::BoxStream<'static, Result<BidiStreamResponse, Status>>;

    async fn unary(&self, request: Request<UnaryRequest>) -> Result<Response<UnaryResponse>, Status> {
        let info = info_of_one(&request)?;
        let response = unary(request.into_inner().response_definition, info).await?;
        Ok(response.map(|payload| UnaryResponse { payload: Some(payload) }))
    }

    async fn idempotent_unary(
        &self,
        request: Request<IdempotentUnaryRequest>,
    ) -> Result<Response<IdempotentUnaryResponse>, Status> {
        let info = info_of_one(&request)?;
        let response = unary(request.into_inner().response_definition, info).await?;
        Ok(response.map(|payload| IdempotentUnaryResponse { payload: Some(payload) }))
    }

    async fn server_stream(
        &self,
        request: Request<ServerStreamRequest>,
    ) -> Result<Response<Self::ServerStreamStream>, Status> {
        let info = info_of_one(&request)?;
        let response = streaming(request.into_inner().response_definition, info)?;
        let message = |payload| ServerStreamResponse { payload: Some(payload) };
        Ok(response.map(|payloads| payloads.map(move |payload| payload.map(message)).boxed()))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<ClientStreamRequest>>,
    ) -> Result<Response<ClientStreamResponse>, Status> {
        let mut info = info(request.metadata());
        let mut incoming = request.into_inner();
        let mut definition = None;
        while let Some(message) = incoming.message().await? {
            info.requests.push(to_any(&message)?);
            if info.requests.len() == 1 {
                definition = message.response_definition;
            }
        }
        let response = unary(definition, info).await?;
        Ok(response.map(|payload| ClientStreamResponse { payload: Some(payload) }))
    }

    async fn bidi_stream(
        &self,
        request: Request<Streaming<BidiStreamRequest>>,
    ) -> Result<Response<Self::BidiStreamStream>, Status> {
        let info = info(request.metadata());
        let response = bidi(request.into_inner(), info).await?;
        let message = |payload: ConformancePayload| BidiStreamResponse { payload: Some(payload) };
        Ok(response.map(|payloads| payloads.map(move |payload| payload.map(message)).boxed()))
    }

    async fn unimplemented(
        &self,
        _: Request<UnimplementedRequest>,
    ) -> Result<Response<UnimplementedResponse>, Status> {
        Err(Status::unimplemented("the suite expects this code"))
    }
}

async fn bidi(
    mut incoming: Streaming<BidiStreamRequest>,
    mut info: RequestInfo,
) -> Result<Response<Payloads>, Status> {
    let Some(first) = incoming.message().await? else { return streaming(None, info) };
    if first.full_duplex {
        return full_duplex::respond(first, incoming, info);
    }
    info.requests.push(to_any(&first)?);
    while let Some(message) = incoming.message().await? {
        info.requests.push(to_any(&message)?);
    }
    streaming(first.response_definition, info)
}

/// Returns what a handler with one request message observed.
fn info_of_one(request: &Request<impl Name>) -> Result<RequestInfo, Status> {
    let mut info = info(request.metadata());
    info.requests.push(to_any(request.get_ref())?);
    Ok(info)
}

/// Returns the headers of a call, and the time until the deadline of the handler's context if the caller set one.
fn info(metadata: &MetadataMap) -> RequestInfo {
    let request_headers = headers::to_proto(metadata.as_ref());
    let left = Context::current().deadline.and_then(|deadline| deadline.remaining(&Clock::system()));
    // Without a timeout of the caller, the deadline is the limit of the server.
    let timeout_ms = left.filter(|_| metadata.contains_key("grpc-timeout"));
    let timeout_ms = timeout_ms.and_then(|left| i64::try_from(left.as_millis()).ok());
    RequestInfo { request_headers, timeout_ms, ..RequestInfo::default() }
}
