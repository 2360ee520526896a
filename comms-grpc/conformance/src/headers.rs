//! Headers as the suite describes them: a name with values, in order. A binary value is in base64, as on the wire.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::proto::Header;

/// Returns the headers of a message of the suite. A header that HTTP does not allow is an error.
pub(crate) fn from_proto(headers: &[Header]) -> Result<HeaderMap, http::Error> {
    let mut map = HeaderMap::new();
    for header in headers {
        let name = HeaderName::try_from(&header.name)?;
        for value in &header.value {
            map.append(&name, HeaderValue::try_from(value)?);
        }
    }
    Ok(map)
}

/// Returns headers as a message of the suite.
pub(crate) fn to_proto(map: &HeaderMap) -> Vec<Header> {
    let header = |name: &HeaderName| {
        let value =
            map.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Header { name: name.to_string(), value: value.collect() }
    };
    map.keys().map(header).collect()
}
