//! Statuses of tonic whose codes are not those of the gRPC specification.

use http::{HeaderMap, HeaderValue};
use tonic::{Code, Status};

/// The texts of tonic, percent-encoded, whose codes are not those of the gRPC specification: the code that tonic sends,
/// and the code that replaces it.
const RESTATED: [(&[u8], &[u8], Code); 3] = [
    (b"11", b"Error,%20decoded%20message%20length%20too%20large", Code::ResourceExhausted),
    (b"11", b"Error,%20encoded%20message%20length%20too%20large", Code::ResourceExhausted),
    (b"13", b"Missing%20request%20message.", Code::Unimplemented),
];

/// Replaces the code of a status that tonic created for a message over its limit, or for a missing message.
pub(super) fn restate(headers: &mut HeaderMap) {
    let of = |name| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    let (code, message) = (of(Status::GRPC_STATUS), of(Status::GRPC_MESSAGE));
    let restated = RESTATED.iter().find(|(sent, text, _)| code == *sent && message.starts_with(text));
    if let Some((_, _, code)) = restated {
        headers.insert(Status::GRPC_STATUS, HeaderValue::from(i32::from(*code)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_tonic_is_replaced_only_with_its_text() {
        for (code, message, expected) in [
            ("11", "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes", "8"),
            ("11", "Error, encoded message length too large: found 5 bytes, the limit is: 4 bytes", "8"),
            ("13", "Missing request message.", "12"),
            ("11", "the page is after the last one", "11"),
            ("13", "Error, decoded message length too large", "13"),
            ("0", "", "0"),
        ] {
            let mut headers = HeaderMap::new();
            Status::new(Code::from_bytes(code.as_bytes()), message).add_header(&mut headers).unwrap();
            restate(&mut headers);
            assert_eq!(headers[Status::GRPC_STATUS], expected, "{code} {message}");
        }
    }
}
