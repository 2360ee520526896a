//! Frames that breach the protocol or a limit.

use comms_ws::close;
use tokio::io::AsyncWriteExt;

use crate::{
    support::{
        Open,
        raw::{BINARY, CLOSE, CONTINUATION, FIN, PING, Raw, TEXT, frame, header},
    },
    witness::{IO, Witnessed},
};

#[tokio::test]
async fn a_breach_is_answered_with_its_close_code() {
    let unmasked = vec![FIN | TEXT, 2, b'{', b'}'];
    let reserved = frame(FIN | 0x40 | TEXT, b"{}");
    let within = [frame(TEXT, b"{"), frame(FIN | TEXT, b"}")].concat();
    let long_control = frame(FIN | PING, &[0; 126]);
    let split_control = frame(PING, b"");
    let utf8 = [frame(TEXT, b"\xc3"), frame(FIN | CONTINUATION, b"\x28")].concat();
    let surrogate = frame(FIN | TEXT, b"\xed\xa0\x80");
    let in_pieces = [frame(TEXT, &[b'x'; 4_000]), header(CONTINUATION, 97)].concat();
    let breaches: [(&str, Vec<u8>, u16); 15] = [
        ("unmasked", unmasked, close::PROTOCOL),
        ("reserved bit", reserved, close::PROTOCOL),
        ("unknown opcode", frame(FIN | 3, b""), close::PROTOCOL),
        ("continuation without a message", frame(FIN | CONTINUATION, b""), close::PROTOCOL),
        ("message within a message", within, close::PROTOCOL),
        ("long control frame", long_control, close::PROTOCOL),
        ("control frame in parts", split_control, close::PROTOCOL),
        ("close frame of one byte", frame(FIN | CLOSE, b"\x03"), close::PROTOCOL),
        ("close code that must not be sent", frame(FIN | CLOSE, &1005_u16.to_be_bytes()), close::PROTOCOL),
        ("binary", frame(FIN | BINARY, b"{}"), close::UNSUPPORTED),
        ("UTF-8 in parts", utf8, close::NOT_UTF8),
        ("surrogate", surrogate, close::NOT_UTF8),
        ("announced by the header alone", header(FIN | TEXT, 4_097), close::TOO_BIG),
        ("announced as 2^62 bytes", header(FIN | TEXT, 1 << 62), close::TOO_BIG),
        ("too big in parts", in_pieces, close::TOO_BIG),
    ];
    for io in IO {
        let mut witness = Witnessed::start(io, |config| config).await;
        for (what, bytes, code) in &breaches {
            let mut raw = Raw::open(witness.server.address, &Open::of("eve")).await;
            raw.socket.write_all(bytes).await.unwrap();
            assert_eq!(raw.close_code().await, *code, "{io:?}: {what}");
            witness.check().await;
        }
        witness.end().await;
    }
}

/// Each byte comes in a segment of its own.
#[tokio::test]
async fn frames_in_single_bytes_are_read() {
    for io in IO {
        let witness = Witnessed::start(io, |config| config).await;
        let mut raw = Raw::open(witness.server.address, &Open::of("eve")).await;
        let text = frame(FIN | TEXT, r#"{"type":"subscribe","topic":"public/é"}"#.as_bytes());
        let close = frame(FIN | CLOSE, &4_000_u16.to_be_bytes());
        for byte in [text, close].concat() {
            raw.socket.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(raw.close_code().await, 1000, "{io:?}");
        drop(raw);
        witness.end().await;
    }
}

#[tokio::test]
async fn a_client_that_half_closes_or_closes_without_an_answer_is_released() {
    for io in IO {
        let witness = Witnessed::start(io, |config| config).await;
        // The client closes its direction, and keeps the other one open.
        let mut half = Raw::open(witness.server.address, &Open::of("eve")).await;
        half.socket.shutdown().await.unwrap();
        witness.server.until("the half-closed session has ended", |stats| stats.sessions == 1).await;
        // The client closes, and does not end its connection after the answer of the server.
        let mut open = Raw::open(witness.server.address, &Open::of("eve")).await;
        open.frame(FIN | CLOSE, &1000_u16.to_be_bytes()).await.unwrap();
        witness.server.until("the closed session has ended", |stats| stats.sessions == 1).await;
        // The server closes, and the client neither answers nor ends.
        let silent = Raw::open(witness.server.address, &Open::of("eve")).await;
        assert_eq!(witness.server.hub.disconnect("eve").await.unwrap(), 1);
        witness.server.until("the silent session has ended", |stats| stats.sessions == 1).await;
        witness.end().await;
        drop((half, open, silent));
    }
}
