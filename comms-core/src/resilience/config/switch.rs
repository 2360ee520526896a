//! The serde format of a guard or limit that can be turned off: its settings (a table, possibly empty, or a text), or
//! `false`.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{fmt, marker::PhantomData};

#[expect(clippy::ref_option, reason = "serde's signature")]
pub(in crate::resilience) fn serialize<T: Serialize, S: Serializer>(
    guard: &Option<T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match guard {
        Some(guard) => guard.serialize(to),
        None => to.serialize_bool(false),
    }
}

pub(in crate::resilience) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    from.deserialize_any(Switch(PhantomData))
}

struct Switch<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Switch<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings, or false")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Option<T>, E> {
        if on {
            return Err(E::custom(
                "true is not a setting: give a table (an empty one for the defaults) or a text, or false to turn it off",
            ));
        }
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        T::deserialize(text.into_deserializer()).map(Some)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}
