//! The names of keys and channels.

use std::fmt::Write as _;

/// Makes the names of keys and channels.
///
/// ```text
/// {PREFIX:TOPIC}:meta        hash: run id, epoch, offset of the last message
/// {PREFIX:TOPIC}:log         stream: the messages
/// {PREFIX:TOPIC}:id:ID       string: the position of the message with the identity ID
/// {PREFIX:TOPIC}:present     sorted set: node and principal, by the end of their presence
/// {PREFIX:TOPIC}:live:DB     channel: channels belong to all databases of a server
/// PREFIX:starts              hash: from what the first epochs of topics are derived
/// PREFIX:claim:KEY           string: a claim
/// ```
#[derive(Debug)]
pub(super) struct Keys {
    /// The escaped prefix.
    prefix: String,
    database: i64,
}

impl Keys {
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        Self { prefix: escaped(prefix), database }
    }

    fn of_topic(&self, topic: &str, rest: &str) -> String {
        format!("{{{}:{}}}:{rest}", self.prefix, escaped(topic))
    }

    pub(super) fn meta(&self, topic: &str) -> String {
        self.of_topic(topic, "meta")
    }

    pub(super) fn log(&self, topic: &str) -> String {
        self.of_topic(topic, "log")
    }

    pub(super) fn id(&self, topic: &str, id: &str) -> String {
        let mut key = self.of_topic(topic, "id:");
        key.push_str(id);
        key
    }

    pub(super) fn present(&self, topic: &str) -> String {
        self.of_topic(topic, "present")
    }

    pub(super) fn channel(&self, topic: &str) -> String {
        self.of_topic(topic, &format!("live:{}", self.database))
    }

    pub(super) fn starts(&self) -> String {
        format!("{}:starts", self.prefix)
    }

    pub(super) fn claim(&self, key: &str) -> String {
        format!("{}:claim:{key}", self.prefix)
    }
}

/// Replaces the characters that delimit a hash tag and its parts: a topic cannot end the tag or begin another one.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '{' | '}' | '%' | ':' => {
                let _ = write!(out, "%{:02X}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of a key that determines its slot, as in the specification of Redis Cluster.
    fn hash_tag(key: &str) -> &str {
        let Some((_, rest)) = key.split_once('{') else { return key };
        match rest.split_once('}') {
            Some((tag, _)) if !tag.is_empty() => tag,
            _ => key,
        }
    }

    #[test]
    fn the_keys_of_a_topic_are_in_one_slot_and_differ_from_those_of_other_topics() {
        let keys = Keys::new("app", 0);
        let mut metas = std::collections::HashSet::new();
        for topic in ["", "a", "{a}", "}", "{", "%7B", "a:b", "a%3Ab", "ключ с пробелом", "a\r\nb\0"]
        {
            let tag = hash_tag(&keys.meta(topic)).to_owned();
            for key in [keys.log(topic), keys.id(topic, "}{x"), keys.present(topic), keys.channel(topic)] {
                assert_eq!(hash_tag(&key), tag, "{key}");
            }
            assert!(metas.insert(tag), "{topic}");
        }
    }

    #[test]
    fn prefixes_do_not_overlap() {
        assert_ne!(Keys::new("a", 0).meta("b:c"), Keys::new("a:b", 0).meta("c"));
        assert_ne!(Keys::new("a", 0).claim("b"), Keys::new("a:claim", 0).claim("b"));
        assert_ne!(Keys::new("a", 0).channel("t"), Keys::new("a", 1).channel("t"));
    }
}
