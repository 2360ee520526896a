//! The same streams through tungstenite: as the client that sends them, and as the server that receives them.

use super::{MAX, decode, random::hostile};
use crate::websocket::decoder::{Decoder, Received};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use std::io::{self, Cursor, Read, Write};
use tokio_tungstenite::tungstenite::{
    Error, Message,
    error::ProtocolError,
    protocol::{
        Role, WebSocket, WebSocketConfig,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};

/// A connection whose input is given and whose output is kept.
#[derive(Default)]
struct Pipe {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn below(random: &mut Xoshiro256PlusPlus, bound: usize) -> usize {
    random.next_u32() as usize % bound
}

/// Sends a text or binary message in random fragments, with pings between them.
fn send(client: &mut WebSocket<Pipe>, random: &mut Xoshiro256PlusPlus, expected: &mut Vec<Received>) {
    let longest = [10, 200, MAX][below(random, 3)];
    let content = vec!['a', 'é', '€', '🦀'][below(random, 4)].to_string().repeat(below(random, longest / 4));
    let text = below(random, 2) == 0;
    let mut opcode = if text { Data::Text } else { Data::Binary };
    let mut rest = content.as_bytes();
    while below(random, 3) != 0 {
        let (part, after) = rest.split_at(below(random, rest.len() + 1));
        let part = Frame::message(part.to_vec(), OpCode::Data(opcode), false);
        client.write(Message::Frame(part)).unwrap();
        client.write(Message::Ping(content.as_bytes()[..content.len().min(125)].to_vec().into())).unwrap();
        expected.push(Received::Part);
        expected.push(Received::Ping(content.as_bytes()[..content.len().min(125)].into()));
        (opcode, rest) = (Data::Continue, after);
    }
    client.write(Message::Frame(Frame::message(rest.to_vec(), OpCode::Data(opcode), true))).unwrap();
    expected.push(if text { Received::Text(content) } else { Received::Binary(content.into()) });
}

#[test]
fn messages_of_tungstenite_are_received() {
    for seed in 0..300 {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut client = WebSocket::from_raw_socket(Pipe::default(), Role::Client, None);
        let mut expected = vec![];
        for _ in 0..5 {
            send(&mut client, &mut random, &mut expected);
        }
        client.close(None).unwrap();
        expected.push(Received::Close { code: None });
        let stream = &client.get_ref().output;
        let size = 1 + below(&mut random, 5000);
        let result = decode(&mut Decoder::new(MAX, false), stream.chunks(size));
        assert_eq!(result, (expected, None), "seed {seed}, pieces of {size}");
    }
}

/// Returns what tungstenite receives as a server, and the close code for its error.
fn tungstenite(stream: Vec<u8>) -> (Vec<Received>, Option<u16>) {
    let pipe = Pipe { input: Cursor::new(stream), output: vec![] };
    let config = WebSocketConfig::default().max_message_size(Some(MAX)).max_frame_size(Some(MAX));
    let mut server = WebSocket::from_raw_socket(pipe, Role::Server, Some(config));
    let mut received = vec![];
    loop {
        received.push(match server.read() {
            Ok(Message::Text(text)) => Received::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Received::Binary(bytes.into()),
            Ok(Message::Ping(payload)) => Received::Ping(payload.into()),
            Ok(Message::Pong(_)) => Received::Pong,
            // How tungstenite reports an invalid code. No stream has a valid frame with this code.
            Ok(Message::Close(Some(close))) if close.code == CloseCode::Protocol => {
                return (received, Some(1002));
            }
            Ok(Message::Close(close)) => {
                received.push(Received::Close { code: close.map(|c| c.code.into()) });
                return (received, None);
            }
            Ok(Message::Frame(_)) => unreachable!("only written"),
            Err(Error::Capacity(_)) => return (received, Some(1009)),
            Err(Error::Utf8(_)) => return (received, Some(1007)),
            // The end of the stream.
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return (received, None),
            Err(_) => return (received, Some(1002)),
        });
    }
}

#[test]
fn hostile_streams_have_the_result_of_tungstenite() {
    let (mut messages, mut violations, mut closed) = (0, 0, 0);
    for seed in 0..1000 {
        let mut stream = hostile(&mut Xoshiro256PlusPlus::seed_from_u64(seed), false);
        // tungstenite reports some violations at the end of the frame, which these bytes complete.
        stream.resize(stream.len() + MAX, 0);
        let (mut received, violation) = decode(&mut Decoder::new(MAX, false), [&stream[..]]);
        received.retain(|frame| *frame != Received::Part);
        let (theirs, code) = tungstenite(stream);
        assert!(received == theirs, "seed {seed}");
        let ours = violation.map(|v| v.code);
        // A frame may breach two rules. tungstenite checks the length first, and the reason of a close frame before its code.
        let both = ours == Some(1002) && matches!(code, Some(1009 | 1007));
        assert!(both || ours == code, "seed {seed}: {violation:?}, {code:?}");
        messages += received.len();
        violations += usize::from(code.is_some());
        closed += usize::from(code.is_none());
    }
    assert!(
        messages > 5_000 && violations > 300 && closed > 20,
        "{messages} messages, {violations} violations, {closed} closed"
    );
}
