//! The idempotency key of a call: minted once by the caller, the same on every attempt.

use comms_core::{Error, idempotency::is_key, wire};
use tonic::{Request, Status, metadata::AsciiMetadataValue};

/// Puts `key` on `request`: the id of what the call is about, or one minted once per logical call.
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
/// `Invalid` for a key that is empty, over [`KEY_LIMIT`](comms_core::idempotency::KEY_LIMIT) bytes, or has bytes
/// outside printable ASCII.
pub fn keyed<T>(mut request: Request<T>, key: &str) -> Result<Request<T>, Error> {
    let value = key.parse::<AsciiMetadataValue>().ok().filter(|_| is_key(key));
    let value = value.ok_or_else(|| Error::invalid(RULE))?;
    request.metadata_mut().insert(wire::IDEMPOTENCY_KEY, value);
    Ok(request)
}

/// The idempotency key that came with `request`.
///
/// # Errors
/// INVALID_ARGUMENT where there is none, more than one, or one outside the rule of [`keyed`].
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
    fn accepts_what_the_rule_says_and_nothing_else() {
        let longest = "k".repeat(KEY_LIMIT);
        assert_eq!(key_of(&keyed(Request::new(()), &longest).unwrap()).unwrap(), longest);
        for bad in ["", "  ", "tab\there", "schlüssel", &"k".repeat(KEY_LIMIT + 1)] {
            assert!(keyed(Request::new(()), bad).is_err(), "{bad:?}");
        }
        assert!(key_of(&Request::new(())).is_err(), "absent");
        let mut twice = keyed(Request::new(()), "a").unwrap();
        twice.metadata_mut().append(wire::IDEMPOTENCY_KEY, "b".parse().unwrap());
        assert!(key_of(&twice).is_err(), "two keys");
    }
}
