//! An echo on the frames of the server, for tests of the protocol.

use crate::transport::Body;
use crate::websocket::{
    decoder::{Decoder, Received},
    encoder,
    frame_header::Opcode,
    handshake::Handshake,
    violation::Violation,
};
use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io, sync::Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest message that is echoed.
pub const MAX_MESSAGE: usize = 16 << 20;
/// The size of the read buffer.
const READ: usize = 64 * 1024;

/// An upgrade that was accepted, and whether compression was negotiated.
type Accepted = (OnUpgrade, bool);

/// Serves one connection: the handshake over HTTP/1.1, and then an echo of each message until a close frame.
///
/// Messages are at most [`MAX_MESSAGE`] bytes long. If compression is negotiated, each response is compressed.
///
/// # Errors
/// Returns the error of the stream, or of a request that is not HTTP.
pub async fn echo<S>(stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let accepted = Mutex::new(None);
    let service = service_fn(async |request| Ok::<_, Infallible>(respond(request, &accepted)));
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
        .map_err(io::Error::other)?;
    let accepted = accepted.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Some((upgrade, deflate)) = accepted else { return Ok(()) };
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    echo_messages(TokioIo::new(upgraded), deflate).await
}

/// Returns the response to a request, and stores the upgrade that it begins.
fn respond(mut request: Request<Incoming>, accepted: &Mutex<Option<Accepted>>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    match Handshake::check(&parts) {
        Ok(handshake) => {
            let mut accepted = accepted.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *accepted = Some((upgrade, handshake.deflate.is_some()));
            handshake.response()
        }
        Err(reason) => {
            let mut response = Response::new(Body::full(reason.to_string().into()));
            *response.status_mut() = reason.status();
            response.headers_mut().extend(reason.headers());
            response
        }
    }
}

async fn echo_messages<S>(mut stream: S, deflate: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut decoder = Decoder::new(MAX_MESSAGE, deflate);
    let mut buffer = vec![0; READ];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        let mut input = &buffer[..len];
        while let Some(result) = decoder.decode(&mut input).transpose() {
            let (frame, last) = answer(result, deflate);
            stream.write_all(&frame).await?;
            if last {
                return close(stream).await;
            }
        }
        stream.flush().await?;
    }
}

/// Returns the bytes that answer a frame, and whether they are the last ones.
fn answer(result: Result<Received, Violation>, deflate: bool) -> (Bytes, bool) {
    let encode = if deflate { encoder::compressed } else { encoder::frame };
    match result {
        Ok(Received::Text(text)) => (encode(Opcode::Text, text.as_bytes()), false),
        Ok(Received::Binary(bytes)) => (encode(Opcode::Binary, &bytes), false),
        Ok(Received::Ping(payload)) => (encoder::pong(&payload), false),
        Ok(Received::Pong | Received::Part) => (Bytes::new(), false),
        Ok(Received::Close { code }) => (encoder::close(code.unwrap_or(1000), ""), true),
        Err(violation) => (encoder::close(violation.code, violation.reason), true),
    }
}

/// Ends the stream. Reads what the client still sends: a stream that is dropped with unread bytes is reset, and the client
/// may lose the close frame.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}
