//! Status headers within the size that every peer reads.
//!
//! HTTP/2 peers limit the size of a header block: grpc-java to 8 KiB, hyper to 16 KiB by default. A status above the
//! limit costs the call its status, and some peers the connection. So a message is cut when it is sent, and again when
//! it is received from a peer that does not do that.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode::Indifferent, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};
use tonic::Status;

/// Bytes of a message, as UTF-8.
pub(crate) const TEXT: usize = 4 * 1024;
/// Bytes of a message on the wire, where most bytes of other alphabets than the Latin one take three.
const ENCODED: usize = 6 * 1024;
/// Bytes of message and details on the wire: what grpc-java's 8 KiB leave beside other headers.
const STATUS: usize = 7 * 1024;

/// What tonic percent-encodes: more than the gRPC specification asks for.
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

/// The start of `text` that fits into a status: whole characters, at most 4 KiB as UTF-8 and 6 KiB percent-encoded.
pub(crate) fn cut(text: &str) -> &str {
    let mut encoded = 0;
    let end = text.char_indices().map(|(start, c)| (start, start + c.len_utf8())).find(|&(start, end)| {
        encoded += utf8_percent_encode(&text[start..end], ESCAPED).map(str::len).sum::<usize>();
        end > TEXT || encoded > ENCODED
    });
    end.map_or(text, |(start, _)| &text[..start])
}

/// Cuts the message of a status in `headers`, and removes its details if they are malformed or if they and the message
/// do not fit. tonic panics on malformed details, and loses the code of a message that is not UTF-8.
pub(crate) fn bound(headers: &mut HeaderMap) {
    let message = headers.get(Status::GRPC_MESSAGE).map(HeaderValue::as_bytes).unwrap_or_default();
    let fits = message.len() <= TEXT && percent_decode(message).decode_utf8().is_ok();
    let cut = (!fits).then(|| {
        let text = percent_decode(message).decode_utf8_lossy();
        utf8_percent_encode(cut(&text), ESCAPED).to_string()
    });
    let length = cut.as_ref().map_or(message.len(), String::len);
    // Percent-encoded text is visible ASCII, so this never fails.
    if let Some(value) = cut.and_then(|cut| HeaderValue::try_from(cut).ok()) {
        headers.insert(Status::GRPC_MESSAGE, value);
    }
    let details = headers.get(Status::GRPC_STATUS_DETAILS);
    if details.is_some_and(|details| length + details.len() > STATUS || DETAILS.decode(details).is_err()) {
        headers.remove(Status::GRPC_STATUS_DETAILS);
    }
}

/// As tonic reads details.
const DETAILS: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(Indifferent));

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(message: &[u8], details: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("3"));
        headers.insert(Status::GRPC_MESSAGE, HeaderValue::from_bytes(message).unwrap());
        headers.insert(Status::GRPC_STATUS_DETAILS, details.parse().unwrap());
        bound(&mut headers);
        headers
    }

    #[test]
    fn a_text_is_cut_between_characters_by_its_size_and_by_its_encoded_size() {
        for (text, kept) in [
            ("short".to_owned(), 5),
            ("a".repeat(4_096), 4_096),
            ("a".repeat(4_097), 4_096),
            // Three bytes each once encoded.
            (" ".repeat(4_096), 2_048),
            // Two bytes of UTF-8 each, six once encoded.
            ("ж".repeat(4_096), 2_048),
            (format!("{}ж", "a".repeat(4_095)), 4_095),
        ] {
            assert_eq!(cut(&text).len(), kept, "{}", &text[..2]);
        }
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let headers = bounded(b"100%25 sure", "AAEC");
        assert_eq!(headers[Status::GRPC_MESSAGE], "100%25 sure");
        assert_eq!(headers[Status::GRPC_STATUS_DETAILS], "AAEC");
    }

    #[test]
    fn what_does_not_fit_is_cut_and_malformed_details_go() {
        for size in [17_000, 200_000] {
            let headers = bounded("a".repeat(size).as_bytes(), "AAEC");
            assert_eq!(headers[Status::GRPC_MESSAGE], "a".repeat(4_096).as_str());
            assert_eq!(headers[Status::GRPC_STATUS_DETAILS], "AAEC", "they still fit");
        }
        let headers = bounded(b"%FFbroken", "not base64!");
        assert_eq!(headers[Status::GRPC_MESSAGE], "%EF%BF%BDbroken");
        assert!(headers.get(Status::GRPC_STATUS_DETAILS).is_none());
        assert!(bounded(b"", &"A".repeat(8_000)).get(Status::GRPC_STATUS_DETAILS).is_none());
        let status = Status::from_header_map(&bounded(b"%FF%FF", "*")).unwrap();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "the code survives");
    }
}
