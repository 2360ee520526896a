//! Size limits of the status headers `grpc-message` and `grpc-status-details-bin`.
//!
//! HTTP/2 peers limit the size of a header block: grpc-java to 8 KiB, hyper to 16 KiB by default. A status above the
//! limit costs the call its status, and with some peers the connection. The message is therefore truncated when it is
//! sent, and again when it is received, because other servers may not truncate it.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode::Indifferent, GeneralPurpose, GeneralPurposeConfig},
};
use comms_core::wire::NOT_EXECUTED;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};
use tonic::Status;

/// The maximum length of a message in bytes of UTF-8.
pub(crate) const MAX_MESSAGE: usize = 4 * 1024;
/// The maximum length of a percent-encoded message in bytes. An encoded byte outside ASCII takes three bytes.
const MAX_ENCODED_MESSAGE: usize = 6 * 1024;
/// The maximum length of message and details together on the wire: grpc-java's limit of 8 KiB minus room for other
/// headers.
pub(crate) const MAX_STATUS: usize = 7 * 1024;

/// The bytes that tonic percent-encodes, which are more than the gRPC specification requires.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'?')
    .add(b'{')
    .add(b'}');

/// Truncates `text` to whole characters, at most 4 KiB of UTF-8 and 6 KiB percent-encoded.
pub(crate) fn truncate(text: &str) -> &str {
    let mut encoded = 0;
    let end = text.char_indices().map(|(start, c)| (start, start + c.len_utf8())).find(|&(start, end)| {
        encoded += utf8_percent_encode(&text[start..end], ESCAPED).map(str::len).sum::<usize>();
        end > MAX_MESSAGE || encoded > MAX_ENCODED_MESSAGE
    });
    end.map_or(text, |(start, _)| &text[..start])
}

/// Returns whether `headers` have neither a message nor details of a status, nor a proof that the call was not executed.
/// Compares the name of each header once, which takes less time than the look-ups of three names.
pub(crate) fn is_bare(headers: &HeaderMap) -> bool {
    let names = [Status::GRPC_MESSAGE, Status::GRPC_STATUS_DETAILS];
    headers.keys().all(|name| !names.contains(name) && name.as_str() != NOT_EXECUTED)
}

/// Truncates the message of the status in `headers`, and removes the details if they are malformed or exceed 7 KiB
/// together with the message. tonic panics on malformed details, and loses the code if the message is not UTF-8.
pub(crate) fn limit_status(headers: &mut HeaderMap) {
    let message = headers.get(Status::GRPC_MESSAGE).map(HeaderValue::as_bytes).unwrap_or_default();
    let fits = message.len() <= MAX_MESSAGE && percent_decode(message).decode_utf8().is_ok();
    let truncated = (!fits).then(|| {
        let text = percent_decode(message).decode_utf8_lossy();
        utf8_percent_encode(truncate(&text), ESCAPED).to_string()
    });
    let length = truncated.as_ref().map_or(message.len(), String::len);
    // Percent-encoded text is visible ASCII, so the conversion never fails.
    if let Some(value) = truncated.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(Status::GRPC_MESSAGE, value);
    }
    let details = headers.get(Status::GRPC_STATUS_DETAILS);
    if details.is_some_and(|details| length + details.len() > MAX_STATUS || DETAILS.decode(details).is_err())
    {
        headers.remove(Status::GRPC_STATUS_DETAILS);
    }
}

/// The Base64 variant that tonic accepts in details.
const DETAILS: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(Indifferent));

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(message: &[u8], details: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("3"));
        headers.insert(Status::GRPC_MESSAGE, HeaderValue::from_bytes(message).unwrap());
        headers.insert(Status::GRPC_STATUS_DETAILS, details.parse().unwrap());
        limit_status(&mut headers);
        headers
    }

    #[test]
    fn a_text_is_truncated_between_characters_by_size_and_by_encoded_size() {
        for (text, kept) in [
            ("short".to_owned(), 5),
            ("a".repeat(4_096), 4_096),
            ("a".repeat(4_097), 4_096),
            // An encoded space takes three bytes.
            (" ".repeat(4_096), 2_048),
            // This character takes two bytes of UTF-8 and six encoded bytes.
            ("ж".repeat(4_096), 2_048),
            (format!("{}ж", "a".repeat(4_095)), 4_095),
        ] {
            assert_eq!(truncate(&text).len(), kept, "{}", &text[..2]);
        }
    }

    #[test]
    fn a_status_within_the_limits_is_unchanged() {
        let headers = limited(b"100%25 sure", "AAEC");
        assert_eq!(headers[Status::GRPC_MESSAGE], "100%25 sure");
        assert_eq!(headers[Status::GRPC_STATUS_DETAILS], "AAEC");
    }

    #[test]
    fn a_long_message_is_truncated_and_malformed_or_oversized_details_are_removed() {
        for size in [17_000, 200_000] {
            let headers = limited("a".repeat(size).as_bytes(), "AAEC");
            assert_eq!(headers[Status::GRPC_MESSAGE], "a".repeat(4_096).as_str());
            assert_eq!(headers[Status::GRPC_STATUS_DETAILS], "AAEC", "the details still fit");
        }
        let headers = limited(b"%FFbroken", "not base64!");
        assert_eq!(headers[Status::GRPC_MESSAGE], "%EF%BF%BDbroken");
        assert!(headers.get(Status::GRPC_STATUS_DETAILS).is_none());
        assert!(limited(b"", &"A".repeat(8_000)).get(Status::GRPC_STATUS_DETAILS).is_none());
        let status = Status::from_header_map(&limited(b"%FF%FF", "*")).unwrap();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "the code is kept");
    }
}
