//! Deserializes each type of serde's data model from a [`Reader`].

use serde::de::{Deserializer, Visitor};

use super::Reader;
use crate::platform::http::json::{
    access::{Fields, Items, Variant},
    node::Node,
    placeholder::Placeholder,
    pointer::child,
    read_error::{ReadError, one_of},
};

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.is_replaced() {
            return visitor.visit_unit().map_err(|_: ReadError| ReadError::Recorded);
        }
        match *self.node {
            Node::Null => self.record(visitor.visit_unit()),
            Node::Bool(value) => self.record(visitor.visit_bool(value)),
            Node::Unsigned(number) => self.record(visitor.visit_u64(number)),
            Node::Negative(number) => self.record(visitor.visit_i64(number)),
            Node::Float(number) => self.record(visitor.visit_f64(number)),
            Node::Text(_) => self.text(visitor),
            Node::List(_) => self.list(None, visitor),
            Node::Object(_) => self.object(None, visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.is_replaced() {
            return visitor.visit_bool(false).map_err(|_: ReadError| ReadError::Recorded);
        }
        let Node::Bool(value) = *self.node else { return Err(self.mismatch("true or false")) };
        self.record(visitor.visit_bool(value))
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.signed(i8::MIN.into(), i8::MAX.into(), visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.signed(i16::MIN.into(), i16::MAX.into(), visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.signed(i32::MIN.into(), i32::MAX.into(), visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.signed(i64::MIN, i64::MAX, visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.unsigned(u8::MAX.into(), visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.unsigned(u16::MAX.into(), visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.unsigned(u32::MAX.into(), visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.unsigned(u64::MAX, visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.number(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.number(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.text(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.text(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node {
            Node::Null => visitor.visit_none(),
            _ if self.is_replaced() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            _ if self.is_replaced() => visitor.visit_unit(),
            _ => Err(self.mismatch("null")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.list(None, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.list(Some(length), visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.list(Some(length), visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.is_replaced() {
            true => Placeholder.deserialize_map(visitor).map_err(|_| ReadError::Recorded),
            false => self.object(None, visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.is_replaced() {
            true => Placeholder.deserialize_struct(name, fields, visitor).map_err(|_| ReadError::Recorded),
            false => self.object(Some(fields), visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if self.is_replaced() {
            return Placeholder.deserialize_enum(name, variants, visitor).map_err(|_| ReadError::Recorded);
        }
        let variant = match self.node {
            Node::Text(name) => Variant { name, content: None },
            Node::Object(entries) => match entries.as_slice() {
                [(name, node)] => {
                    let content = Reader::new(node, child(&self.pointer, name), self.errors);
                    Variant { name, content: Some(content) }
                }
                _ => return Err(self.wrong("An object with one field is needed: the name of the variant.")),
            },
            _ => return Err(self.wrong(one_of(variants))),
        };
        self.record(visitor.visit_enum(variant))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.text(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }
}

impl Reader<'_> {
    fn list<'de, V: Visitor<'de>>(self, length: Option<usize>, visitor: V) -> Result<V::Value, ReadError> {
        if self.is_replaced() {
            let blank = match length {
                Some(length) => Placeholder.deserialize_tuple(length, visitor),
                None => Placeholder.deserialize_seq(visitor),
            };
            return blank.map_err(|_| ReadError::Recorded);
        }
        let Node::List(list) = self.node else { return Err(self.mismatch("A list")) };
        if let Some(length) = length.filter(|length| *length != list.len()) {
            return Err(self.wrong(format!("A list of {length} items is needed, not of {}.", list.len())));
        }
        let items = Items { list: list.iter(), index: 0, pointer: &self.pointer, errors: self.errors };
        self.record(visitor.visit_seq(items))
    }

    /// If `known` is set, any other field is an error, even if the type itself accepts unknown fields.
    fn object<'de, V: Visitor<'de>>(
        self,
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let Node::Object(entries) = self.node else { return Err(self.mismatch("An object")) };
        for (name, _) in entries {
            if let Some(known) = known.filter(|known| !known.contains(&name.as_str())) {
                let detail = format!("This field is not known. Known: {}.", known.join(", "));
                self.errors.add(child(&self.pointer, name), detail);
            }
        }
        let mut missing = self.errors.replaced_fields(&self.pointer);
        missing.retain(|name| entries.iter().all(|(present, _)| present != name));
        let fields = Fields {
            entries: entries.iter(),
            known,
            missing,
            pointer: &self.pointer,
            errors: self.errors,
            value: None,
        };
        self.record(visitor.visit_map(fields))
    }
}
