//! Calls with requests and responses in JSON, as the programs of the peers understand them.

use std::time::Duration;

use comms_core::BoxError;
use comms_grpc::tonic;
use http::uri::PathAndQuery;
use serde_json::Value;
use tonic::{Request, Response, Status, Streaming, body::Body, client::GrpcService};
use tonic_prost::ProstCodec;

/// The longest wait of a test. No test waits for its end.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A message of the test service. prost encodes a `String` as `google.protobuf.StringValue`.
pub(crate) type Text = String;

/// Makes a unary call with any metadata.
pub(crate) async fn unary<T>(transport: T, request: Request<Text>) -> Result<Response<Text>, Status>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError>,
{
    let mut grpc = tonic::client::Grpc::new(transport);
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    grpc.unary(request, PathAndQuery::from_static("/peers.Peer/Unary"), ProstCodec::default()).await
}

/// Makes a unary call, and returns its response.
pub(crate) async fn ask<T>(transport: T, request: Value) -> Result<Value, Status>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError>,
{
    let response = unary(transport, Request::new(request.to_string())).await?;
    Ok(serde_json::from_str(response.get_ref()).unwrap())
}

/// Makes a call with a response stream.
pub(crate) async fn stream<T>(transport: T, request: Value) -> Result<Streaming<Text>, Status>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError>,
{
    let mut grpc = tonic::client::Grpc::new(transport);
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    let path = PathAndQuery::from_static("/peers.Peer/Stream");
    let response =
        grpc.server_streaming(Request::new(request.to_string()), path, ProstCodec::default()).await?;
    Ok(response.into_inner())
}
