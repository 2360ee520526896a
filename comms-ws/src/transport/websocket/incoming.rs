//! What a WebSocket session does with the bytes of its client.

use super::End;
use crate::{
    close::Close,
    connection::Item,
    session::Link,
    websocket::{
        decoder::{Decoder, Received},
        encoder,
    },
};

/// Decodes bytes of the client to frames, each of which counts in the limit of the rate. Returns the frames that need an
/// answer, and the end if there is one.
pub(super) fn decode(
    link: &mut Link,
    decoder: &mut Decoder,
    mut bytes: &[u8],
) -> (Vec<Received>, Option<End>) {
    let mut frames = Vec::new();
    loop {
        match decoder.decode(&mut bytes) {
            Ok(None) => return (frames, None),
            Err(violation) => {
                return (frames, Some(End::Close(Close::new(violation.code, violation.reason))));
            }
            Ok(Some(frame)) => {
                if let Err(close) = link.count_frame() {
                    return (frames, Some(End::Close(close)));
                }
                match frame {
                    Received::Close { .. } => return (frames, Some(End::Closed)),
                    Received::Pong | Received::Part => {}
                    frame => frames.push(frame),
                }
            }
        }
    }
}

/// Answers the frames of the client.
pub(super) async fn answer(link: &mut Link, frames: Vec<Received>) -> Result<(), End> {
    for frame in frames {
        // The check of a token may take seconds. A session that was closed meanwhile does not check the next ones.
        if !link.connection.is_open() {
            return Ok(());
        }
        match frame {
            Received::Text(text) => link.on_text(&text).await.map_err(End::Close)?,
            Received::Binary(_) => return Err(End::Close(Close::BINARY)),
            Received::Ping(payload) => link.connection.send(Item::Raw(encoder::pong(&payload))),
            Received::Pong | Received::Part | Received::Close { .. } => {}
        }
    }
    Ok(())
}
