//! The rules of RFC 6455 and RFC 7692, each with the shortest stream that shows it.

use super::{MAX, decode, frame};
use crate::websocket::{
    decoder::{Decoder, Received},
    deflate::compress,
};

/// Decodes a stream of frames, whole and byte by byte. Both must have the same result.
fn received(deflate: bool, frames: &[Vec<u8>]) -> (Vec<Received>, Option<u16>) {
    let stream = frames.concat();
    let (whole, violation) = decode(&mut Decoder::new(MAX, deflate), [&*stream]);
    let (bytes, same) = decode(&mut Decoder::new(MAX, deflate), stream.chunks(1));
    assert_eq!((&whole, violation), (&bytes, same), "{stream:x?}");
    (whole, violation.map(|v| v.code))
}

fn text(text: &str) -> Received {
    Received::Text(text.into())
}

#[test]
fn whole_messages_are_received() {
    let frames = [frame(0x81, b"hello"), frame(0x82, &[0, 0xff]), frame(0x81, b""), frame(0x82, b"")];
    let expected = vec![text("hello"), Received::Binary(vec![0, 0xff]), text(""), Received::Binary(vec![])];
    assert_eq!(received(false, &frames), (expected, None));
}

#[test]
fn fragments_become_one_message_around_control_frames() {
    let frames = [
        frame(0x01, b"\xce"),
        frame(0x89, b"ping"),
        frame(0x00, b"\xba"),
        frame(0x8a, b"pong"),
        frame(0x00, b""),
        frame(0x80, b"!"),
        frame(0x89, b""),
        frame(0x02, b""),
        frame(0x80, b""),
    ];
    let expected = vec![
        Received::Part,
        Received::Ping(b"ping".into()),
        Received::Part,
        Received::Pong,
        Received::Part,
        text("κ!"),
        Received::Ping(vec![]),
        Received::Part,
        Received::Binary(vec![]),
    ];
    assert_eq!(received(false, &frames), (expected, None));
}

#[test]
fn messages_do_not_begin_or_continue_within_others() {
    let part = vec![Received::Part];
    assert_eq!(received(false, &[frame(0x80, b"a")]), (vec![], Some(1002)));
    assert_eq!(received(false, &[frame(0x00, b"a")]), (vec![], Some(1002)));
    assert_eq!(received(false, &[frame(0x01, b"a"), frame(0x81, b"b")]), (part.clone(), Some(1002)));
    assert_eq!(received(false, &[frame(0x02, b"a"), frame(0x02, b"b")]), (part, Some(1002)));
    let again = [frame(0x81, b"a"), frame(0x80, b"b")];
    assert_eq!(received(false, &again), (vec![text("a")], Some(1002)));
}

#[test]
fn a_long_message_is_refused_by_its_header() {
    let whole = vec![b'a'; MAX];
    let expected = vec![text(&"a".repeat(MAX))];
    assert_eq!(received(false, &[frame(0x81, &whole)]), (expected, None));
    for len in [MAX as u64 + 1, u64::from(u32::MAX), i64::MAX as u64] {
        let header = [&[0x82, 0xff][..], &len.to_be_bytes(), &[0; 4]].concat();
        assert_eq!(received(false, std::slice::from_ref(&header)), (vec![], Some(1009)));
        assert_eq!(received(true, std::slice::from_ref(&header)), (vec![], Some(1009)));
        let continued = [frame(0x02, b"a"), [&[0x80][..], &header[1..]].concat()];
        assert_eq!(received(false, &continued), (vec![Received::Part], Some(1009)));
    }
    let sum = [frame(0x02, &whole), frame(0x80, b"b")];
    assert_eq!(received(false, &sum), (vec![Received::Part], Some(1009)));
    let ping = [frame(0x02, &whole), frame(0x89, &[7; 125])];
    assert_eq!(received(false, &ping).0[1], Received::Ping(vec![7; 125]), "a control frame does not count");
}

#[test]
fn text_is_refused_in_the_frame_where_it_becomes_invalid() {
    for invalid in [&b"\xff"[..], b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        assert_eq!(received(false, &[frame(0x81, invalid)]), (vec![], Some(1007)));
        assert_eq!(
            received(false, &[frame(0x01, invalid)]),
            (vec![], Some(1007)),
            "not at the end of the message"
        );
    }
    let incomplete = [frame(0x01, b"\xce"), frame(0x80, b"")];
    assert_eq!(received(false, &incomplete), (vec![Received::Part], Some(1007)));
    let split = [frame(0x01, b"\xce"), frame(0x00, b"\xce")];
    assert_eq!(received(false, &split), (vec![Received::Part], Some(1007)));
    // The rest of the frame has not arrived.
    let begun = frame(0x81, b"abc\xffdef");
    let (_, violation) = decode(&mut Decoder::new(MAX, false), [&begun[..10]]);
    assert_eq!(violation.map(|v| v.code), Some(1007));
}

#[test]
fn a_close_frame_ends_the_stream() {
    let close = |payload: &[u8]| received(false, &[frame(0x88, payload), frame(0x81, b"later"), vec![0xff]]);
    let closed = |code| (vec![Received::Close { code }], None);
    assert_eq!(close(b""), closed(None));
    for code in
        [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        assert_eq!(close(&[&code.to_be_bytes()[..], b"bye"].concat()), closed(Some(code)));
    }
    assert_eq!(close(b"\x03"), (vec![], Some(1002)));
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_eq!(close(&code.to_be_bytes()), (vec![], Some(1002)), "{code}");
    }
    assert_eq!(close(b"\x03\xe8\xff"), (vec![], Some(1007)));
    let within = [frame(0x01, b"a"), frame(0x88, b"\x03\xe8")];
    assert_eq!(received(false, &within).0[1], Received::Close { code: Some(1000) });
}

#[test]
fn nothing_is_decoded_after_a_violation() {
    let mut decoder = Decoder::new(MAX, false);
    assert!(decoder.decode(&mut &frame(0x83, b"")[..]).is_err());
    let stream = frame(0x81, b"later");
    let mut input = &stream[..];
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert!(input.is_empty());
}

#[test]
fn compressed_messages_are_decompressed_if_negotiated() {
    let payload = compress(b"hello hello hello");
    let (a, b) = payload.split_at(5);
    let hello = text("hello hello hello");
    assert_eq!(received(true, &[frame(0xc1, &payload)]), (vec![hello.clone()], None));
    let parts = [frame(0x41, a), frame(0x89, b"x"), frame(0x80, b), frame(0x81, b"plain")];
    let expected = vec![Received::Part, Received::Ping(b"x".into()), hello, text("plain")];
    assert_eq!(received(true, &parts), (expected, None));

    assert_eq!(received(false, &[frame(0xc1, &payload)]), (vec![], Some(1002)));
    assert_eq!(received(true, &[frame(0x41, a), frame(0xc0, b)]), (vec![Received::Part], Some(1002)));
    assert_eq!(received(true, &[frame(0xc9, b"")]), (vec![], Some(1002)));
    assert_eq!(received(true, &[frame(0xc1, b"\x07")]), (vec![], Some(1007)));
    assert_eq!(received(true, &[frame(0xc1, &compress(b"\xff"))]), (vec![], Some(1007)));
    assert_eq!(received(true, &[frame(0xc2, &compress(&vec![0; MAX + 1]))]), (vec![], Some(1009)));
    let most = vec![0; MAX];
    assert_eq!(received(true, &[frame(0xc2, &compress(&most))]), (vec![Received::Binary(most)], None));
}

#[test]
fn an_idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
    let mut decoder = Decoder::new(MAX, true);
    let stream = [frame(0x01, &[b'a'; 1000]), frame(0x89, b"x"), frame(0x80, b"")].concat();
    for piece in stream.chunks(7) {
        decode(&mut decoder, [piece]);
    }
    assert_eq!(decoder.capacity(), 0, "the message is complete");
    // What is announced is not allocated before it arrives.
    decode(&mut decoder, [&frame(0x82, &vec![0; 65_000])[..20]]);
    assert!(decoder.capacity() < 100, "{}", decoder.capacity());
}
