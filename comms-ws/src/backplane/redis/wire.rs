//! The form of positions and of messages on a channel.
//!
//! ```text
//! position                 epoch and offset, each 16 hexadecimal digits
//! a message with history   `1` position content
//! a message without        `0` node id (16 hexadecimal digits) content
//! ```

use comms_core::bytes::Bytes;

use super::Position;

const DIGITS: usize = 16;

/// A message of a channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Positioned(Position, Bytes),
    Plain { node: u64, body: Bytes },
}

/// Returns the message of a topic without history.
pub(super) fn plain(node: u64, body: &[u8]) -> Vec<u8> {
    let mut message = format!("0{}", self::node(node)).into_bytes();
    message.extend_from_slice(body);
    message
}

/// Reads a message of a channel. `None`: the message has another form.
pub(super) fn delivery(message: Vec<u8>) -> Option<Delivery> {
    let message = Bytes::from(message);
    match message.first()? {
        b'0' => {
            let node = number(message.get(1..=DIGITS)?)?;
            Some(Delivery::Plain { node, body: message.slice(1 + DIGITS..) })
        }
        b'1' => {
            let position = position(message.get(1..=2 * DIGITS)?)?;
            Some(Delivery::Positioned(position, message.slice(1 + 2 * DIGITS..)))
        }
        _ => None,
    }
}

pub(super) fn position(text: &[u8]) -> Option<Position> {
    let (epoch, offset) = text.split_at_checked(DIGITS)?;
    Some(Position { epoch: number(epoch)?, offset: number(offset)? })
}

pub(super) fn epoch(epoch: u64) -> String {
    format!("{epoch:016x}")
}

pub(super) fn node(node: u64) -> String {
    format!("{node:016x}")
}

/// Reads exactly 16 digits. `from_str_radix` alone would accept a sign.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.len() != DIGITS || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let node = u64::MAX;
        let plain = delivery(plain(node, b"body\0")).unwrap();
        assert_eq!(plain, Delivery::Plain { node, body: Bytes::from_static(b"body\0") });
        let message = format!("1{}{:016x}body", epoch(7), 9).into_bytes();
        let position = Position { epoch: 7, offset: 9 };
        assert_eq!(delivery(message), Some(Delivery::Positioned(position, Bytes::from_static(b"body"))));
    }

    #[test]
    fn other_forms_are_refused() {
        let short = "1".to_owned() + &"0".repeat(31);
        let signed = format!("1{}+{}", "0".repeat(16), "0".repeat(15));
        for bad in ["", "0", "2", "0123", &short, &signed, "1\u{fffd}"] {
            assert_eq!(delivery(bad.as_bytes().to_vec()), None, "{bad}");
        }
        assert!(position(&[b'0'; 33]).is_none());
    }
}
