//! The serde format of a duration: text such as `250ms` or `1m 30s`.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use std::time::Duration;

pub(in crate::resilience) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_duration(*duration))
}

pub(in crate::resilience) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text)
        .map_err(|e| D::Error::custom(format_args!("{text:?} is not a duration like \"250ms\": {e}")))
}

/// The serde format of an optional duration: text, or `false` for none.
pub(in crate::resilience) mod optional {
    use super::{Deserialize, Deserializer, Duration, Serializer};
    use crate::resilience::config::switch;

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(in crate::resilience) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, to),
            None => to.serialize_bool(false),
        }
    }

    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Present(#[serde(deserialize_with = "super::deserialize")] Duration);

    pub(in crate::resilience) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(switch::deserialize::<Present, D>(from)?.map(|present| present.0))
    }
}
