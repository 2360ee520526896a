//! The elements of lists, objects and enums, for serde.

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
    value::StrDeserializer,
};

use super::{
    error_list::ErrorList, node::Node, placeholder::Placeholder, pointer::child, read_error::ReadError,
    reader::Reader,
};

/// The items of a list.
pub(super) struct Items<'a> {
    pub(super) list: std::slice::Iter<'a, Node>,
    pub(super) index: usize,
    pub(super) pointer: &'a str,
    pub(super) errors: &'a ErrorList,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some(node) = self.list.next() else { return Ok(None) };
        let reader = Reader::new(node, child(self.pointer, &self.index.to_string()), self.errors);
        self.index += 1;
        seed.deserialize(reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.list.len())
    }
}

/// The fields of an object, followed by a placeholder for each missing field.
pub(super) struct Fields<'a> {
    pub(super) entries: std::slice::Iter<'a, (String, Node)>,
    /// If set, only fields with these names are passed on.
    pub(super) known: Option<&'static [&'static str]>,
    pub(super) missing: Vec<String>,
    pub(super) pointer: &'a str,
    pub(super) errors: &'a ErrorList,
    /// The value of the field whose name was read last. `None` stands for a placeholder.
    pub(super) value: Option<(&'a str, &'a Node)>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let known = self.known;
        let is_known = |name: &str| known.is_none_or(|fields| fields.contains(&name));
        if let Some((name, node)) = self.entries.find(|(name, _)| is_known(name)) {
            self.value = Some((name, node));
            return seed.deserialize(StrDeserializer::new(name)).map(Some);
        }
        self.value = None;
        let Some(name) = self.missing.pop() else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(&name)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        match self.value.take() {
            Some((name, node)) => seed.deserialize(Reader::new(node, child(self.pointer, name), self.errors)),
            None => seed.deserialize(Placeholder).map_err(|_| ReadError::Recorded),
        }
    }
}

/// A variant, by its name, with its content.
pub(super) struct Variant<'a> {
    pub(super) name: &'a str,
    pub(super) content: Option<Reader<'a>>,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        Ok((seed.deserialize(StrDeserializer::new(self.name))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.content {
            Some(content) => Err(content.wrong("This variant has no value: send its name as a text.")),
            None => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self.content.ok_or_else(missing_content)?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.content.ok_or_else(missing_content)?.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.content.ok_or_else(missing_content)?.deserialize_struct("", fields, visitor)
    }
}

fn missing_content() -> ReadError {
    ReadError::Wrong("This variant has a value: send an object with its name and the value.".to_owned())
}
