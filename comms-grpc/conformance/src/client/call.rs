//! One call. A call of Rust is cancelled by dropping it, so the status CANCELLED of a cancelled call is the client's
//! own, and the headers and messages are those that arrived before.

use std::{future::Future, time::Duration};

use comms_core::clock::Clock;
use futures::{Stream, StreamExt, stream};
use prost::Name;
use tokio::sync::mpsc;
use tonic::{Response, Status, Streaming};

use super::{
    capture::{Capture, Received},
    plan::{CancelAt, cancel_at, message, messages, with_metadata},
};
use crate::{
    headers,
    proto::{
        BidiStreamRequest, ClientCompatRequest, ClientResponseResult, ClientStreamRequest,
        ConformancePayload, IdempotentUnaryRequest, ServerStreamRequest, StreamType, UnaryRequest,
        UnimplementedRequest, conformance_service_client::ConformanceServiceClient,
    },
    statuses,
};

type Client = ConformanceServiceClient<Capture>;
type Payloads = Vec<ConformancePayload>;

/// Makes the call that `request` describes. An error means that the call could not be made.
pub(super) async fn run(
    mut client: Client,
    capture: &Capture,
    request: &ClientCompatRequest,
) -> Result<ClientResponseResult, String> {
    let mut payloads = Payloads::new();
    let result = match request.method() {
        "Unary" => {
            let call = with_metadata(request, message::<UnaryRequest>(request)?)?;
            let result = until_cancelled(request, client.unary(call)).await;
            one(&mut payloads, result, |message| message.payload)
        }
        "IdempotentUnary" => {
            let call = with_metadata(request, message::<IdempotentUnaryRequest>(request)?)?;
            let result = until_cancelled(request, client.idempotent_unary(call)).await;
            one(&mut payloads, result, |message| message.payload)
        }
        "Unimplemented" => {
            let call = with_metadata(request, message::<UnimplementedRequest>(request)?)?;
            until_cancelled(request, client.unimplemented(call)).await.map(drop)
        }
        "ClientStream" => {
            let outgoing = outgoing(request, messages::<ClientStreamRequest>(request)?);
            let call = with_metadata(request, outgoing)?;
            let result = until_cancelled(request, client.client_stream(call)).await;
            one(&mut payloads, result, |message| message.payload)
        }
        "ServerStream" => {
            let call = with_metadata(request, message::<ServerStreamRequest>(request)?)?;
            let reading = async {
                let incoming = client.server_stream(call).await?.into_inner();
                read(request, incoming, &mut payloads, |message| message.payload).await
            };
            until_cancelled(request, reading).await
        }
        "BidiStream" if request.stream_type() == StreamType::FullDuplexBidiStream => {
            let messages = messages::<BidiStreamRequest>(request)?;
            let (sender, receiver) = mpsc::channel(1);
            let outgoing = stream::unfold(receiver, |mut receiver| async {
                receiver.recv().await.map(|message| (message, receiver))
            });
            let call = with_metadata(request, outgoing)?;
            full_duplex(request, client, call, messages, sender, &mut payloads).await
        }
        "BidiStream" => {
            let outgoing = outgoing(request, messages::<BidiStreamRequest>(request)?);
            let call = with_metadata(request, outgoing)?;
            let reading = async {
                let incoming = client.bidi_stream(call).await?.into_inner();
                read(request, incoming, &mut payloads, |message| message.payload).await
            };
            until_cancelled(request, reading).await
        }
        method => return Err(format!("the method {method} is unknown")),
    };
    Ok(report(capture.received(), payloads, result))
}

fn report(received: Received, payloads: Payloads, result: Result<(), Status>) -> ClientResponseResult {
    let Received { headers, mut trailers } = received;
    // The channel reports a failure as a status, with the trailers as its metadata.
    if let Err(status) = &result {
        trailers.extend(status.metadata().clone().into_headers());
    }
    ClientResponseResult {
        response_headers: headers::to_proto(&headers),
        payloads,
        error: result.err().as_ref().map(statuses::to_proto),
        response_trailers: headers::to_proto(&trailers),
        ..ClientResponseResult::default()
    }
}

/// Adds the payload of the one response message to `payloads`.
fn one<M>(
    payloads: &mut Payloads,
    result: Result<Response<M>, Status>,
    payload: impl Fn(M) -> Option<ConformancePayload>,
) -> Result<(), Status> {
    payloads.push(payload(result?.into_inner()).unwrap_or_default());
    Ok(())
}

/// Adds the payloads of a response stream to `payloads`, up to the message after which the client cancels the call.
async fn read<M>(
    request: &ClientCompatRequest,
    mut incoming: Streaming<M>,
    payloads: &mut Payloads,
    payload: impl Fn(M) -> Option<ConformancePayload>,
) -> Result<(), Status> {
    while let Some(message) = incoming.message().await? {
        payloads.push(payload(message).unwrap_or_default());
        if cancel_at(request) == CancelAt::AfterResponses(payloads.len()) {
            return Err(cancelled());
        }
    }
    Ok(())
}

/// Sends a message, reads a response, and so on. Reads the further responses after the last message.
async fn full_duplex(
    request: &ClientCompatRequest,
    mut client: Client,
    call: tonic::Request<impl Stream<Item = BidiStreamRequest> + Send + 'static>,
    messages: Vec<BidiStreamRequest>,
    sender: mpsc::Sender<BidiStreamRequest>,
    payloads: &mut Payloads,
) -> Result<(), Status> {
    let mut messages = messages.into_iter();
    // A server may send its headers after the first message, so that message is sent before they are awaited.
    if let Some(first) = messages.next() {
        Clock::system().sleep(delay(request)).await;
        // A send fails only if the call has ended. The reading has the reason.
        let _ = sender.send(first).await;
    }
    let mut incoming = client.bidi_stream(call).await?.into_inner();
    loop {
        let Some(message) = incoming.message().await? else { return Ok(()) };
        payloads.push(message.payload.unwrap_or_default());
        if cancel_at(request) == CancelAt::AfterResponses(payloads.len()) {
            return Err(cancelled());
        }
        let Some(next) = messages.next() else { break };
        Clock::system().sleep(delay(request)).await;
        let _ = sender.send(next).await;
    }
    if cancel_at(request) == CancelAt::BeforeCloseSend {
        return Err(cancelled());
    }
    drop(sender);
    let reading = read(request, incoming, payloads, |message| message.payload);
    cancelled_after(Duration::ZERO, request, reading).await
}

/// Returns a stream of `messages` with the delay of the request before each. It has no end if the client cancels the
/// call before the end of the requests.
fn outgoing<M: Name + Send + 'static>(
    request: &ClientCompatRequest,
    messages: Vec<M>,
) -> impl Stream<Item = M> + Send + 'static {
    let pause = delay(request);
    let open = cancel_at(request) == CancelAt::BeforeCloseSend;
    let delayed = stream::iter(messages).then(move |message| async move {
        Clock::system().sleep(pause).await;
        message
    });
    delayed.chain(stream::pending().take(if open { usize::MAX } else { 0 }))
}

/// Cancels `call` at the time that the request names. The messages of the suite are small, so they are sent when the
/// delays before them have passed.
async fn until_cancelled<T>(
    request: &ClientCompatRequest,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let count = u32::try_from(request.request_messages.len()).unwrap_or(u32::MAX);
    cancelled_after(delay(request).saturating_mul(count), request, call).await
}

/// Cancels `call` at the time that the request names, if the last message is sent after `sending`.
async fn cancelled_after<T>(
    sending: Duration,
    request: &ClientCompatRequest,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let limit = match cancel_at(request) {
        CancelAt::Never | CancelAt::AfterResponses(_) => return call.await,
        CancelAt::BeforeCloseSend => sending + Duration::from_millis(100),
        CancelAt::AfterCloseSend(time) => sending + time,
    };
    Clock::system().timeout(limit, call).await.unwrap_or_else(|_| Err(cancelled()))
}

fn cancelled() -> Status {
    Status::cancelled("the client has dropped the call, as the suite asks")
}

fn delay(request: &ClientCompatRequest) -> Duration {
    Duration::from_millis(request.request_delay_ms.into())
}
