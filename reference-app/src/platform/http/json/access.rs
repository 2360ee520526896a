//! The parts of lists, objects and enums.

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
    value::StrDeserializer,
};

use super::{blank::Blank, failure::Failure, findings::Findings, node::Node, pointer::child, reader::Reader};

/// The items of a list.
pub(super) struct Items<'a> {
    pub(super) list: std::slice::Iter<'a, Node>,
    pub(super) index: usize,
    pub(super) pointer: &'a str,
    pub(super) findings: &'a Findings,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(node) = self.list.next() else { return Ok(None) };
        let reader = Reader::new(node, child(self.pointer, &self.index.to_string()), self.findings);
        self.index += 1;
        seed.deserialize(reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.list.len())
    }
}

/// The fields of an object, and then a blank for each field that was found to be missing.
pub(super) struct Fields<'a> {
    pub(super) entries: std::slice::Iter<'a, (String, Node)>,
    /// The names in `fields` alone are passed on, if there are any.
    pub(super) known: Option<&'static [&'static str]>,
    pub(super) missing: Vec<String>,
    pub(super) pointer: &'a str,
    pub(super) findings: &'a Findings,
    /// The value of the field whose name was read; `None` is a blank.
    pub(super) value: Option<(&'a str, &'a Node)>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
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

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        match self.value.take() {
            Some((name, node)) => {
                seed.deserialize(Reader::new(node, child(self.pointer, name), self.findings))
            }
            None => seed.deserialize(Blank).map_err(|_| Failure::Recorded),
        }
    }
}

/// A variant by its name, with what it holds.
pub(super) struct Variant<'a> {
    pub(super) name: &'a str,
    pub(super) content: Option<Reader<'a>>,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        Ok((seed.deserialize(StrDeserializer::new(self.name))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        match self.content {
            Some(content) => Err(content.wrong("This variant holds nothing: send its name as a text.")),
            None => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(self.content.ok_or_else(bare)?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Failure> {
        self.content.ok_or_else(bare)?.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.content.ok_or_else(bare)?.deserialize_struct("", fields, visitor)
    }
}

fn bare() -> Failure {
    Failure::Wrong("This variant holds a value: send an object with its name and the value.".to_owned())
}
