//! The idempotency key of a call: the caller creates it once, and every attempt carries the same key.

use comms_core::{Error, idempotency::is_key, wire};
use tonic::{Request, Status, metadata::AsciiMetadataValue};

/// Adds the idempotency key `key` to the metadata of `request`, and replaces an earlier key.
///
/// The key is the id of the entity that the call concerns, or an id that the caller creates once per logical call. All
/// attempts of the call carry the same key. The key alone prevents no second effect: the handler reads it with
/// [`key_of`] and must execute each key once, for example in [`reply_once`](comms_core::idempotency::reply_once).
///
/// ```
/// # fn main() -> Result<(), comms_core::Error> {
/// let request = comms_grpc::keyed(tonic::Request::new("charge"), "order-7")?;
/// assert_eq!(comms_grpc::key_of(&request).ok().as_deref(), Some("order-7"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `key` is empty, is longer than
/// [`KEY_LIMIT`](comms_core::idempotency::KEY_LIMIT) bytes, or has a byte outside printable ASCII.
pub fn keyed<T>(mut request: Request<T>, key: &str) -> Result<Request<T>, Error> {
    let value = key.parse::<AsciiMetadataValue>().ok().filter(|_| is_key(key));
    let value = value.ok_or_else(|| Error::invalid(RULE))?;
    request.metadata_mut().insert(wire::IDEMPOTENCY_KEY, value);
    Ok(request)
}

/// Returns the idempotency key of a received `request`.
///
/// # Errors
/// Returns [`Code::InvalidArgument`](tonic::Code::InvalidArgument) if the metadata has no key, more than one key, or a
/// key that [`keyed`] refuses.
pub fn key_of<T>(request: &Request<T>) -> Result<String, Status> {
    let mut values = request.metadata().get_all(wire::IDEMPOTENCY_KEY).iter();
    let key = values.next().and_then(|value| value.to_str().ok()).filter(|key| is_key(key));
    key.filter(|_| values.next().is_none()).map(str::to_owned).ok_or_else(|| Status::invalid_argument(RULE))
}

const RULE: &str = "send metadata idempotency-key once: 1 to 255 printable ASCII characters";

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::idempotency::KEY_LIMIT;

    #[test]
    fn only_one_key_of_printable_ascii_within_the_length_limit_is_accepted() {
        let longest = "k".repeat(KEY_LIMIT);
        assert_eq!(key_of(&keyed(Request::new(()), &longest).unwrap()).unwrap(), longest);
        for bad in ["", "  ", "tab\there", "schlüssel", &"k".repeat(KEY_LIMIT + 1)] {
            assert!(keyed(Request::new(()), bad).is_err(), "{bad:?}");
        }
        assert!(key_of(&Request::new(())).is_err(), "no key");
        let mut twice = keyed(Request::new(()), "a").unwrap();
        twice.metadata_mut().append(wire::IDEMPOTENCY_KEY, "b".parse().unwrap());
        assert!(key_of(&twice).is_err(), "two keys");
    }
}
