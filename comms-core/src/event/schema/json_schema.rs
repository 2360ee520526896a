//! A shape as JSON Schema, and back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Field, Shape};

impl From<Shape> for Value {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Any => json!({}),
            Shape::Boolean => json!({"type": "boolean"}),
            Shape::Integer => json!({"type": "integer"}),
            Shape::Number => json!({"type": "number"}),
            Shape::String => json!({"type": "string"}),
            Shape::Enum(values) => json!({"type": "string", "enum": values}),
            Shape::Array(items) => json!({"type": "array", "items": Self::from(*items)}),
            Shape::Map(of) => json!({"type": "object", "additionalProperties": Self::from(*of)}),
            Shape::Nullable(inner) => json!({"anyOf": [Self::from(*inner), {"type": "null"}]}),
            Shape::Record(fields) => {
                let required: Vec<&String> =
                    fields.iter().filter(|(_, f)| f.required).map(|(n, _)| n).collect();
                let required = json!(required);
                let properties: Map<String, Self> =
                    fields.into_iter().map(|(name, field)| (name, field.shape.into())).collect();
                json!({"type": "object", "properties": properties, "required": required})
            }
        }
    }
}

/// Words that explain and constrain nothing.
const ANNOTATIONS: [&str; 5] = ["$schema", "$id", "title", "description", "examples"];

impl TryFrom<Value> for Shape {
    type Error = String;

    /// Reads the subset that is written. A keyword beyond it is refused: a check that ignored it would lie.
    fn try_from(schema: Value) -> Result<Self, String> {
        let Value::Object(mut schema) = schema else { return Err("a schema is an object".into()) };
        schema.retain(|word, _| !ANNOTATIONS.contains(&word.as_str()));
        let shape = match schema.remove("type") {
            None => untyped(&mut schema)?,
            Some(Value::String(name)) => typed(&name, &mut schema)?,
            Some(other) => return Err(format!("type {other}: one name, and anyOf for null")),
        };
        match schema.keys().next() {
            Some(word) => Err(format!("keyword {word:?} is beyond the subset that is compared")),
            None => Ok(shape),
        }
    }
}

fn untyped(schema: &mut Map<String, Value>) -> Result<Shape, String> {
    let Some(any_of) = schema.remove("anyOf") else { return Ok(Shape::Any) };
    match any_of {
        Value::Array(of) => match <[Value; 2]>::try_from(of) {
            Ok([inner, null]) if null == json!({"type": "null"}) => Ok(Shape::try_from(inner)?.or_null()),
            _ => Err("anyOf: only [schema, {\"type\": \"null\"}] is compared".into()),
        },
        other => Err(format!("anyOf {other}: a list is due")),
    }
}

fn typed(name: &str, schema: &mut Map<String, Value>) -> Result<Shape, String> {
    let mut part = |word: &str| schema.remove(word).map(Shape::try_from).transpose();
    match name {
        "boolean" => Ok(Shape::Boolean),
        "integer" => Ok(Shape::Integer),
        "number" => Ok(Shape::Number),
        "string" => match schema.remove("enum") {
            None => Ok(Shape::String),
            Some(values) => from_json(values).map(Shape::Enum),
        },
        "array" => Ok(Shape::array(part("items")?.unwrap_or(Shape::Any))),
        "object" => match part("additionalProperties")? {
            Some(of) => Ok(Shape::map(of)),
            None => record(schema),
        },
        other => Err(format!("type {other:?} is beyond the subset that is compared")),
    }
}

fn record(schema: &mut Map<String, Value>) -> Result<Shape, String> {
    let required: BTreeSet<String> = schema.remove("required").map_or(Ok(BTreeSet::new()), from_json)?;
    let properties: BTreeMap<String, Shape> =
        schema.remove("properties").map_or(Ok(BTreeMap::new()), from_json)?;
    if let Some(name) = required.iter().find(|name| !properties.contains_key(*name)) {
        return Err(format!("{name:?} is required, but no property"));
    }
    let field = |(name, shape)| {
        let required = required.contains(&name);
        (name, Field { shape, required })
    };
    Ok(Shape::Record(properties.into_iter().map(field).collect()))
}

fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|e| e.to_string())
}
