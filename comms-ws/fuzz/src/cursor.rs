//! The target for cursors.

use comms_ws::{
    CursorKey,
    testing::{cursor_token, read_cursor},
};

/// The maximum number of tokens that are read of a cursor.
const MAX_TOPICS: usize = 5;

/// The input is a cursor. Its first line is also a topic, and its length and first bytes an epoch and an offset.
pub(super) fn cursor(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let keys = [key(7)];
    read(&keys, &text);
    let topic = text.lines().next().unwrap_or_default();
    let epoch = data.iter().fold(0, |epoch: u64, byte| epoch.rotate_left(7) ^ u64::from(*byte));
    if !topic.is_empty() {
        sign(&keys, topic, epoch, epoch % 1_000, data.len());
    }
}

/// Returns a key, that of the cursors in the seeds for 7.
pub(super) fn key(byte: u8) -> CursorKey {
    CursorKey::new(&[byte; 32]).expect("a key of 32 bytes")
}

/// Reads an arbitrary cursor. A position is accepted only if its token has been signed.
fn read(keys: &[CursorKey], text: &str) {
    let places = read_cursor(keys, text, MAX_TOPICS);
    assert!(places.len() <= MAX_TOPICS && (text.len() <= 64 * 1024 || places.is_empty()));
    for (at, (topic, position)) in places.iter().enumerate() {
        assert!(!topic.is_empty() && !places[..at].iter().any(|(other, _)| other == topic), "{topic} twice");
        let Some((epoch, offset)) = *position else { continue };
        let again = cursor_token(keys, topic, epoch, offset);
        assert_eq!(read_cursor(keys, &again, 1), [(topic.clone(), *position)], "printed and read");
        // The signature is that of one of the offsets in the text, and an offset without a signature moves forward only.
        let mut offsets = text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
        let is_signed = offsets.any(|signed| {
            let token = cursor_token(keys, topic, epoch, signed);
            signed <= offset && token.rsplit(':').next().is_some_and(|mac| text.contains(mac))
        });
        assert!(is_signed, "forged: {topic} {epoch} {offset}");
    }
    let others = read_cursor(&[key(8)], text, MAX_TOPICS);
    assert!(others.iter().all(|(_, position)| position.is_none()), "another key");
}

/// Signs a position, and forges the token at `place`.
fn sign(keys: &[CursorKey], topic: &str, epoch: u64, offset: u64, place: usize) {
    let token = cursor_token(keys, topic, epoch, offset);
    let genuine = [(topic.to_owned(), Some((epoch, offset)))];
    assert!(token.is_ascii() && !token.contains([',', ' ', '~']), "{token}");
    assert_eq!(read_cursor(keys, &token, 1), genuine);
    assert_eq!(read_cursor(&[key(8), key(7)], &token, 1), genuine, "a key that is replaced");
    let mut forged = token.clone().into_bytes();
    let place = place % forged.len();
    forged[place] = if forged[place] == b'1' { b'2' } else { b'1' };
    let forged = String::from_utf8(forged).expect("ASCII");
    let places = read_cursor(keys, &forged, 1);
    assert!(places.iter().all(|(_, position)| position.is_none()), "{token}, forged: {forged}");
}
