//! A WebSocket session on any stream: TLS, HTTP/2, or a connection that is wrapped by the server.

use std::{future::poll_fn, io, pin::Pin};

use bytes::{Buf, Bytes};
use comms_core::clock::Sleep;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    End,
    incoming::{answer, decode},
};
use crate::{
    close::Close,
    connection::Duty,
    session::{Link, Pulled},
    websocket::decoder::Decoder,
};

/// The size of a reading in bytes.
const READ_BYTES: usize = 2 * 1024;

pub(super) async fn run(mut link: Link, mut decoder: Decoder, stream: impl AsyncRead + AsyncWrite + Send) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut pending = Bytes::new();
    let end = exchange(&mut link, &mut decoder, &mut reader, &mut writer, &mut pending).await;
    link.leave_all();
    link.note_end(end.close());
    let Some(frame) = end.frame() else { return };
    let (clock, config) = (&link.hub.env.clock, &link.hub.env.config);
    let sent = async {
        writer.write_all(&pending).await?;
        writer.write_all(&frame).await?;
        writer.shutdown().await
    };
    // A client that begins to read again within this time learns why its session ended.
    if !matches!(clock.timeout(config.write_timeout, sent).await, Ok(Ok(()))) {
        return;
    }
    link.connection.end();
    let _ = clock.timeout(config.close_timeout, tokio::io::copy(&mut reader, &mut tokio::io::sink())).await;
}

/// Reads and writes until the session ends. `pending` is what was not written then.
async fn exchange(
    link: &mut Link,
    decoder: &mut Decoder,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    pending: &mut Bytes,
) -> End {
    let connection = link.connection.clone();
    let mut buffer = vec![0; READ_BYTES];
    // Whether the stream may hold back bytes that it has taken, as TLS does.
    let mut holds_back = false;
    let hub = link.hub.clone();
    let mut closing: Option<Pin<Box<Sleep>>> = None;
    loop {
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let (frames, end) = match read {
                    Ok(0) | Err(_) => return End::Gone,
                    Ok(read) => decode(link, decoder, &buffer[..read]),
                };
                if let Err(end) = answer(link, frames).await {
                    return end;
                }
                if let Some(end) = end {
                    return end;
                }
            }
            step = write_step(writer, pending), if holds_back || !pending.is_empty() => match step {
                Ok(Some(0)) | Err(_) => return End::Gone,
                Ok(Some(written)) => {
                    pending.advance(written);
                    holds_back = true;
                    connection.note_progress();
                }
                Ok(None) => holds_back = false,
            },
            // While bytes are pending, only a close that does not wait for them ends the session.
            () = poll_fn(|cx| connection.poll_attention(cx)), if holds_back || !pending.is_empty() => match connection.duty() {
                Duty::Close(close) if !close.is_orderly() => return End::Close(close),
                // What is queued is sent before the close, within the time limit of a write.
                Duty::Close(_) => closing = Some(Box::pin(hub.env.clock.sleep(hub.env.config.write_timeout))),
                Duty::Gone => return End::Gone,
                _ => {}
            },
            () = elapsed(&mut closing), if closing.is_some() => return End::Close(Close::GOING_AWAY),
            pulled = poll_fn(|cx| link.poll_items(cx, 1)), if pending.is_empty() && !holds_back => match pulled {
                Pulled::Items(items) => *pending = link.encode(&items),
                Pulled::Close(close) => return End::Close(close),
                Pulled::Gone => return End::Gone,
            },
        }
    }
}

/// Resolves when the timer has fired. Without a timer, never.
async fn elapsed(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}

/// Writes a part of `bytes`, and returns its length. Without bytes, flushes and returns `None`. Cancel safe, because it
/// does one of both.
async fn write_step(writer: &mut (impl AsyncWrite + Unpin), bytes: &Bytes) -> io::Result<Option<usize>> {
    if bytes.is_empty() {
        return writer.flush().await.map(|()| None);
    }
    writer.write(bytes).await.map(Some)
}
