//! Names of topics: which names Kafka accepts, and the name of a dead-letter topic.

use comms_core::Error;

/// The longest name of a topic, bytes.
const MAX_LENGTH: usize = 249;

/// Returns the name of the dead-letter topic of `topic`: `<topic>.dlq`.
///
/// All groups share this topic, so that it can be provisioned before a group exists
/// ([`TopicSpec::dead_letters`](crate::TopicSpec::dead_letters)). The header `dlq_group` of a dead letter names the
/// group.
///
/// ```
/// assert_eq!(comms_kafka::dlq_topic("orders"), "orders.dlq");
/// ```
#[must_use]
pub fn dlq_topic(topic: &str) -> String {
    format!("{topic}.dlq")
}

/// Returns `Invalid` if Kafka does not accept `name` as the name of a topic.
pub(crate) fn check(name: &str) -> Result<(), Error> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > MAX_LENGTH || name == "." || name == ".." || !name.bytes().all(legal) {
        let rule = "use 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_', '-'";
        return Err(Error::invalid(format!("\"{name}\" is not a valid topic name: {rule}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_kafka_does_not_accept() {
        assert!(check("orders.placed_v1-x").is_ok());
        for name in ["", ".", "..", "a b", "ä", &"x".repeat(250)] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
