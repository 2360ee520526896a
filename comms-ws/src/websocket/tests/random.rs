//! Random messages in random pieces, and random bytes.

use super::{MAX, decode, frame};
use crate::websocket::{
    decoder::{Decoder, Received},
    deflate, encoder,
    frame_header::Opcode,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};

/// A message, whether it is compressed, and where it is split into fragments.
type Sent = (Received, bool, Vec<Index>);

fn content() -> impl Strategy<Value = Received> {
    prop_oneof![
        ".{0,200}".prop_map(Received::Text),
        vec(any::<u8>(), 0..300).prop_map(Received::Binary),
        (any::<u8>(), 65_530..65_540_usize).prop_map(|(byte, len)| Received::Binary(vec![byte; len])),
        vec(any::<u8>(), 0..126).prop_map(Received::Ping),
        Just(Received::Pong),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    (content(), any::<bool>(), vec(any::<Index>(), 0..4))
}

/// Returns `bytes` in pieces that end at the given places.
fn pieces<'a>(bytes: &'a [u8], ends: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = ends.iter().map(|end| end.index(bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    let starts = std::iter::once(0).chain(ends.clone());
    starts.zip(ends.clone()).map(|(start, end)| &bytes[start..end]).collect()
}

/// Returns the frames of a message as a client sends them.
fn encode((message, compressed, ends): &Sent, stream: &mut Vec<u8>, expected: &mut Vec<Received>) {
    let (opcode, content) = match message {
        Received::Text(text) => (1, text.as_bytes()),
        Received::Binary(bytes) => (2, &bytes[..]),
        Received::Ping(payload) => {
            stream.extend(frame(0x89, payload));
            return expected.push(message.clone());
        }
        _ => {
            stream.extend(frame(0x8a, b"pong"));
            return expected.push(message.clone());
        }
    };
    let payload = if *compressed { deflate::compress(content) } else { content.to_vec() };
    let parts = pieces(&payload, ends);
    for (i, part) in parts.iter().enumerate() {
        let rsv1 = if i == 0 && *compressed { 0x40 } else { 0 };
        let fin = if i + 1 == parts.len() { 0x80 } else { 0 };
        stream.extend(frame(fin | rsv1 | if i == 0 { opcode } else { 0 }, part));
    }
    expected.extend(vec![Received::Part; ends.len()]);
    expected.push(message.clone());
}

proptest! {
    #[test]
    fn messages_are_received_from_pieces_of_any_size(
        sent in vec(sent(), 0..6),
        ends in vec(any::<Index>(), 0..40),
    ) {
        let (mut stream, mut expected) = (vec![], vec![]);
        sent.iter().for_each(|message| encode(message, &mut stream, &mut expected));
        let mut decoder = Decoder::new(MAX, true);
        prop_assert_eq!(decode(&mut decoder, pieces(&stream, &ends)), (expected, None));
        prop_assert_eq!(decoder.capacity(), 0);
    }

    #[test]
    fn frames_of_the_encoder_are_read_back(text in ".{0,300}", compressed: bool) {
        let encoded = if compressed {
            encoder::compressed(Opcode::Text, text.as_bytes())
        } else {
            encoder::frame(Opcode::Text, text.as_bytes())
        };
        // What a client makes of it: the same frame with a mask, here of zeros.
        let header = if encoded[1] < 126 { 2 } else { 4 };
        let masked = [&encoded[..1], &[encoded[1] | 0x80], &encoded[2..header], &[0; 4], &encoded[header..]].concat();
        let received = decode(&mut Decoder::new(MAX, true), [&masked[..]]);
        prop_assert_eq!(received, (vec![Received::Text(text)], None));
    }
}

/// Returns frames of a client that breaches the protocol now and then.
pub(super) fn hostile(random: &mut Xoshiro256PlusPlus, deflate: bool) -> Vec<u8> {
    let (mut stream, mut within) = (vec![], false);
    while stream.len() < 3000 {
        let [kind, flags, len, breach, bit, ..] = random.next_u64().to_le_bytes();
        let mut payload = vec![0; usize::from(len) * if kind % 7 == 0 { 12 } else { 1 }];
        random.fill_bytes(&mut payload);
        if breach > 8 {
            payload.iter_mut().for_each(|byte| *byte &= 0x7f);
        }
        let start = stream.len();
        if kind % 4 == 0 {
            stream.extend(frame(0x89 + flags % 2, &payload[..payload.len().min(125)]));
        } else {
            let (fin, rsv1) = (flags & 0x80, if deflate && !within { flags & 0x40 } else { 0 });
            if rsv1 != 0 && breach > 8 {
                payload = deflate::compress(&payload);
            }
            // A compressed message is not split: its parts would have to fit.
            let fin = if rsv1 == 0 { fin } else { 0x80 };
            let opcode = if within { 0 } else { 1 + flags % 2 };
            stream.extend(frame(fin | rsv1 | opcode, &payload));
            within = fin == 0;
        }
        match breach {
            0..2 => stream[start] ^= 1 << (bit % 8),
            2 => stream[start + 1] ^= 1 << (bit % 8),
            3 => stream.extend([0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x71, 1, 2, 3, 4]),
            4 => stream.extend(frame(0x88, &payload[..payload.len().min(usize::from(bit % 5))])),
            5 => stream.extend(frame(0x88, b"\x03\xe8bye")),
            _ => {}
        }
    }
    stream
}

#[test]
fn hostile_streams_have_one_result_in_pieces_of_any_size() {
    let (mut frames, mut violations) = (0, 0);
    for seed in 0..1000 {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let deflate = seed % 4 != 0;
        let stream = hostile(&mut random, deflate);
        let (received, violation) = decode(&mut Decoder::new(MAX, deflate), [&stream[..]]);
        let size = 1 + random.next_u32() as usize % 97;
        let (again, same) = decode(&mut Decoder::new(MAX, deflate), stream.chunks(size));
        assert!(received == again, "seed {seed}");
        assert_eq!(violation, same, "seed {seed}");
        frames += received.len();
        violations += usize::from(violation.is_some());
    }
    assert!(frames > 5_000 && violations > 200, "{frames} frames, {violations} violations");
}

#[test]
fn random_bytes_are_refused_without_a_panic() {
    for seed in 0..20_000 {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut stream = vec![0; 64];
        random.fill_bytes(&mut stream);
        // Most random headers are refused at once. Half of the streams begin with a plausible one.
        if seed % 2 == 0 {
            stream[0] &= 0xc3;
            stream[1] |= 0x80;
        }
        decode(&mut Decoder::new(MAX, seed % 4 < 2), [&stream[..]]);
        let _ = deflate::inflate(&stream, 1000).map(|content| assert!(content.len() <= 1000));
    }
}
