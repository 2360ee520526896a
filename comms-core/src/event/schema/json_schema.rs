//! Conversion between a shape and JSON Schema.

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
            Shape::Map(value) => json!({"type": "object", "additionalProperties": Self::from(*value)}),
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

/// Keywords without an effect on validation.
const ANNOTATIONS: [&str; 5] = ["$schema", "$id", "title", "description", "examples"];

impl TryFrom<Value> for Shape {
    type Error = String;

    /// Reads the subset of JSON Schema that a shape is written in. Any other keyword is an error, because the
    /// compatibility check could not take it into account.
    ///
    /// # Errors
    /// Returns a description of the first part that is not in the subset.
    fn try_from(schema: Value) -> Result<Self, String> {
        let Value::Object(mut schema) = schema else { return Err("the schema must be a JSON object".into()) };
        schema.retain(|keyword, _| !ANNOTATIONS.contains(&keyword.as_str()));
        let shape = match schema.remove("type") {
            None => untyped(&mut schema)?,
            Some(Value::String(name)) => typed(&name, &mut schema)?,
            Some(other) => return Err(format!("the type {other} must be one name: use anyOf for null")),
        };
        match schema.keys().next() {
            Some(keyword) => Err(format!("the keyword {keyword:?} is not supported")),
            None => Ok(shape),
        }
    }
}

fn untyped(schema: &mut Map<String, Value>) -> Result<Shape, String> {
    let Some(any_of) = schema.remove("anyOf") else { return Ok(Shape::Any) };
    match any_of {
        Value::Array(schemas) => match <[Value; 2]>::try_from(schemas) {
            Ok([inner, null]) if null == json!({"type": "null"}) => Ok(Shape::try_from(inner)?.nullable()),
            _ => Err("anyOf must be [schema, {\"type\": \"null\"}]".into()),
        },
        other => Err(format!("anyOf must be an array, not {other}")),
    }
}

fn typed(name: &str, schema: &mut Map<String, Value>) -> Result<Shape, String> {
    let mut subschema = |keyword: &str| schema.remove(keyword).map(Shape::try_from).transpose();
    match name {
        "boolean" => Ok(Shape::Boolean),
        "integer" => Ok(Shape::Integer),
        "number" => Ok(Shape::Number),
        "string" => match schema.remove("enum") {
            None => Ok(Shape::String),
            Some(values) => from_json(values).map(Shape::Enum),
        },
        "array" => Ok(Shape::array(subschema("items")?.unwrap_or(Shape::Any))),
        "object" => match subschema("additionalProperties")? {
            Some(value) => Ok(Shape::map(value)),
            None => record(schema),
        },
        other => Err(format!("the type {other:?} is not supported")),
    }
}

fn record(schema: &mut Map<String, Value>) -> Result<Shape, String> {
    let required: BTreeSet<String> = schema.remove("required").map_or(Ok(BTreeSet::new()), from_json)?;
    let properties: BTreeMap<String, Shape> =
        schema.remove("properties").map_or(Ok(BTreeMap::new()), from_json)?;
    if let Some(name) = required.iter().find(|name| !properties.contains_key(*name)) {
        return Err(format!("{name:?} is required but is not in properties"));
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
