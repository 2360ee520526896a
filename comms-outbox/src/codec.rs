//! Encodes headers in one column, with their order, duplicates and binary values.
//!
//! Each header is its name and its value. Each of the two is preceded by its length as four bytes, big-endian. A JSON
//! object would lose order and duplicates, and cannot store binary values.

use bytes::{Buf, BufMut, Bytes};
use comms_core::{Error, Headers};

pub(crate) fn encode(headers: &Headers) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(headers.size() + 8 * headers.len());
    for (name, value) in headers.iter() {
        put(&mut bytes, name.as_bytes());
        put(&mut bytes, value);
    }
    bytes
}

// Sizes are checked against `MESSAGE_LIMIT`, which is far below 4 GiB.
#[allow(clippy::cast_possible_truncation)]
fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.put_u32(part.len() as u32);
    bytes.put_slice(part);
}

/// Decodes the headers of a column.
///
/// # Errors
/// Returns `Internal` if the bytes do not have the format of [`encode`]: this row is damaged.
pub(crate) fn decode(mut bytes: Bytes) -> Result<Headers, Error> {
    let mut headers = Headers::new();
    while bytes.has_remaining() {
        let name = String::from_utf8(take(&mut bytes)?.into()).map_err(|_| damaged())?;
        headers.append(name, take(&mut bytes)?);
    }
    Ok(headers)
}

fn take(bytes: &mut Bytes) -> Result<Bytes, Error> {
    let length = bytes.try_get_u32().map_err(|_| damaged())? as usize;
    if bytes.len() < length {
        return Err(damaged());
    }
    Ok(bytes.split_to(length))
}

fn damaged() -> Error {
    Error::internal(
        "the column comms_outbox.headers does not decode: another program has written to this row",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::ErrorKind;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decoding_returns_the_encoded_headers(list in prop::collection::vec((".{0,8}", prop::collection::vec(any::<u8>(), 0..20)), 0..6)) {
            let headers: Headers = list.into_iter().collect();
            prop_assert_eq!(decode(encode(&headers).into()).unwrap(), headers);
        }

        #[test]
        fn bytes_of_another_format_are_an_internal_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Err(error) = decode(bytes.into()) {
                prop_assert_eq!(error.kind, ErrorKind::Internal);
            }
        }
    }
}
