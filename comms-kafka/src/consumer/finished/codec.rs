//! The text of a list of finished records: a letter for the format, and base64url of the bytes.
//!
//! The bytes begin with the first offset of the list, as a variable-length integer (LEB128). Then follow
//! - `r`: the length of the first range, and for each further range the length of the gap before it and its own length, or
//! - `b`: a bit for each offset, beginning at the lowest bit of the first byte; 1 is finished.

use std::{collections::VecDeque, ops::Range};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    /// Short for few long ranges.
    Runs,
    /// Short for many ranges close to one another.
    Bits,
}

/// Encodes the first of `ranges` in a text of at most `max` bytes. Returns the number of offsets that it covers, and the
/// text, which is empty if it covers none.
pub(super) fn encode(ranges: &VecDeque<Range<i64>>, format: Format, max: usize) -> (i64, String) {
    let Some(first) = ranges.front() else { return (0, String::new()) };
    let mut bytes = Vec::new();
    write(&mut bytes, first.start);
    let room = (max - 1) / 4 * 3;
    let covered = match format {
        Format::Runs => runs(ranges, &mut bytes, room),
        Format::Bits => bits(ranges, &mut bytes, room),
    };
    let letter = match format {
        Format::Runs => 'r',
        Format::Bits => 'b',
    };
    (covered, format!("{letter}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn runs(ranges: &VecDeque<Range<i64>>, bytes: &mut Vec<u8>, room: usize) -> i64 {
    let (mut covered, mut end) = (0, None);
    for range in ranges {
        let length = bytes.len();
        if let Some(end) = end {
            write(bytes, range.start - end);
        }
        write(bytes, range.end - range.start);
        if bytes.len() > room {
            bytes.truncate(length);
            break;
        }
        covered += range.end - range.start;
        end = Some(range.end);
    }
    covered
}

fn bits(ranges: &VecDeque<Range<i64>>, bytes: &mut Vec<u8>, room: usize) -> i64 {
    let (header, first) = (bytes.len(), ranges.front().map_or(0, |range| range.start));
    let last = first.saturating_add(8 * i64::try_from(room - header).unwrap_or(0));
    let mut covered = 0;
    for offset in ranges.iter().flat_map(|range| range.start..range.end.min(last)) {
        let Ok(bit) = usize::try_from(offset - first) else { break };
        let byte = header + bit / 8;
        if bytes.len() <= byte {
            bytes.resize(byte + 1, 0);
        }
        if let Some(byte) = bytes.get_mut(byte) {
            *byte |= 1 << (bit % 8);
        }
        covered += 1;
    }
    covered
}

/// Decodes a text of [`encode`]. Returns `None` for any other text.
pub(super) fn decode(text: &str) -> Option<Vec<Range<i64>>> {
    let (letter, rest) = text.split_at_checked(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(rest).ok()?;
    let mut bytes = bytes.as_slice();
    let first = read(&mut bytes)?;
    match letter {
        "r" => read_runs(first, bytes),
        "b" => read_bits(first, bytes),
        _ => None,
    }
}

fn read_runs(first: i64, mut bytes: &[u8]) -> Option<Vec<Range<i64>>> {
    let (mut ranges, mut start) = (Vec::new(), first);
    while !bytes.is_empty() {
        let end = start.checked_add(read(&mut bytes)?)?;
        ranges.push(start..end);
        if !bytes.is_empty() {
            start = end.checked_add(read(&mut bytes)?)?;
        }
    }
    Some(ranges)
}

fn read_bits(first: i64, bytes: &[u8]) -> Option<Vec<Range<i64>>> {
    let mut ranges = Vec::<Range<i64>>::new();
    let set = bytes
        .iter()
        .enumerate()
        .flat_map(|(at, byte)| (0..8).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| at * 8 + bit));
    for bit in set {
        let offset = first.checked_add(i64::try_from(bit).ok()?)?;
        let end = offset.checked_add(1)?;
        match ranges.last_mut().filter(|range| range.end == offset) {
            Some(range) => range.end = end,
            None => ranges.push(offset..end),
        }
    }
    Some(ranges)
}

fn write(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = value.unsigned_abs();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn read(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return i64::try_from(value).ok();
        }
    }
    None
}
